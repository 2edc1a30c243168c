"""The contract of an archive: queries and changes."""

import asyncio
import contextlib
import json
import sqlite3
import threading
import time
from base64 import urlsafe_b64encode
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text

from jarvis_recorder.errors import (
    BrokerUnavailable,
    Conflict,
    DeadlineExceeded,
    InvalidParameter,
    NotFound,
    StorageUnavailable,
)
from jarvis_recorder.rpc.outbox_relay import OutboxRelay
from jarvis_recorder.storage.queries import cursors as cursors_module
from jarvis_recorder.storage.queries import events as events_module
from jarvis_recorder.storage.queries.conversations import TURNS as TURN_ROWS
from jarvis_recorder.storage.queries.events import EVENTS as EVENT_ROWS
from jarvis_recorder.storage.queries.reading import Pace, Reading
from jarvis_recorder.storage.sqlite import connections as sqlite_module
from jarvis_recorder.storage.sqlite.connections import driver_of
from jarvis_recorder.storage.sqlite.store import open_store
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import (
    DeleteConversation,
    DeletePreference,
    EventHistogram,
    GetEvent,
    GetPreference,
    LatestSnapshot,
    ListEvents,
    ListPreferences,
    ListSessions,
    ListSnapshots,
    ListTurns,
    ReadHoldings,
    RecordEvent,
    ReopenEvent,
    ReportUsage,
    ResolveEvent,
    SearchTurns,
    SetPreference,
    SnapshotAt,
    TimelineAround,
    UnresolvedEvents,
)
from jarvis_recorder.wire.rpc.results import OneEvent, OnePreference
from jarvis_recorder.wire.times import format_datetime
from tests.support.archive import NOW, ask, clock
from tests.support.fakes import FakePublisher
from tests.support.stored import SNAPSHOTS, START, TURNS, all_pages, at, event, put, turn


async def test_events_come_newest_first_and_filters_combine(store):
    await put(
        store,
        event(1, node="pve1", type="alert", severity="critical", summary="pve1 is down"),
        event(2, node="pve2", type="alert", severity="critical", summary="pve2 is down"),
        event(3, node="pve1", type="alert", severity="info", summary="pve1 is back"),
        event(4, node="pve1"),
    )

    found = await ask(store, ListEvents(node="pve1", type="alert"))
    assert [e.summary for e in found.events] == ["pve1 is back", "pve1 is down"]
    found = await ask(store, ListEvents(text="IS DOWN", severity="critical"))
    assert [e.node for e in found.events] == ["pve2", "pve1"]
    assert (await ask(store, ListEvents(text="100%"))).events == []
    found = await ask(store, ListEvents(since=at(2), until=at(4)))
    assert [e.timestamp for e in found.events] == [at(3), at(2)]
    assert found.next_cursor is None


@st.composite
def some_events(draw):
    return [
        event(
            draw(st.integers(0, 5)),
            type=draw(st.sampled_from(["alert", "status"])),
            severity=draw(st.sampled_from(["info", "critical"])),
            node=draw(st.sampled_from(["pve1", "pve2"])),
            summary=draw(st.sampled_from(["a_b", "A%B", "axb"])),
            id=f"{number}",
        )
        for number in range(draw(st.integers(0, 25)))
    ]


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["alert", "status"]),
        "severity": st.sampled_from(["info", "critical"]),
        "node": st.sampled_from(["pve1", "pve3"]),
        "resolved": st.booleans(),
        "text": st.sampled_from(["a_b", "%", "AX"]),
        "since": st.integers(0, 5).map(at),
        "until": st.integers(0, 5).map(at),
    },
)


