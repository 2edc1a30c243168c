"""No request takes more memory or time than it is allowed."""

import asyncio
import contextlib
import decimal
import gc
import json
import os
import re
import sqlite3
import sys
import threading
import tracemalloc
import weakref
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from jarvis_recorder.errors import (
    DeadlineExceeded,
    InvalidParameter,
    MoreRoomNeeded,
    OutcomeUnknown,
    ResultTooLarge,
)
from jarvis_recorder.storage.commands import CHANGES, set_preference
from jarvis_recorder.storage.engine import EngineStatements
from jarvis_recorder.storage.postgres.filling import insert_numbered
from jarvis_recorder.storage.postgres.store import PostgresStore
from jarvis_recorder.storage.queries.cursors import write_cursor
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.sqlite.admin import checks
from jarvis_recorder.storage.sqlite.store import SqliteStore, open_store
from jarvis_recorder.storage.tables import metadata
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.rpc.params import (
    EventHistogram,
    GetEvent,
    GetPreference,
    GetTurn,
    LatestSnapshot,
    ListEvents,
    ListPreferences,
    ListSessions,
    ListSnapshots,
    ListTurns,
    ReadHoldings,
    RecordEvent,
    ReportUsage,
    ResolveEvent,
    SearchTurns,
    SetPreference,
    SnapshotAt,
    TimelineAround,
    UnresolvedEvents,
)
from jarvis_recorder.wire.rpc.results import BEGINNING_CHARACTERS, LARGE_FIELD_BYTES, EventPage
from jarvis_recorder.wire.times import EARLIEST, LATEST, format_datetime, to_datetime
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import delivery
from tests.support.archive import ask

NOW = 1_795_420_000_000_000
MOMENT = to_datetime(NOW)
FIRST, LAST = to_datetime(EARLIEST), to_datetime(LATEST)
MEBIBYTE = 1024 * 1024
ROOM = MEBIBYTE
# The memory one request may take besides its result: a connection, a statement, a row.
MOST_MEMORY = 12 * MEBIBYTE
# Parsed into objects, thirty times the size of the text.
EMPTY_LISTS = "[" + "[]," * 350_000 + "0]"


async def insert(
    store: SqliteStore | PostgresStore, table: str, rows: list[dict[str, Any]]
) -> None:
    """Insert rows into a table as they would be stored, faster than by recording them."""
    if isinstance(store, SqliteStore):
        insert_into_file(store.path, table, rows)
    else:
        await store.writer.run(partial(insert_numbered, table=metadata.tables[table], rows=rows))


def insert_into_file(path: Path, table: str, rows: list[dict[str, Any]]) -> None:
    columns = list(rows[0])
    places = ", ".join(f":{name}" for name in columns)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows
        )


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "message_id": f"e{number}",
        "timestamp": NOW - number,
        "stamped": 0,
        "type": "alert",
        "severity": "info",
        "source": "system",
        "node": "pve1",
        "summary": "all is well",
        "details": None,
        "recorded_at": NOW,
    } | more


def turn(number: int, **more: Any) -> dict[str, Any]:
    return {
        "message_id": f"t{number}",
        "session_id": "s",
        "timestamp": NOW + number,
        "stamped": 0,
        "role": "user",
        "content": "hello",
        "model": None,
        "tokens_used": None,
        "cost_usd": None,
        "tool_calls": None,
        "recorded_at": NOW,
    } | more


async def pages(store: SqliteStore | PostgresStore, kind: type, **params: Any) -> list[Any]:
    """Follow the cursors to the end; return the pages."""
    found: list[Any] = []
    cursor = None
    while not found or cursor is not None:
        found.append(await ask(store, kind(**params, cursor=cursor), 30))
        cursor = found[-1].next_cursor
    return found


@pytest.mark.parametrize("others", [0, 2_500])
async def test_a_page_ends_when_its_room_is_used_up(store, others):
    """Sixty tool results of 30 KB each come in as many pages as needed."""
    result = json.dumps({"result": "l" * 30_000})
    large = [event(number, details=result) for number in range(60)]
    older = [event(number, source="user") for number in range(60, 60 + others)]
    await insert(store, "events", large + older)

    found = await pages(store, ListEvents, limit=1_000, exclude="source:user" if others else None)

    first, *_ = found
    assert first.looked_to == first.events[-1].timestamp, "and not how far it had looked for them"
    found = [page for page in found if page.events]

    assert [e.message_id for page in found for e in page.events] == [f"e{n}" for n in range(60)]
    assert all(e.details == json.loads(result) for page in found for e in page.events)
    assert len(found) == 2


