"""Silences: nobody is told while they last, and of what is still a problem at their end."""

from datetime import timedelta

import pytest

from jarvis_recorder.errors import (
    InvalidParameter,
)
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.times import to_datetime
from tests.support.archive import NOW, ask
from tests.support.incidents import (
    announced,
    crashed,
    event,
    keep,
    listed,
    put,
    settle,
    the_one,
    up,
)


async def test_of_a_silenced_incident_nobody_is_told_and_it_is_counted(store):
    end = to_datetime(NOW) + timedelta(hours=1)
    await ask(store, params.SilenceIncidents(until=end, node="pve1", reason="memory", by="anna"))
    await keep(store, event(0), event(1))
    silenced = await the_one(store, state="silenced")
    await keep(store, up(2))

    assert (silenced.state, silenced.count) == ("silenced", 2)
    assert await listed(store, state="open") == []
    assert (await the_one(store)).state == "recovered"
    assert await announced(store) == []
    (silence,) = (await ask(store, params.ListSilences())).silences
    assert (silence.node, silence.reason, silence.by) == ("pve1", "memory", "anna")


async def test_what_opened_in_a_silence_and_is_still_a_problem_is_announced_at_its_end(store):
    now = to_datetime(NOW)

    async def silence(until, **given):
        await ask(store, params.SilenceIncidents(until=until, **given))

    await keep(store, crashed(0, 104))
    told = await announced(store)
    await silence(now + timedelta(hours=1), node="pve1")
    await keep(store, event(0), crashed(0, 105), crashed(0, 106, node="pve2"))
    await keep(store, event(30), crashed(30, 104))
    await ask(store, params.ResolveIncident(key="pve1/VM_CRASHED/105"))
    # Another one begins before the end of the first.
    await silence(now + timedelta(hours=2), kind="NODE_DOWN")
    told.append("recorder.incident.opened")
    await silence(now, node="pve1")
    await settle(store)
    assert await announced(store) == told, "of the guest on the other node, and of nothing else"
    await silence(now, kind="NODE_DOWN")
    for _ in range(3):
        await store.incidents._timed_step()

    assert await announced(store) == [*told, "recorder.incident.opened"]
    last = (await store.outbox.waiting(1_000))[-1]
    assert '"kind":"NODE_DOWN"' in last.body


async def test_what_is_opened_again_in_a_silence_is_announced_at_its_end(store):
    await keep(store, event(0), up(1))
    told = await announced(store)
    end = to_datetime(NOW) + timedelta(hours=1)
    await ask(store, params.SilenceIncidents(until=end, node="pve1"))
    await ask(store, params.ReopenIncident(key="pve1/NODE_DOWN"))
    assert await announced(store) == told
    await ask(store, params.SilenceIncidents(until=to_datetime(NOW), node="pve1"))
    await settle(store)

    assert await announced(store) == [*told, "recorder.incident.opened"]


async def test_a_silence_ends_with_another_of_the_same_values(store):
    now = to_datetime(NOW)
    hour = timedelta(hours=1)
    for node in ("pve1", "pve2"):
        await ask(store, params.SilenceIncidents(until=now + hour, node=node))
    await ask(store, params.SilenceIncidents(until=now, node="pve1"))

    (left,) = (await ask(store, params.ListSilences())).silences

    assert left.node == "pve2"
    with pytest.raises(InvalidParameter):
        await ask(store, params.SilenceIncidents(until=now, since=now + hour, node="pve1"))


async def test_a_silence_whose_end_has_passed_ends_one_and_has_begun_when_it_ended(store):
    now = to_datetime(NOW)
    hour = timedelta(hours=1)
    await ask(store, params.SilenceIncidents(until=now + hour, node="pve1"))

    ended = (await ask(store, params.SilenceIncidents(until=now - hour, node="pve1"))).silence

    assert (ended.since, ended.until) == (now - hour, now - hour)
    assert (await ask(store, params.ListSilences())).silences == []


async def test_a_silence_and_a_list_take_a_node_in_any_spelling(store):
    """In all that were recorded, of incidents or of other events; as it is given where none was."""
    now = to_datetime(NOW)
    hour = timedelta(hours=1)
    await keep(store, event(0, node="Büro"), event(1, type="metric", node="pve9"))
    await keep(store, event(2, node="BÜRO"))

    async def silenced_by(node):
        silence = (await ask(store, params.SilenceIncidents(until=now + hour, node=node))).silence
        return silence.node

    assert {one.node for one in await listed(store, node="buro")} == {"Büro", "BÜRO"}
    assert await silenced_by("buro") in {"Büro", "BÜRO"}
    assert {one.state for one in await listed(store)} == {"silenced"}
    assert [await silenced_by(one) for one in ("BÜRO", "PVE9", "Pve3")] == ["BÜRO", "pve9", "Pve3"]
    await put(store, event(3, type="metric", node="pve3"))
    for node in ("büro", "pve9", "Pve3"):
        await ask(store, params.SilenceIncidents(until=now, node=node))
    assert (await ask(store, params.ListSilences())).silences == []


HOUR = timedelta(hours=1)


@pytest.fixture
def silence(store):
    """Silence pve1 between two times; without a beginning, from now on."""

    async def silenced(until, **given):
        times = {name: to_datetime(NOW) + hours * HOUR for name, hours in given.items()}
        until = to_datetime(NOW) + until * HOUR
        await ask(store, params.SilenceIncidents(until=until, node="pve1", **times))

    return silenced


async def windows(store):
    """Return the hours from now at which each silence begins and ends."""
    found = (await ask(store, params.ListSilences())).silences
    return [
        tuple((time - to_datetime(NOW)) / HOUR for time in (one.since, one.until)) for one in found
    ]


async def test_a_window_that_is_planned_leaves_the_silence_in_force(store, silence):
    await silence(2)
    await keep(store, event(0))
    await silence(26, since=24)
    await settle(store)

    assert await announced(store) == []
    assert (await the_one(store)).state == "silenced"
    assert await windows(store) == [(0, 2), (24, 26)]


async def test_a_window_begins_where_it_meets_one_of_the_same_values_and_takes_its_place(
    store, silence
):
    await silence(2)
    await silence(4, since=1)
    assert await windows(store) == [(0, 1), (1, 4)]

    await silence(30, since=24)
    await silence(5)
    assert await windows(store) == [(0, 5), (24, 30)]


async def test_one_window_is_ended_alone_and_all_of_them_at_once(store, silence):
    planned = [(0, 2), (24, 26), (48, 50)]
    for since, until in planned:
        await silence(until, since=since)

    await silence(24, since=24)
    assert await windows(store) == [(0, 2), (48, 50)]
    await silence(1, since=1)
    assert await windows(store) == [(0, 1), (48, 50)], "at a time within it"
    await silence(0)
    assert await windows(store) == []