def matches(row: Any, filters: dict[str, Any]) -> bool:
    wanted = dict(filters)
    since, until = wanted.pop("since", at(-1)), wanted.pop("until", at(99))
    words = wanted.pop("text", "")
    return (
        since <= row.timestamp < until
        and words.lower() in row.summary.lower()
        and all(getattr(row, name) == value for name, value in wanted.items())
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some_events(), FILTERS, st.integers(1, 7), st.integers(1, 5))
def test_the_pages_together_are_what_the_filters_choose(tmp_path, bodies, filters, limit, bound):
    """With pages and a read limit of any size."""
    path = tmp_path / f"{time.monotonic_ns()}.db"

    async def agree() -> None:
        async with open_store(path, lambda: NOW) as store:
            await put(store, *bodies)
            for number in range(1, len(bodies) + 1, 3):
                await ask(store, ResolveEvent(id=number, resolved_by="ada"))
            everything = await all_pages(store, ListEvents, limit=1000)
            assert len(everything) == len(bodies)
            found = await all_pages(store, ListEvents, limit=limit, **filters)
            assert found == [row for row in everything if matches(row, filters)]
            unresolved = await all_pages(store, UnresolvedEvents, limit=limit)
            assert unresolved == [row for row in everything if not row.resolved]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events_module, "MAX_LOOKED_THROUGH", bound)
        asyncio.run(agree())


@pytest.mark.parametrize("cursor", ["x", "AAAA", "====", "ü", "bm90aGluZw"])
async def test_a_cursor_that_is_none_of_ours_is_refused(store, cursor):
    with pytest.raises(InvalidParameter, match="begin again without a cursor") as refused:
        await ask(store, ListEvents(cursor=cursor))
    assert refused.value.path == "cursor"


@pytest.mark.parametrize("position", [b"5", b"{}", b"null", b'[1,"2"]', b"[1]"])
async def test_a_cursor_that_somebody_made_up_is_refused(store, position):
    """The digest is no secret: any reader of the code can make a cursor with a valid one."""
    made_up = urlsafe_b64encode(cursors_module._digest(ListEvents(), position) + position).decode()
    with pytest.raises(InvalidParameter, match="begin again without a cursor"):
        await ask(store, ListEvents(cursor=made_up.rstrip("=")))


async def test_a_cursor_belongs_to_its_request(store):
    await put(store, *(event(number) for number in range(4)))
    cursor = (await ask(store, ListEvents(limit=2))).next_cursor

    assert len((await ask(store, ListEvents(limit=1, cursor=cursor))).events) == 1
    for other in (ListEvents(node="pve1", cursor=cursor), UnresolvedEvents(cursor=cursor)):
        with pytest.raises(InvalidParameter):
            await ask(store, other)


async def test_one_event_is_found_by_its_id(store):
    await put(store, event(1, details={"a": [1, 2.5, None]}, weight=3))

    found = (await ask(store, GetEvent(id=1))).event

    assert found.details == {"a": [1, 2.5, None]}
    assert found.extra == {"weight": 3}
    with pytest.raises(NotFound, match="no event 2"):
        await ask(store, GetEvent(id=2))


async def test_a_histogram_counts_every_event_once(store):
    await put(
        store,
        *(event(number, severity="critical" if number % 3 == 0 else "info") for number in range(9)),
    )

    found = await ask(
        store, EventHistogram(since=at(-1), until=at(8), bucket_seconds=4, by="severity")
    )

    assert [bucket.start for bucket in found.buckets] == [at(-4), at(0), at(4)]
    assert [bucket.count for bucket in found.buckets] == [0, 4, 4]
    assert found.buckets[1].by == {"critical": 2, "info": 2}
    usual = await ask(store, EventHistogram(since=at(0), until=at(86_400), node="nowhere"))
    assert (usual.bucket_seconds, len(usual.buckets)) == (1_800, 48)


async def test_a_histogram_before_1970_has_its_buckets_too(store):
    await put(store, event(timestamp="1969-12-31T23:59:59Z"))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    found = await ask(
        store,
        EventHistogram(since=epoch - timedelta(minutes=1), until=epoch, bucket_seconds=60),
    )

    assert [bucket.count for bucket in found.buckets] == [1]