async def test_a_list_leaves_out_what_is_large_and_says_so(store):
    large = json.dumps("x" * LARGE_FIELD_BYTES)
    await insert(store, "events", [event(1), event(2, details=large), event(3)])
    content = "ü" * LARGE_FIELD_BYTES
    await insert(store, "conversations", [turn(1, content=content, tool_calls=large)])

    (page,) = await pages(store, ListEvents)
    (turns,) = await pages(store, ListTurns, session_id="s")

    assert [e.omitted for e in page.events] == [[], ["details"], []]
    assert page.events[1].details is None
    (shown,) = turns.turns
    assert shown.omitted == ["tool_calls", "content"]
    assert shown.content == "ü" * BEGINNING_CHARACTERS
    whole = (await ask(store, GetTurn(id=shown.id))).turn
    assert (whole.content, whole.tool_calls, whole.omitted) == (content, json.loads(large), [])
    assert (await ask(store, GetEvent(id=2))).event.details == json.loads(large)


async def test_a_field_of_just_that_size_is_not_left_out(store):
    await insert(store, "events", [event(1, details=json.dumps("x" * (LARGE_FIELD_BYTES - 2)))])
    await insert(store, "conversations", [turn(1, content="x" * LARGE_FIELD_BYTES)])

    assert (await ask(store, ListEvents())).events[0].omitted == []
    assert (await ask(store, ListTurns(session_id="s"))).turns[0].omitted == []


async def test_one_record_is_answered_whole_where_it_has_room(store):
    await insert(store, "events", [event(1, details=EMPTY_LISTS)])
    body = {"snapshot": {"a": "x" * (2 * MEBIBYTE)}, "timestamp": format_datetime(MOMENT)}
    await put_snapshot(store, body)

    for question in (GetEvent(id=1), LatestSnapshot(), SnapshotAt(timestamp=MOMENT)):
        with pytest.raises(MoreRoomNeeded):
            await ask(store, question)
        await ask(store, question, room=4 * MEBIBYTE)
    found = await ask(store, LatestSnapshot(), room=4 * MEBIBYTE)
    assert found.snapshot.snapshot == body["snapshot"]


async def put_snapshot(store: SqliteStore | PostgresStore, body: dict[str, Any]) -> None:
    decoded = decode(delivery(json.dumps(body).encode()), TOPICS[1], NOW)
    await store.repository.append(decoded.records, NOW)


async def test_a_change_is_answered_however_large_the_event_is(store):
    """An error about the size would be taken for a failure, although the change is made."""
    await insert(store, "events", [event(1, details=EMPTY_LISTS)])
    details = "x" * (2 * MEBIBYTE)

    resolved = await ask(store, ResolveEvent(id=1, resolved_by="ada"))
    recorded = await ask(
        store, RecordEvent(type="alert", source="user", summary="s", details=details)
    )

    assert (resolved.event.resolved_by, resolved.event.omitted) == ("ada", ["details"])
    assert recorded.event.omitted == ["details"]
    told = await store.outbox.waiting(9)
    assert [len(one.body) < 1_000 for one in told] == [True, True]


async def test_what_is_to_be_announced_is_read_in_small_parts(store):
    body = "x" * MEBIBYTE
    await insert(
        store,
        "outbox",
        [
            {"routing_key": "a", "message_id": f"{n}", "body": body, "created_at": 0}
            for n in range(9)
        ],
    )

    assert len(await store.outbox.waiting(100)) == 1


QUESTIONS = {
    "events.list": ListEvents(limit=1_000),
    "events.list, deep": ListEvents(limit=1_000, text="well"),
    "events.unresolved": UnresolvedEvents(limit=1_000),
    "events.histogram": EventHistogram(since=FIRST, until=LAST, by="node"),
    "conversations.turns": ListTurns(session_id="s", limit=1_000),
    "conversations.sessions": ListSessions(limit=1_000),
    "conversations.search": SearchTurns(query="hello", limit=1_000),
    "conversations.usage": ReportUsage(since=FIRST, by="session"),
    "snapshots.list": ListSnapshots(limit=1_000),
    "timeline.around": TimelineAround(timestamp=MOMENT, window_seconds=86_400),
    "preferences.list": ListPreferences(limit=1_000),
    "preferences.get": GetPreference(key="k0"),
    "recorder.stats": ReadHoldings(),
}


