"""Lists of values, and values excluded, in `events.list` and `events.histogram`."""

import random
from types import SimpleNamespace
from unittest.mock import Mock

import httpx
import pytest
from argon2 import PasswordHasher

from jarvis_recorder.config.settings import GatewaySettings
from jarvis_recorder.gateway.app import create
from jarvis_recorder.gateway.tokens import CallerRole
from jarvis_recorder.storage.queries import events as events_module
from jarvis_recorder.storage.sqlite.store import open_store
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.jsonrpc import RpcError
from jarvis_recorder.wire.rpc.methods import BY_NAME
from jarvis_recorder.wire.rpc.params import MAX_VALUES, EventHistogram, ListEvents
from jarvis_recorder.wire.rpc.results import EventPage
from tests.support.archive import ask, clock
from tests.support.stored import all_pages, at, event, put

TYPES = ("alert", "action", "status", "metric")
SEVERITIES = ("info", "warning", "error", "critical")
FILTERS = [
    {"type": ["alert", "action"]},
    {"type": ["metric", "alert"], "node": ["pve1", "PVE2"]},
    {"node": ["pve1", "none such"]},
    {"severity": ["error", "critical"], "source": ["user", "monitor"]},
    {"exclude": "type:metric"},
    {"exclude": ["type:alert", "type:action", "type:status", "type:metric"]},
    {"type": ["alert", "metric"], "exclude": ["type:metric", "severity:info"]},
    {"exclude": ["node:PVE1", "node:", "source:user"]},
    {"exclude": ["cluster:home"], "type": "metric"},
    {"exclude": "cluster:", "min_severity": "warning"},
    {"type": ["alert"], "resolved": False, "exclude": "node:pve1"},
]


@pytest.fixture(scope="module")
async def store(module_store):
    chance = random.Random(1)
    bodies = (
        event(
            number // 2,
            type=chance.choice(TYPES),
            severity=chance.choice(SEVERITIES),
            source=chance.choice(("monitor", "user", "system")),
            summary=str(number),
            **chance.choice(({"node": "pve1"}, {"node": "pve2"}, {"node": "Pve2"}, {})),
            **chance.choice(({"cluster": "home"}, {"cluster": "lab"}, {})),
        )
        for number in range(300)
    )
    await put(module_store, *bodies)
    return module_store


def matches(row, filters):
    def has(name, value):
        return (getattr(row, name) or "").lower() == value.lower()

    def listed(value):
        return [value] if isinstance(value, str) else value

    chosen = (name for name in ("type", "severity", "source", "node") if name in filters)
    least = SEVERITIES.index(filters.get("min_severity", "info"))
    return (
        all(any(has(name, value) for value in listed(filters[name])) for name in chosen)
        and not any(has(*one.split(":")) for one in listed(filters.get("exclude", [])))
        and SEVERITIES.index(row.severity) >= least
        and row.resolved in (filters.get("resolved", row.resolved), row.resolved)
    )


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("bound", [3, 50, 2_000])
async def test_all_pages_together_hold_what_fits_and_nothing_twice(
    store, filters, bound, monkeypatch
):
    monkeypatch.setattr(events_module, "MAX_LOOKED_THROUGH", bound)
    everything = await all_pages(store, ListEvents, limit=1_000)

    found = await all_pages(store, ListEvents, limit=70, **filters)

    assert found == [row for row in everything if matches(row, filters)]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
async def test_a_histogram_counts_what_the_list_holds(store, filters):
    found = await all_pages(store, ListEvents, limit=1_000, **filters)

    counted = await ask(store, EventHistogram(since=at(0), until=at(300), **filters))

    assert sum(bucket.count for bucket in counted.buckets) == len(found)


@pytest.mark.parametrize("text", ["\u200b", "\u0301", "\ufe0f"])
async def test_marks_alone_are_in_no_summary(store, text):
    assert (await ask(store, ListEvents(text=text))).events == []


async def test_a_short_page_says_how_far_it_looked(store, monkeypatch):
    monkeypatch.setattr(events_module, "MAX_LOOKED_THROUGH", 100)

    first = await ask(store, ListEvents(text="no such words"))
    full = await ask(store, ListEvents(text="1", limit=1))
    pages = 1
    page = first
    while page.next_cursor is not None:
        page = await ask(store, ListEvents(text="no such words", cursor=page.next_cursor))
        pages += 1

    assert (first.events, first.looked_to) == ([], at(100))
    assert full.looked_to is None, "it ended since it is full"
    assert (pages, page.looked_to) == (4, None), "nothing is left"


async def test_the_type_that_nearly_all_events_have_costs_nothing_when_it_is_excluded(tmp_path):
    async with open_store(tmp_path / "recorder.db", clock) as store:
        await put(store, *(event(number, type="metric") for number in range(1, 2_500)))
        await put(store, event(0, type="alert", summary="the one"))

        page = await ask(store, ListEvents(exclude="type:metric"))

    assert [one.summary for one in page.events] == ["the one"], "in the first page"
    assert page.next_cursor is None


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"type": "rumour"}, "type"),
        ({"type": []}, "type"),
        ({"severity": ["info", "bad"]}, "severity.1"),
        ({"node": ["n"] * (MAX_VALUES + 1)}, "node"),
        ({"exclude": "type:rumour"}, "exclude"),
        ({"exclude": ["node:a", "summary:b"]}, "exclude.1"),
        ({"exclude": f"node:{'n' * 256}"}, "exclude"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named_by_its_place(given, path):
    with pytest.raises(RpcError) as refused:
        jsonrpc.read_params(BY_NAME["events.list"], given)

    assert (refused.value.code, refused.value.path) == (jsonrpc.Code.INVALID_PARAMS, path)


@pytest.mark.parametrize(
    ("query", "given"),
    [
        ("type=alert", {"type": ["alert"]}),
        ("type=alert&type=action&node=a&node=b", {"type": ["alert", "action"], "node": ["a", "b"]}),
        ("exclude=type:metric&exclude=node:", {"exclude": ["type:metric", "node:"]}),
    ],
)
async def test_a_parameter_of_a_url_is_repeated(query, given):
    asked = []

    async def answer(params, **_):
        asked.append(params)
        return EventPage([], None)

    settings = GatewaySettings(
        token_secret="x" * 32, password_hash=PasswordHasher(1, 8, 1).hash("a password")
    )
    application = create(SimpleNamespace(ask=answer), Mock(), settings)
    token = application.state.tokens.give(CallerRole.READER)
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        reply = await client.get(
            f"/api/memory/events?{query}", headers={"Authorization": f"Bearer {token}"}
        )
        wrong = await client.get(
            "/api/memory/events?type=rumour", headers={"Authorization": f"Bearer {token}"}
        )

    assert reply.status_code == 200, reply.text
    assert asked == [ListEvents(**given)]
    assert wrong.status_code == 400
    assert "type" in wrong.json()["error"]


def test_a_request_with_one_value_is_as_it_was(recwarn):
    """A recorder that knows no lists still answers a newer client."""
    assert b'"params":{"type":"alert"}' in jsonrpc.request(ListEvents(type="alert"), 1)
    assert not recwarn.list