async def test_an_event_is_recorded_once_for_each_identity(store):
    new = RecordEvent(
        type="action",
        source="user",
        summary="restarted",
        node="pve",
        details={"a": [1, 2.5, None, "ß"]},
        message_id="e-1",
        extra={"ticket": 7},
    )

    first = await ask(store, new)
    again = await ask(store, new)

    assert first == again
    assert first.event.message_id == "e-1"
    with pytest.raises(Conflict, match="choose a new one"):
        await ask(store, RecordEvent(type="alert", source="user", summary="x", message_id="e-1"))
    nameless = RecordEvent(type="action", source="user", summary="restarted")
    assert (await ask(store, nameless)).event.id != (await ask(store, nameless)).event.id


async def test_an_event_recorded_by_a_request_is_announced_once_and_a_published_one_is_not(store):
    new = RecordEvent(type="action", source="user", summary="restarted", message_id="e-1")
    await put(store, event(1))

    first = await ask(store, new)
    await ask(store, new)
    with pytest.raises(Conflict):
        await ask(store, RecordEvent(type="alert", source="user", summary="x", message_id="e-1"))
    second = await ask(store, RecordEvent(type="action", source="user", summary="stopped"))

    told = await store.outbox.waiting(9)
    assert [one.routing_key for one in told] == ["recorder.event.recorded"] * 2
    read = adapter(OneEvent).validate_json
    assert [read(one.body) for one in told] == [first, second]


async def test_the_first_resolution_is_kept(store):
    await put(store, event(1))

    first = await ask(store, ResolveEvent(id=1, resolved_by="ada"))
    second = await ask(store, ResolveEvent(id=1, resolved_by="bob"))

    assert first == second
    assert (first.event.resolved, first.event.resolved_by) == (True, "ada")
    assert [told.routing_key for told in await store.outbox.waiting(9)] == [
        "recorder.event.resolved"
    ]
    with pytest.raises(NotFound):
        await ask(store, ResolveEvent(id=7, resolved_by="ada"))


async def test_a_resolution_is_undone(store):
    await put(store, event(1))
    before = await ask(store, GetEvent(id=1))
    await ask(store, ReopenEvent(id=1))
    await ask(store, ResolveEvent(id=1, resolved_by="ada"))

    reopened = await ask(store, ReopenEvent(id=1))

    assert reopened == before
    assert [one.id for one in (await ask(store, UnresolvedEvents())).events] == [1]
    assert [told.routing_key for told in await store.outbox.waiting(9)] == [
        "recorder.event.resolved",
        "recorder.event.reopened",
    ]
    again = await ask(store, ResolveEvent(id=1, resolved_by="bob"))
    assert again.event.resolved_by == "bob"
    with pytest.raises(NotFound):
        await ask(store, ReopenEvent(id=7))


async def test_a_conversation_is_read_in_order(store):
    await put(
        store,
        turn(2, content="second", cost_usd="0.10"),
        turn(1, content="first", tool_calls=[{"name": "restart"}]),
        turn(3, session_id="other"),
        topic=TURNS,
    )

    turns = await all_pages(store, ListTurns, session_id="s", limit=1)
    sessions = await all_pages(store, ListSessions, limit=1)

    assert [t.content for t in turns] == ["first", "second"]
    assert turns[0].tool_calls == [{"name": "restart"}]
    assert str(turns[1].cost_usd) == "0.10"
    assert [(s.session_id, s.first_at, s.last_at, s.turns) for s in sessions] == [
        ("other", at(3), at(3), 1),
        ("s", at(1), at(2), 2),
    ]
    assert len((await ask(store, ListSessions(since=at(3)))).sessions) == 1


