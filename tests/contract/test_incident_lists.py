"""Lists of incidents: filters, pages, totals."""

import pytest

from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.times import to_datetime
from tests.support.archive import NOW, ask
from tests.support.incidents import crashed, event, keep, listed, up
from tests.support.stored import at


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"state": ["open", "unknown"]}, 1),
        ({"state": "recovered"}, 1),
        ({"severity": "error"}, 1),
        ({"kind": "NODE_DOWN"}, 1),
        ({"node": ["pve1", "pve9"]}, 2),
        ({"node": "pve9"}, 0),
        ({"cluster": ""}, 1),
        ({"cluster": "home"}, 1),
        ({"since": at(100)}, 1),
        ({"until": at(100)}, 1),
    ],
)
async def test_filters(store, given, count):
    await keep(store, event(0), up(10), crashed(200, cluster="home"))

    assert len(await listed(store, **given)) == count


async def test_pages_hold_each_incident_once(store):
    await keep(store, *(crashed(n // 2, 100 + n) for n in range(25)))
    seen, cursor = [], None
    while True:
        page = await ask(store, params.ListIncidents(limit=4, cursor=cursor))
        seen += [one.key for one in page.incidents]
        if (cursor := page.next_cursor) is None:
            break

    assert len(seen) == len({*seen}) == 25


async def test_one_with_a_new_problem_between_two_pages_is_on_a_later_one(store):
    """Three have one behind the first page, and one of these again behind the second."""
    await keep(store, *(crashed(-n, 100 + n) for n in range(6)))
    first = await ask(store, params.ListIncidents(limit=2))
    await keep(store, crashed(11, 103), crashed(12, 104), crashed(13, 105))
    second = await ask(store, params.ListIncidents(limit=2, cursor=first.next_cursor))
    await keep(store, crashed(20, 104))
    third = await ask(store, params.ListIncidents(limit=2, cursor=second.next_cursor))

    guests = [[one.object for one in page.incidents] for page in (first, second, third)]

    assert guests == [["100", "101"], ["102", "103"], ["105", "104"]]
    assert third.next_cursor is None


async def test_a_list_from_a_time_on_has_what_was_not_over_before_it(store):
    """A monitor sends only changes: of one that lasts for days there is one alert."""
    await keep(store, *(crashed(-86_400, vmid) for vmid in (101, 102)), event(-86_400), up(60))
    await keep(store, event(-86_400, node="pve2"), up(-86_300, node="pve2"))
    keys = {one.object: one.key for one in await listed(store)}
    await ask(store, params.ResolveIncident(key=keys["101"]))

    found = {
        one.object or one.node: one.state for one in await listed(store, since=to_datetime(NOW))
    }
    (still_open,) = await listed(store, since=at(86_400))

    assert found == {"101": "resolved", "102": "open", "pve1": "recovered"}
    assert still_open.object == "102"


async def test_all_that_are_a_problem_are_counted_whatever_the_page(store):
    await keep(store, *(crashed(0, 100 + n) for n in range(5)), event(0), up(1))

    page = await ask(store, params.ListIncidents(state=["open", "unknown"], limit=2))
    everything = await ask(store, params.ListIncidents(state=["open", "recovered"]))

    assert (len(page.incidents), page.total) == (2, 5)
    assert (len(everything.incidents), everything.total) == (6, None)