@pytest.fixture(scope="module")
def worst(tmp_path_factory):
    """A database of the records that cost a reader most."""
    path = tmp_path_factory.mktemp("worst") / "recorder.db"

    async def fill() -> None:
        async with open_store(path, lambda: NOW) as store:
            for number in range(60):
                key = f"k{number}"
                await ask(store, SetPreference(key=key, value="\x01" * 65_536))
            await put_snapshot(store, {"snapshot": {"a": "x" * (9 * MEBIBYTE)}})

    asyncio.run(fill())
    large = "hello " * 400_000
    insert_into_file(path, "events", [event(n, details=EMPTY_LISTS) for n in range(40)])
    insert_into_file(path, "conversations", [turn(n, content=large) for n in range(20)])
    names = [
        event(n, message_id=f"n{n}", timestamp=NOW - n * 10**9, node=f"n{n}" + "ü" * 200)
        for n in range(20_000)
    ]
    insert_into_file(path, "events", names)
    sessions = [turn(n, message_id=f"s{n}", session_id=f"{n}" + "ü" * 200) for n in range(20_000)]
    insert_into_file(path, "conversations", sessions)
    return path


@pytest.mark.parametrize("name", QUESTIONS)
async def test_no_request_takes_much_memory_or_more_than_its_room(worst, name):
    async with open_store(worst, lambda: NOW) as store:
        tracemalloc.start()
        try:
            await ask(store, QUESTIONS[name], 60)
        except ResultTooLarge:
            assert name == "events.histogram"
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

    assert peak < MOST_MEMORY


@pytest.mark.parametrize("room", [0, 100, 3_000, 20_000, ROOM])
@pytest.mark.parametrize("name", QUESTIONS)
async def test_an_answer_keeps_within_its_room_or_is_refused(store, name, room):
    await insert(store, "events", [event(n, node=f"n{n}", details='{"a":1}') for n in range(200)])
    await insert(store, "conversations", [turn(n) for n in range(200)])
    await ask(store, SetPreference(key="k0", value="\x01" * 65_536))

    try:
        await ask(store, QUESTIONS[name], room=room)
    except ResultTooLarge:
        assert room <= 20_000


async def test_a_deadline_is_kept_whatever_the_thread_does(sqlite_store):
    """SQLite does not interrupt Python code between two rows."""
    loop = asyncio.get_running_loop()
    free = threading.Event()
    began = loop.time()

    with pytest.raises(DeadlineExceeded):
        await sqlite_store.archive._readers.run(lambda _: free.wait(30), began + 0.1)

    assert loop.time() - began < 1.0
    free.set()


async def test_who_reads_row_by_row_stops_at_the_end_of_the_time(sqlite_store):
    await insert(sqlite_store, "events", [event(n) for n in range(100)])
    loop = asyncio.get_running_loop()
    read: list[int] = []

    def slowly(reading: Reading) -> None:
        for row in reading.rows(text("SELECT id FROM events")):
            read.append(row.id)
            reading.end()

    with pytest.raises(DeadlineExceeded):
        await sqlite_store.archive._readers.run(slowly, loop.time() + 30)
    assert len(read) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has no priority of its own")
async def test_who_reads_leaves_the_processor_to_who_refuses_in_time(sqlite_store):
    """
    Four computing readers would keep the event loop from running for a second.

    Much below its priority a reader would hold the GIL while other processes run.
    """

    def niceness(_: object = None) -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    until = asyncio.get_running_loop().time() + 10
    assert await sqlite_store.archive._readers.run(niceness, until) == min(niceness() + 2, 19)


async def test_a_change_that_is_being_made_at_its_deadline_is_reported_as_unknown(
    sqlite_store, monkeypatch
):
    """It is finished all the same, but its caller does not wait for the disk."""
    free = threading.Event()

    def slowly(
        connection: Connection, question: SetPreference, now: int, statements: EngineStatements
    ) -> bytes:
        free.wait(30)
        return set_preference(connection, question, now, statements)

    monkeypatch.setitem(CHANGES, SetPreference, slowly)
    loop = asyncio.get_running_loop()
    began = loop.time()

    with pytest.raises(OutcomeUnknown):
        await ask(sqlite_store, SetPreference(key="k", value="1"), 0.1)

    assert loop.time() - began < 1.0
    free.set()
    await ask(sqlite_store, SetPreference(key="other", value="1"))
    found = (await ask(sqlite_store, ListPreferences())).preferences
    assert [preference.key for preference in found] == ["k", "other"]