async def test_a_search_finds_all_words_best_first_and_shows_where(store):
    await put(
        store,
        turn(1, content="The power supply of pve1 has failed, power is gone"),
        turn(2, content="Power? Which Énergie?", session_id="other"),
        turn(3, content="nothing of it"),
        topic=TURNS,
    )

    found = (await ask(store, SearchTurns(query="POWER failed"))).turns
    assert [f.turn.id for f in found] == [1]
    assert [found[0].snippet[begin:end] for begin, end in found[0].highlights] == [
        "power",
        "failed",
        "power",
    ]
    assert len((await ask(store, SearchTurns(query="power"))).turns) == 2
    assert len((await ask(store, SearchTurns(query="energie", session_id="other"))).turns) == 1
    assert (await ask(store, SearchTurns(query="power", session_id="x"))).turns == []


def test_the_names_in_a_row_are_plain_texts():
    """Pydantic looks through all that SQLAlchemy's kind of text has, before it takes it for one."""
    for rows in (EVENT_ROWS, TURN_ROWS):
        assert {type(name) for name in (*rows._plain, *rows._times, *rows._flags)} == {str}


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.text(min_size=1, max_size=40) | st.text('"*()^:-+NEARANDOR ', min_size=1))
def test_any_text_can_be_searched_for(searchable, words):
    """A user's text is text: no operator, no error."""
    runner, store = searchable
    runner.run(ask(store, SearchTurns(query=words)))


@pytest.fixture
def searchable(path):
    with asyncio.Runner() as runner:
        opened = open_store(path, lambda: NOW)
        store = runner.run(opened.__aenter__())
        runner.run(put(store, turn(content="NEAR the AND of it"), topic=TURNS))
        yield runner, store
        runner.run(opened.__aexit__(None, None, None))


async def test_usage_is_added_exactly(store):
    await put(
        store,
        turn(1, model="a", tokens_used=3, cost_usd="0.1"),
        turn(2, model="a", tokens_used=4, cost_usd="0.2"),
        turn(-86_400, model="b", input_tokens=5, cost_usd="0.00000000000000000001"),
        topic=TURNS,
    )

    by_model = await ask(store, ReportUsage(since=at(-86_400), by="model"))
    by_day = await ask(store, ReportUsage(since=at(-86_400), by="day"))

    assert [(u.key, u.turns, str(u.cost_usd)) for u in by_model.usage] == [
        ("a", 2, "0.3"),
        ("b", 1, "1E-20"),
    ]
    assert format(by_model.total.cost_usd, "f") == "0.30000000000000000001"
    assert [u.key for u in by_day.usage] == ["2026-11-22", "2026-11-23"]


async def test_an_erased_conversation_leaves_no_trace_in_the_files(sqlite_store, path):
    await put(
        sqlite_store,
        *(turn(n, content=f"the password is xyzzy{n} plugh") for n in range(50)),
        turn(99, session_id="kept", content="harmless"),
        topic=TURNS,
    )

    assert (await ask(sqlite_store, DeleteConversation(session_id="s"))).deleted == 50

    assert (await ask(sqlite_store, SearchTurns(query="plugh"))).turns == []
    assert len((await ask(sqlite_store, SearchTurns(query="harmless"))).turns) == 1
    for file in path.parent.glob("recorder.db*"):
        content = file.read_bytes()
        assert b"plugh" not in content, file
        assert b"xyzzy" not in content, file
    assert (await ask(sqlite_store, DeleteConversation(session_id="s"))).deleted == 0


async def test_the_snapshot_in_force_is_the_newest_before_the_time(store):
    await put(
        store,
        {"snapshot": {"n": 1}, "cluster": "home", "timestamp": format_datetime(at(0))},
        {"snapshot": {"n": 2}, "cluster": "home", "timestamp": format_datetime(at(60))},
        topic=SNAPSHOTS,
    )

    assert (await ask(store, LatestSnapshot(cluster="home"))).snapshot.snapshot == {"n": 2}
    found = await ask(store, SnapshotAt(timestamp=at(59), cluster="home"))
    assert found.snapshot.snapshot == {"n": 1}
    heads = await all_pages(store, ListSnapshots, limit=1)
    assert [head.timestamp for head in heads] == [at(60), at(0)]
    for missing in (LatestSnapshot(cluster="lab"), SnapshotAt(timestamp=at(-1), cluster="home")):
        with pytest.raises(NotFound):
            await ask(store, missing)


async def test_a_timeline_shows_what_was_around_a_time_in_order(store):
    await put(
        store, {"snapshot": {"n": 1}, "timestamp": format_datetime(at(-500))}, topic=SNAPSHOTS
    )
    await put(store, *(event(n, node=f"pve{n % 2}") for n in range(-40, 41, 10)))
    await put(store, turn(5), topic=TURNS)

    found = await ask(store, TimelineAround(timestamp=at(0), window_seconds=60))

    assert [e.timestamp for e in found.events] == [at(n) for n in range(-30, 30, 10)]
    assert len(found.turns) == 1
    assert found.snapshot.snapshot == {"n": 1}
    assert (found.since, found.until, found.truncated) == (at(-30), at(30), False)
    of_node = await ask(store, TimelineAround(timestamp=at(0), window_seconds=60, node="pve1"))
    assert of_node.events == []


async def test_preferences_count_their_versions(store):
    with pytest.raises(NotFound):
        await ask(store, GetPreference(key="theme"))

    for value in ("dark", "light"):
        await ask(store, SetPreference(key="theme", value=value, updated_by="ada"))

    found = (await ask(store, GetPreference(key="theme"))).preference
    assert (found.value, found.version, found.updated_by) == ("light", 2, "ada")
    with pytest.raises(Conflict, match="is at version 2"):
        await ask(store, SetPreference(key="theme", value="x", expected_version=1))
    with pytest.raises(Conflict, match="version 2"):
        await ask(store, SetPreference(key="theme", value="x", expected_version=0))
    assert (await ask(store, DeletePreference(key="theme"))).deleted == 1
    assert (await ask(store, DeletePreference(key="theme"))).deleted == 0
    bodies = [json.loads(told.body)["preference"] for told in await store.outbox.waiting(9)]
    assert [body.get("version") for body in bodies] == [1, 2, None]
    assert bodies[2] == {"key": "theme", "deleted": True}


async def test_preferences_are_listed_by_prefix(store):
    for key in ("ui.theme", "ui.Zoom", "uj", "u", "ui.ünit"):
        await ask(store, SetPreference(key=key, value="1"))

    found = await all_pages(store, ListPreferences, prefix="ui.", limit=1)

    assert [p.key for p in found] == ["ui.Zoom", "ui.theme", "ui.ünit"]


async def test_of_many_who_expect_the_same_version_one_wins(store):
    await ask(store, SetPreference(key="k", value="0"))

    outcomes = await asyncio.gather(
        *(ask(store, SetPreference(key="k", value=str(n), expected_version=1)) for n in range(10)),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 9


async def test_holdings_tell_what_there_is(store):
    await put(store, event(1), event(9))

    found = await ask(store, ReadHoldings())

    assert (found.events.count, found.events.oldest, found.events.newest) == (2, at(1), at(9))
    assert found.conversations.count == 0
    assert found.database_bytes + found.wal_bytes > 0


async def test_the_outbox_is_emptied_in_order_and_survives(path):
    async with open_store(path, lambda: NOW) as store:
        for number in range(3):
            await ask(store, SetPreference(key=f"k{number}", value="1"))
        first = await store.outbox.waiting(1)
        await store.outbox.announced(first)

    async with open_store(path, lambda: NOW) as store:
        left = await store.outbox.waiting(10)
        assert [json.loads(told.body)["preference"]["key"] for told in left] == ["k1", "k2"]
        assert len({told.message_id for told in [*first, *left]}) == 3


async def test_a_notification_that_one_connection_left_is_published_on_the_next(store):
    publisher = FakePublisher()
    publisher.failures = [BrokerUnavailable("gone")]
    await ask(store, SetPreference(key="k", value="1"))
    with pytest.raises(BrokerUnavailable):
        await OutboxRelay(store.outbox, publisher, lambda: NOW).run()

    relaying = asyncio.create_task(OutboxRelay(store.outbox, publisher, lambda: NOW).run())
    async with asyncio.timeout(60):
        while (await store.health()).announcements_waiting:
            await asyncio.sleep(0.01)
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)

    assert [key for _, key, _, _ in publisher.published] == ["recorder.preference.changed"]