costs = st.decimals(
    min_value=0, max_value=Decimal("9" * 31), allow_nan=False, allow_infinity=False, places=None
).filter(lambda cost: -cost.as_tuple().exponent <= 60)
tokens = st.none() | st.integers(0, 2**63 - 1)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.none() | costs | st.sampled_from([Decimal("-0.0"), Decimal("9" * 31)]),
            tokens,
            st.sampled_from(["a", "b", None]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_usage_is_added_exactly_whatever_it_is(tmp_path_factory, used):
    """Includes costs of ninety digits, and token sums beyond 64 bits."""
    path = tmp_path_factory.mktemp("usage") / "recorder.db"
    rows = [
        turn(
            n, model=model, tokens_used=count, cost_usd=None if cost is None else format(cost, "f")
        )
        for n, (cost, count, model) in enumerate(used)
    ]

    async def report() -> Any:
        async with open_store(path, lambda: NOW) as store:
            insert_into_file(path, "conversations", rows)
            first = await ask(store, ReportUsage(since=FIRST, by="model", limit=1))
            lines = await pages(store, ReportUsage, since=FIRST, by="model", limit=1)
            return first.total, [line for page in lines for line in page.usage]

    total, lines = asyncio.run(report())

    def added(which: list[Any]) -> tuple[int, int, Decimal]:
        with decimal.localcontext(prec=200):
            return (
                len(which),
                sum(count or 0 for _, count, _ in which),
                sum((cost for cost, _, _ in which if cost is not None), Decimal(0)),
            )

    def told(usage: Any) -> tuple[int, int, Decimal]:
        return usage.turns, usage.tokens_used, usage.cost_usd

    assert told(total) == added(used)
    keys = sorted({model for _, _, model in used}, key=lambda key: key or "")
    assert [line.key for line in lines] == keys
    for line in lines:
        assert told(line) == added([one for one in used if one[2] == line.key])


async def test_usage_is_listed_in_pages(store):
    rows = [
        turn(n, session_id=f"s{n:0100}", cost_usd="0.10", timestamp=NOW - n * 86_400 * 10**6)
        for n in range(9_000)
    ]
    await insert(store, "conversations", rows)

    by_session = await pages(store, ReportUsage, since=FIRST, by="session")
    by_day = await pages(store, ReportUsage, since=FIRST, by="day", limit=1_000)

    assert len(by_session) > 1
    assert [line.key for page in by_session for line in page.usage] == [
        f"s{n:0100}" for n in range(9_000)
    ]
    assert {str(page.total.cost_usd) for page in by_session} == {"900.00"}
    assert sum(line.turns for page in by_day for line in page.usage) == 9_000
    assert len(by_day) == 9


async def test_a_search_is_listed_in_pages(store):
    await insert(store, "conversations", [turn(n, content=f"hello {n}") for n in range(25)])

    found = await pages(store, SearchTurns, query="hello", limit=10)

    assert [len(page.turns) for page in found] == [10, 10, 5]
    assert len({one.turn.id for page in found for one in page.turns}) == 25


@pytest.mark.parametrize(
    "position", [(10**30, 1), (2**63, 2**63), (-(2**63), -1), (0, 10**400), (2**63 - 1, 1)]
)
async def test_a_cursor_that_lies_beyond_all_time_costs_an_error_at_most(store, position):
    cursor = write_cursor(ListEvents(), *position)

    outcome = await asyncio.gather(ask(store, ListEvents(cursor=cursor)), return_exceptions=True)

    assert isinstance(outcome[0], EventPage | InvalidParameter)


async def test_the_first_and_the_last_year_are_years_like_others(store):
    await insert(
        store,
        "events",
        [event(1, timestamp=EARLIEST), event(2, timestamp=LATEST - 999_999)],
    )

    for moment in (FIRST, LAST):
        found = await ask(store, TimelineAround(timestamp=moment, window_seconds=86_400))
        assert len(found.events) == 1
    whole = await ask(store, EventHistogram(since=FIRST, until=LAST))
    assert sum(bucket.count for bucket in whole.buckets) == 2
    assert whole.buckets[0].start == FIRST


async def test_an_event_that_lies_far_ahead_is_reported_in_years(sqlite_store, path):
    insert_into_file(path, "events", [event(1, timestamp=LATEST - 999_999)])

    assert re.search(r"lies 7,9\d\d years in the future", checks._clock(path).detail)


class Row(bytearray):
    """A row that was read, which a weak reference may point to."""


async def test_what_was_read_is_freed_at_once_where_the_answer_is_an_error(store):
    """Not only by the collector, which comes after many small objects and not after large ones."""
    rows: list[weakref.ref[Row]] = []

    def read(_: Any) -> bytes:
        row = Row(b"large")
        rows.append(weakref.ref(row))
        raise MoreRoomNeeded("the record does not fit")

    gc.disable()
    try:
        with contextlib.suppress(MoreRoomNeeded):
            await store.archive._readers.run(read, asyncio.get_running_loop().time() + 30)
        assert [row() for row in rows] == [None]
    finally:
        gc.enable()