ENDLESS = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
)


async def test_a_slow_statement_is_interrupted_in_the_database(sqlite_store):
    loop = asyncio.get_running_loop()
    readers = sqlite_store.archive._readers
    began = loop.time()

    slow = [
        readers.run(lambda reading: reading.connection.execute(ENDLESS).scalar(), began + 0.2)
        for _ in range(8)
    ]
    outcomes = await asyncio.gather(*slow, return_exceptions=True)

    assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)
    assert loop.time() - began < 1.0
    await asyncio.wait_for(asyncio.gather(*readers._ending), 5)
    for _ in range(8):
        assert (await ask(sqlite_store, ListEvents())).events == []


async def test_look_ups_of_one_turn_are_found_together_and_each_fails_alone(sqlite_store):
    await ask(sqlite_store, SetPreference(key="theme", value="dark"))
    until = asyncio.get_running_loop().time() + 10
    threads: set[int] = set()

    def where(reading: Reading) -> int:
        threads.add(threading.get_ident())
        return reading.room

    readers = sqlite_store.archive._readers
    found = await asyncio.gather(
        *(readers.run(where, until, room, pace=Pace.LOOK_UP) for room in range(8)),
        ask(sqlite_store, GetPreference(key="theme")),
        ask(sqlite_store, GetPreference(key="none")),
        ask(sqlite_store, GetEvent(id=7)),
        return_exceptions=True,
    )

    assert found[:8] == list(range(8))
    assert len(threads) == 1
    assert found[8].preference.value == "dark"
    assert all(isinstance(failed, NotFound) for failed in found[9:])


async def test_a_look_up_without_end_is_interrupted_and_those_after_it_are_found(sqlite_store):
    loop = asyncio.get_running_loop()
    readers = sqlite_store.archive._readers

    def endless(reading: Reading) -> None:
        reading.connection.execute(ENDLESS)

    def quick(reading: Reading) -> int:
        return reading.room

    lost, found = await asyncio.gather(
        readers.run(endless, loop.time() + 0.2, pace=Pace.LOOK_UP),
        readers.run(quick, loop.time() + 10, 7, pace=Pace.LOOK_UP),
        return_exceptions=True,
    )

    assert isinstance(lost, DeadlineExceeded)
    assert found == 7


async def test_a_look_up_given_up_in_its_own_turn_never_begins(sqlite_store):
    begun: list[Reading] = []
    readers = sqlite_store.archive._readers
    until = asyncio.get_running_loop().time() + 10

    asking = asyncio.create_task(readers.run(begun.append, until, pace=Pace.LOOK_UP))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await ask(sqlite_store, ListEvents())

    assert begun == []


async def test_who_stops_waiting_stops_the_statement(sqlite_store):
    loop = asyncio.get_running_loop()
    readers = sqlite_store.archive._readers
    begun = asyncio.Semaphore(0)

    def endless(reading: Reading) -> None:
        loop.call_soon_threadsafe(begun.release)
        reading.connection.execute(ENDLESS)

    asking = [asyncio.create_task(readers.run(endless, loop.time() + 60)) for _ in range(8)]
    for _ in range(sqlite_module.READERS // 2):
        await asyncio.wait_for(begun.acquire(), 10)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)

    assert (await ask(sqlite_store, ListEvents(), 1.0)).events == []


@pytest.mark.parametrize(
    "scan",
    [
        ListEvents(text="none of them"),
        EventHistogram(since=at(0), until=at(60)),
        ListSessions(),
        SearchTurns(query="none"),
        ReportUsage(since=at(0)),
    ],
    ids=lambda question: type(question).__name__,
)
async def test_requests_that_scan_keep_no_other_waiting(sqlite_store, scan):
    archive = sqlite_store.archive
    free, begun = threading.Event(), asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()
    query = archive._queries[type(scan)]

    def held(reading: Reading, question: object) -> bytes:
        if question is not scan:
            return query.read(reading, question)
        loop.call_soon_threadsafe(begun.release)
        free.wait(30)
        return b""

    archive._queries[type(scan)] = query._replace(read=held)
    scanning = [asyncio.create_task(archive.answer(scan, loop.time() + 60, 10)) for _ in range(20)]
    await asyncio.wait_for(begun.acquire(), 10)
    try:
        assert (await ask(sqlite_store, ListEvents(), 5.0)).events == []
        with pytest.raises(NotFound):
            await ask(sqlite_store, GetPreference(key="none"), 5.0)
    finally:
        free.set()
        await asyncio.gather(*scanning)


async def test_an_answer_that_is_an_error_costs_no_connection(sqlite_store):
    """A conflict is only rolled back; after other errors the connection cannot be trusted."""
    writer = sqlite_store.repository._writer
    before = await writer.run(driver_of)

    for _ in range(3):
        with pytest.raises(NotFound):
            await ask(sqlite_store, ResolveEvent(id=1, resolved_by="ada"))
    await ask(sqlite_store, SetPreference(key="k", value="1"))
    assert await writer.run(driver_of) is before

    with pytest.raises(ZeroDivisionError):
        await writer.run(lambda _: 1 // 0)
    await ask(sqlite_store, SetPreference(key="k", value="2"))
    assert await writer.run(driver_of) is not before


@contextlib.asynccontextmanager
async def writing(store, statement="SELECT 1"):
    """Keep a transaction with one executed statement open."""
    begun, over = threading.Event(), threading.Event()

    def work(connection):
        connection.exec_driver_sql(statement)
        begun.set()
        assert over.wait(30)

    under_way = asyncio.create_task(store.repository._writer.run(work))
    await asyncio.to_thread(begun.wait, 30)
    try:
        yield
    finally:
        over.set()
        await under_way


async def test_a_change_whose_turn_comes_too_late_is_not_made(sqlite_store, path):
    async with writing(sqlite_store):
        with pytest.raises(DeadlineExceeded):
            await ask(sqlite_store, SetPreference(key="k", value="1"), 0.05)
    await ask(sqlite_store, SetPreference(key="other", value="1"))

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT key FROM preferences").fetchall() == [("other",)]


async def test_a_change_whose_caller_has_left_before_its_turn_is_not_made(sqlite_store, path):
    async with writing(sqlite_store):
        asking = asyncio.create_task(ask(sqlite_store, SetPreference(key="k", value="1"), 30))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await ask(sqlite_store, SetPreference(key="other", value="1"))

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT key FROM preferences").fetchall() == [("other",)]


async def test_changes_that_wait_share_a_transaction_and_one_refused_costs_itself(sqlite_store):
    ran: list[str] = []
    await sqlite_store.repository._writer.run(
        lambda connection: driver_of(connection).set_trace_callback(ran.append)
    )
    async with writing(sqlite_store):
        ran.clear()
        asking = [
            asyncio.create_task(ask(sqlite_store, question, 30))
            for question in (
                SetPreference(key="a", value="1"),
                SetPreference(key="a", value="2", expected_version=1),
                SetPreference(key="a", value="3", expected_version=1),
                ResolveEvent(id=99, resolved_by="ada"),
                RecordEvent(type="alert", source="monitor", summary="x", message_id="m"),
                RecordEvent(type="alert", source="monitor", summary="y", message_id="m"),
                SetPreference(key="b", value="4"),
            )
        ]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*asking, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [
        OnePreference, OnePreference, Conflict, NotFound, OneEvent, Conflict, OnePreference,
    ]  # fmt: skip
    assert outcomes[1].preference.version == 2
    assert ran.count("BEGIN IMMEDIATE") == 1
    assert [one.routing_key for one in await sqlite_store.outbox.waiting(9)] == [
        "recorder.preference.changed",
        "recorder.preference.changed",
        "recorder.event.recorded",
        "recorder.preference.changed",
    ]


async def test_a_group_that_cannot_be_committed_is_no_ones(sqlite_store, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asking = [ask(sqlite_store, SetPreference(key=key, value="1"), 30) for key in "abc"]
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        other.execute("ROLLBACK")

    assert [type(outcome) for outcome in outcomes] == [StorageUnavailable] * 3
    assert (await ask(sqlite_store, SetPreference(key="a", value="1"))).preference.version == 1


async def test_requests_are_answered_while_somebody_writes(sqlite_store):
    async with writing(sqlite_store, "INSERT INTO outbox VALUES (1, 'a', 'b', 'c', 0)"):
        assert (await ask(sqlite_store, ListEvents(), 1.0)).events == []
        assert await sqlite_store.outbox.waiting(1) == []


async def test_readers_cannot_write(sqlite_store):
    with pytest.raises(Exception, match="readonly"):
        await sqlite_store.archive._readers.run(
            lambda reading: reading.connection.execute(text("DELETE FROM events")),
            asyncio.get_running_loop().time() + 5,
        )


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"node": "pve1"},
        {"type": "metric"},
        {"type": "alert", "resolved": False},
        {"type": "alert", "node": "pve1", "severity": "critical", "text": "x"},
        {"severity": "critical", "source": "user", "since": START, "until": at(9)},
    ],
)
async def test_no_list_reads_the_whole_table(sqlite_store, filters):
    """Every statement follows an index, and nothing is sorted except rows of equal times."""
    plans = await plans_of(
        sqlite_store, lambda c: events_module.list_events(clock, c, ListEvents(**filters))
    )

    assert all("USING" in step for step in plans if step.startswith(("SCAN", "SEARCH"))), plans
    assert not any(step == "USE TEMP B-TREE FOR ORDER BY" for step in plans), plans


@pytest.mark.parametrize("others", [{}, {"severity": "critical"}, {"since": START}])
async def test_open_alerts_are_looked_for_among_themselves(sqlite_store, others):
    """Other events cost nothing, however many there are."""
    question = ListEvents(type="alert", resolved=False, **others)
    plans = await plans_of(sqlite_store, lambda c: events_module.list_events(clock, c, question))

    assert plans
    steps = [step for step in plans if step.startswith(("SCAN", "SEARCH"))]
    assert all("ix_events_unresolved" in step for step in steps), plans


async def plans_of(store: Any, read: Any) -> list[str]:
    """Return the plan steps of every statement that a request runs."""
    ran: list[tuple[str, Any]] = []
    readers = store.archive._readers

    def note(connection, cursor, statement, parameters, context, executemany):
        ran.append((statement, parameters))

    def planned(reading: Reading) -> list[str]:
        read(reading)
        return [
            row[3]
            for statement, parameters in list(ran)
            for row in reading.connection.exec_driver_sql(
                f"EXPLAIN QUERY PLAN {statement}", parameters
            )
        ]

    sqlalchemy_event.listen(readers._engine, "before_cursor_execute", note)
    return await readers.run(planned, asyncio.get_running_loop().time() + 10)


async def test_taking_out_what_was_announced_twice_takes_nothing_else(store):
    """Ids begin again in an empty outbox: a second publisher must not remove new ones."""
    await ask(store, SetPreference(key="a", value="1"))
    announced = await store.outbox.waiting(9)
    await store.outbox.announced(announced)
    await ask(store, SetPreference(key="b", value="1"))

    await store.outbox.announced(announced)

    assert [json.loads(one.body)["preference"]["key"] for one in await store.outbox.waiting(9)] == [
        "b"
    ]
