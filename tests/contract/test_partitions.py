"""The events on PostgreSQL in partitions, one for each month."""

import asyncio
import contextlib
import random
import sqlite3
import subprocess
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest
from structlog.testing import capture_logs

from jarvis_recorder.config.loading import load, server_url
from jarvis_recorder.demo.private_postgres import _find_programs
from jarvis_recorder.errors import ConfigurationError, StorageUnavailable
from jarvis_recorder.retention_policy import DAY, RetentionPolicy
from jarvis_recorder.storage.legacy.importer import import_original
from jarvis_recorder.storage.legacy.targets import on_server
from jarvis_recorder.storage.opening import with_store
from jarvis_recorder.storage.postgres import admin, expired_months, partitions
from jarvis_recorder.storage.postgres import store as postgres_store
from jarvis_recorder.storage.postgres.locks import Lock
from jarvis_recorder.storage.postgres.partitions import Month, make_ahead, make_months
from jarvis_recorder.storage.postgres.store import open_store
from jarvis_recorder.storage.sqlite.store import open_store as open_file
from jarvis_recorder.storage.transfer import copy_to_server
from jarvis_recorder.wire.records import Event, Record
from jarvis_recorder.wire.rpc.params import (
    EventHistogram,
    GetEvent,
    ListEvents,
    ListIncidents,
    ReadHoldings,
    RecordEvent,
    ResolveEvent,
)
from jarvis_recorder.wire.times import to_datetime, to_micros
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import ask, prune, rows
from tests.support.stored import all_pages

NOW = to_micros(datetime(2022, 11, 23, tzinfo=UTC))
# The server's own clock is years ahead of them.
MONTHS = [Month.of(datetime(2022, number, 1, tzinfo=UTC)) for number in range(1, 11)]
NAMED = {month.name for month in MONTHS}
IN_JANUARY, IN_FEBRUARY, IN_MARCH = (to_micros(month.begin) + DAY for month in MONTHS[:3])
PARTITIONS = (
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'events'::regclass AND c.relkind = 'r'"
)
WHERE = "SELECT message_id, tableoid::regclass::text FROM events ORDER BY id"
COLUMNS = (
    "SELECT column_name, data_type, collation_name, column_default, is_nullable"
    " FROM information_schema.columns WHERE table_name = 'events' ORDER BY column_name"
)
INDEXES = (
    "SELECT replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') FROM pg_index"
    " WHERE indrelid = 'events'::regclass AND NOT indisprimary ORDER BY 1"
)
OWNED = "SELECT pg_get_serial_sequence('events', 'id')"
MADE_BY_HAND = (
    "CREATE TABLE events_2022 PARTITION OF events"
    " FOR VALUES FROM ('2022-01-01Z') TO ('2023-01-01Z')"
)
SEVERITIES = ("info", "warning", "error", "critical")


def clock():
    return NOW


@pytest.fixture(scope="module")
async def template(postgres):
    """The name of a database whose events are partitioned, for most of 2022 too."""
    url = postgres.new_database()
    async with open_store(url, clock, by_month=True) as store:
        await make_months(store.writer._engine, [month.begin for month in MONTHS])
    return url.partition("@/")[2].partition("?")[0]


@pytest.fixture
def divided_url(postgres, template):
    with postgres.database(template) as url:
        yield url


@pytest.fixture
async def divided(divided_url):
    async with open_store(divided_url, clock) as store:
        yield store


@pytest.fixture
async def plain(postgres_url):
    async with open_store(postgres_url, clock) as store:
        yield store


def event(identity, at, *, stamped=False, **fields):
    body = Event(
        **{"type": "status", "severity": "info", "source": "monitor", "summary": "x"} | fields
    )
    return Record(Kind.EVENT, identity, at, stamped, body, None)


def execute(url, statement, *parameters):
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(statement, parameters or None)
        return found.fetchall() if found.description else []


def names(url):
    return {name for (name,) in execute(url, PARTITIONS)}


def some_events(chance, number):
    """Events of all months but the last ones, some of them without a time of their own."""
    return [
        event(
            f"e{n}",
            IN_JANUARY + chance.randrange(200 * DAY),
            stamped=chance.random() < 0.2,
            type=chance.choice(("alert", "status")),
            severity=chance.choice(SEVERITIES),
            node=chance.choice(("pve1", "pve2", None)),
            summary=f"summary {n}",
        )
        for n in range(number)
    ]


async def test_empty_tables_become_partitioned_and_are_else_as_they_were(postgres):
    url = postgres.new_database()
    async with open_store(url, clock):
        before = [execute(url, query) for query in (COLUMNS, INDEXES, OWNED)]

    async with open_store(url, clock, by_month=True) as store:
        assert [execute(url, query) for query in (COLUMNS, INDEXES, OWNED)] == before
        now = execute(url, "SELECT now()")[0][0]
        ahead = Month.of(now), Month.of(Month.of(now).end)
        made = {"events_other", *(month.name for month in ahead)}
        assert names(url) == made
        await store.repository.append([event("a", to_micros(now)), event("b", 5)], NOW)
    async with open_store(url, clock, by_month=True), open_store(url, clock):
        assert names(url) == made
    assert execute(url, WHERE) == [("a", ahead[0].name), ("b", "events_other")]


async def test_rows_are_not_divided_afterwards(plain, postgres_url):
    await plain.repository.append([event("a", NOW)], NOW)

    with pytest.raises(ConfigurationError, match="only an empty one becomes partitioned"):
        async with open_store(postgres_url, clock, by_month=True):
            pass

    assert execute(postgres_url, WHERE) == [("a", "events")]
    assert ConfigurationError.exit_code == 78


async def test_of_recorders_that_start_at_once_one_divides_the_events(postgres):
    url = postgres.new_database()
    loaded = load({"store.url": url, "store.partitions": "month"}, {})
    opened = []

    async def use(store):
        opened.append(await store.health())

    await asyncio.gather(*(with_store(loaded, clock, use) for _ in range(4)))
    assert len(opened) == 4
    assert len(names(url)) == 3


async def test_a_recorder_that_runs_meanwhile_goes_on(postgres):
    """Its statements are prepared for the table of before."""
    url = postgres.new_database()
    async with open_store(url, clock) as another:
        for number in range(8):
            await another.repository.append([event(f"{number}", NOW)], NOW)
            await ask(another, GetEvent(id=number + 1))
        execute(url, "TRUNCATE events")
        async with open_store(url, clock, by_month=True):
            outcome = await another.repository.append([event("a", 5), event("b", NOW)], NOW)
            await ask(another, ResolveEvent(id=9))
            found = await ask(another, GetEvent(id=9))

    assert (outcome.stored, found.event.resolved) == (2, True)
    assert execute(url, WHERE) == [("a", "events_other"), ("b", "events_other")]


async def test_each_record_is_stored_once_over_all_months(divided, plain):
    chance = random.Random(7)
    records = some_events(chance, 400)
    batch = [chance.choice(records) for _ in range(500)]
    # A publisher's second attempt without a time is of another month; others are collisions.
    again = [
        record._replace(timestamp=record.timestamp + (40 * DAY if record.stamped else 0))
        for record in records
    ]
    other = [event(record.message_id, record.timestamp, summary="other") for record in records]

    for part in (batch, records, chance.sample(again, len(again)), other, [event(None, 5)] * 2):
        expected = await plain.repository.append(part, NOW)
        assert await divided.repository.append(part, NOW) == expected

    query = "SELECT message_id, timestamp FROM events ORDER BY message_id, timestamp"
    assert await rows(divided, query) == await rows(plain, query)


async def test_questions_are_answered_as_without_partitions(divided, plain):
    chance = random.Random(7)
    records = some_events(chance, 300)
    for store in (divided, plain):
        await store.repository.append(records, NOW)
        await ask(store, ResolveEvent(id=7, resolved_by="me"))
        body = RecordEvent(
            type="alert", severity="error", source="user", summary="y", message_id="mine"
        )
        assert await ask(store, body) == await ask(store, body)
        while await store.incidents.step():
            pass

    for filters in (
        {},
        {"type": "alert", "resolved": False},
        {"node": "pve1", "since": to_datetime(IN_FEBRUARY), "until": to_datetime(IN_MARCH)},
        {"text": "summary 1"},
        {"min_severity": "error"},
    ):
        found, expected = [
            [row.id for row in await all_pages(store, ListEvents, limit=23, **filters)]
            for store in (divided, plain)
        ]
        assert found == expected != []
    for question in (
        *(GetEvent(id=number) for number in (1, 7, 301)),
        EventHistogram(since=to_datetime(IN_JANUARY), until=to_datetime(NOW)),
        ListIncidents(),
    ):
        assert await ask(divided, question) == await ask(plain, question)


@pytest.mark.parametrize("days", [{"info": 200, "warning": 230}, dict.fromkeys(SEVERITIES, 240)])
async def test_pruning_leaves_what_it_leaves_without_partitions(divided, divided_url, plain, days):
    chance = random.Random(7)
    expired = event("", 0).body
    records = [
        record if record.timestamp >= IN_MARCH else record._replace(body=expired)
        for record in some_events(chance, 600)
    ]
    keeping = RetentionPolicy(events=days)
    for store in (divided, plain):
        await store.repository.append(records, NOW)
        # Others would keep their month, whatever their severity.
        await rows(
            store, f"UPDATE events SET resolved = true WHERE timestamp < '{MONTHS[4].begin}'"
        )

    gone = await prune(divided, keeping, NOW)

    assert gone == await prune(plain, keeping, NOW)
    query = "SELECT message_id FROM events ORDER BY id"
    assert await rows(divided, query) == await rows(plain, query) != []
    query = "SELECT kind, message_id FROM stamped_identities ORDER BY 2"
    assert await rows(divided, query) == await rows(plain, query)
    assert NAMED - names(divided_url) == {"events_2022_01", "events_2022_02"}
    assert await prune(divided, keeping, NOW) == {}


async def test_an_alert_keeps_its_month_until_it_was_resolved_as_long_ago(divided, divided_url):
    of_january = [event(f"{n}", IN_JANUARY + n) for n in range(20)]
    alert = event("alert", IN_JANUARY, type="alert")
    await divided.repository.append([*of_january, alert], NOW)
    keeping = RetentionPolicy(events={"info": 100})

    assert await prune(divided, keeping, NOW) == {"events": 20}
    assert execute(divided_url, WHERE) == [("alert", "events_2022_01")]

    (number,) = execute(divided_url, "SELECT id FROM events")[0]
    await ask(divided, ResolveEvent(id=number))
    assert await prune(divided, keeping, NOW + 99 * DAY) == {}
    with capture_logs() as logs:
        assert await prune(divided, keeping, NOW + 101 * DAY) == {"events": 1}
    assert {"events_2022_01", "events_2022_07"}.isdisjoint(names(divided_url))
    assert {"event": "month_dropped", "partition": "events_2022_01", "events": 1} in [
        {name: value for name, value in entry.items() if name != "log_level"} for entry in logs
    ]


async def test_no_signal_names_an_event_that_is_dropped(divided, divided_url, monkeypatch):
    monkeypatch.setattr(expired_months, "_AT_ONCE", 3)
    down = {"type": "alert", "severity": "critical", "node": "pve1", "summary": "Node pve1 is down"}
    await divided.repository.append(
        [
            *(event(f"{n}", IN_JANUARY + n, **down) for n in range(10)),
            *(event(f"s{n}", IN_JANUARY + n, stamped=True) for n in range(10)),
            event("later", IN_MARCH, **down),
        ],
        NOW,
    )
    for _ in range(4):
        while await divided.incidents.step():
            pass
    named = "SELECT count(*), count(event_id) FROM incident_signals"
    assert execute(divided_url, named) == [(11, 11)]
    execute(divided_url, "UPDATE events SET resolved = true")

    keeping = RetentionPolicy(events={"info": 270, "critical": 270})
    writer = divided.writer
    gone = await expired_months.drop_expired_months(
        writer._engine, writer._server, keeping, NOW, lambda: False
    )

    assert gone == 20
    assert "events_2022_01" not in names(divided_url)
    assert execute(divided_url, named) == [(11, 1)]
    assert execute(divided_url, "SELECT * FROM stamped_identities") == []


DOWN = {"type": "alert", "severity": "critical", "node": "pve1", "summary": "Node pve1 is down"}
NOTHING_IS_KEPT = RetentionPolicy(events={"info": 270, "critical": 270})
WITHOUT_SIGNAL = (
    "SELECT count(*) FROM events e WHERE type = 'alert'"
    " AND NOT EXISTS (SELECT FROM incident_signals WHERE event_id = e.id)"
)
WITHOUT_IDENTITY = (
    "SELECT count(*) FROM events e WHERE stamped"
    " AND NOT EXISTS (SELECT FROM stamped_identities s WHERE s.message_id = e.message_id)"
)


@pytest.fixture
async def folded(divided, divided_url, monkeypatch):
    """The store with problems of one incident, events without a time, and others, all expired."""
    monkeypatch.setattr(expired_months, "_AT_ONCE", 3)
    monkeypatch.setattr(expired_months, "_TRIES", 1)
    of_january = [
        *(event(f"{n}", IN_JANUARY + n, **DOWN) for n in range(10)),
        *(event(f"s{n}", IN_JANUARY + n, stamped=True) for n in range(10)),
        *(event(f"n{n}", IN_JANUARY + n) for n in range(5)),
    ]
    await divided.repository.append(of_january, NOW)
    await settle(divided, divided_url)
    execute(divided_url, "UPDATE events SET resolved = true")
    return divided


async def settle(store, url):
    """Have the keeper of incidents read all events."""
    is_behind = (
        "SELECT reached < (SELECT max(id) FROM events) OR EXISTS"
        " (SELECT FROM incident_conditions WHERE stale) FROM incident_progress"
    )
    async with asyncio.timeout(60):
        while execute(url, is_behind) == [(True,)]:
            await store.incidents.step()


async def drop_months(store, enough=lambda: False):
    writer = store.writer
    return await expired_months.drop_expired_months(
        writer._engine, writer._server, NOTHING_IS_KEPT, NOW, enough
    )


@pytest.mark.parametrize("steps", [1, 2, 5, 100])
async def test_a_month_that_is_not_dropped_has_no_event_without_its_signal(
    folded, divided_url, steps
):
    """With other rules each of them would count twice, and be stored twice if delivered again."""
    calls = iter(range(steps))

    with psycopg.connect(divided_url) as reader:
        reader.execute("SELECT * FROM events")
        gone = await drop_months(folded, lambda: next(calls, None) is None)

    assert "events_2022_01" in names(divided_url)
    assert execute(divided_url, WITHOUT_SIGNAL) == [(0,)]
    assert execute(divided_url, WITHOUT_IDENTITY) == [(0,)]
    assert execute(divided_url, "SELECT count(*) FROM events") == [(25 - gone,)]
    counts = "SELECT count(*), count(event_id) FROM incident_signals"
    alerts = execute(divided_url, "SELECT count(*) FROM events WHERE type = 'alert'")[0][0]
    assert execute(divided_url, counts) == [(10, alerts)]


async def test_an_alert_of_an_expired_month_that_was_opened_again_stays(
    folded, divided_url, monkeypatch
):
    delete_some = expired_months._delete_some

    def opened_again(connection, **named):
        execute(divided_url, "UPDATE events SET resolved = false WHERE message_id = '4'")
        return delete_some(connection, **named)

    monkeypatch.setattr(expired_months, "_delete_some", opened_again)

    assert await drop_months(folded) == 19

    left = execute(divided_url, "SELECT message_id FROM events ORDER BY 1")
    assert left == [("4",), *((f"n{n}",) for n in range(5))]
    assert execute(divided_url, WITHOUT_SIGNAL) == [(0,)]


@pytest.mark.parametrize("late", [2, 9])
async def test_signals_that_come_before_the_drop_go_with_it_or_keep_the_month(
    folded, divided_url, monkeypatch, late
):
    """The keeper has read the events by now; a few are forgotten with the month."""
    dropped = expired_months._dropped

    async def keeper_comes_first(engine, server, month, deleted, **named):
        if month.name == "events_2022_01":
            records = [
                event(f"late{n}", IN_JANUARY + n, **(DOWN | {"node": "pve2"})) for n in range(late)
            ]
            await folded.repository.append(records, NOW)
            await settle(folded, divided_url)
            execute(divided_url, "UPDATE events SET resolved = true")
        return await dropped(engine, server, month, deleted, **named)

    monkeypatch.setattr(expired_months, "_dropped", keeper_comes_first)

    gone = await drop_months(folded)

    stays = late > expired_months._AT_ONCE
    assert ("events_2022_01" in names(divided_url)) == stays
    assert gone == 20 + (0 if stays else 5 + late)
    counts = "SELECT count(*), count(event_id) FROM incident_signals"
    assert execute(divided_url, counts) == [(10 + late, late if stays else 0)]
    assert execute(divided_url, WITHOUT_SIGNAL) == [(0,)]


async def test_the_command_prunes_in_turn_with_a_recorder(folded, divided_url, monkeypatch):
    # A busy machine may let it wait for its turn for longer than it waits for a month.
    monkeypatch.setattr(expired_months, "_TRIES", 100)
    monkeypatch.setattr(expired_months, "_AGAIN_SECONDS", 0.01)
    keeping = RetentionPolicy(events={"info": 1, "critical": 1})
    await folded.repository.append([event(f"{n}", IN_MARCH + n) for n in range(700)], NOW)
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

    async with await psycopg.AsyncConnection.connect(divided_url) as recorder:
        hold = partial(recorder.execute, "SELECT pg_advisory_xact_lock(%s)", (Lock.RETENTION,))
        await hold()
        pruning = asyncio.create_task(admin.prune_now(divided_url, keeping, lambda _: None))
        while not pruning.done():
            while not pruning.done() and execute(divided_url, waits) == [(0,)]:
                await asyncio.sleep(0.01)
            await recorder.commit()
            await hold()

    assert await pruning == {"events": 725}
    assert not {"events_2022_01", "events_2022_03"} & names(divided_url)


async def test_a_month_may_go_that_was_to_be_read_before_anything_is_told(divided, divided_url):
    kept = [event("kept", IN_MARCH, type="alert")]
    gone = [event(f"{n}", IN_JANUARY + n) for n in range(10)]
    await divided.repository.append(kept + gone, NOW)
    newest = "(SELECT max(id) FROM events)"
    execute(divided_url, f"UPDATE incident_progress SET reached = 0, told_after = {newest}")
    assert await drop_months(divided) == 10

    (left,) = execute(divided_url, "SELECT id FROM events")
    assert execute(divided_url, "SELECT told_after FROM incident_progress") == [left]


async def test_an_import_keeps_no_id_of_a_row_that_is_being_recorded(
    divided, divided_url, tmp_path
):
    original = tmp_path / "original.db"
    with contextlib.closing(sqlite3.connect(original)) as file, file:
        file.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, timestamp, type, severity,"
                     " source, node, summary, details, resolved, resolved_at, resolved_by)")  # fmt: skip
        file.executemany(
            "INSERT INTO events VALUES (?, '2022-01-05 10:00:00', 'status', 'info', 'monitor', NULL, ?,"
            " '{}', 0, NULL, NULL)",
            [(n, f"imported {n}") for n in range(1, 11)],
        )
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted"
    with psycopg.connect(divided_url) as recorder:
        recorder.execute(
            "INSERT INTO events (id, timestamp, stamped, type, severity, source, summary,"
            " recorded_at) SELECT nextval('events_id_seq'), now(), false, 'status', 'info', 'monitor', 'x',"
            " now() FROM generate_series(1, 3)"
        )
        importing = asyncio.create_task(
            import_original(original, on_server(divided_url, by_month=True), lambda *_: None)
        )
        while not importing.done() and not execute(divided_url, waiting):
            await asyncio.sleep(0.01)
        recorder.commit()
    report = await importing
    await divided.repository.append([event("later", NOW)], NOW)

    assert report["events"].taken == 10
    assert execute(divided_url, "SELECT count(*), count(DISTINCT id) FROM events") == [(14, 14)]
    assert execute(divided_url, "SELECT min(id) FROM events WHERE message_id = 'later'") > [(10,)]


async def test_what_comes_while_a_month_is_dropped_is_kept(divided, divided_url):
    """The month was found to be expired, and then gets an alert."""
    await divided.repository.append([event(f"{n}", IN_JANUARY + n) for n in range(20)], NOW)
    keeping = RetentionPolicy(events={"info": 100})

    async with await psycopg.AsyncConnection.connect(divided_url) as late:
        await late.execute(
            "INSERT INTO events (message_id, timestamp, stamped, type, severity, source, summary,"
            " recorded_at) VALUES ('late', '2022-01-05Z', false, 'alert', 'info', '', '', now())"
        )
        pruning = asyncio.create_task(prune(divided, keeping, NOW))
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while execute(divided_url, waits) == [(0,)]:
            assert not pruning.done()
            await asyncio.sleep(0.01)
        await late.commit()
    await pruning

    assert execute(divided_url, WHERE) == [("late", "events_2022_01")]
    assert "events_2022_02" not in names(divided_url)


async def test_recording_goes_on_while_months_are_dropped(divided, divided_url):
    """Events that come too late for their month are in the DEFAULT partition."""
    stored = 0
    keeping = RetentionPolicy(events={"info": 100})
    await divided.repository.append([event(f"{n}", IN_JANUARY + n) for n in range(100)], NOW)

    async def record():
        nonlocal stored
        for number in range(100):
            alert = event(f"late{number}", IN_JANUARY + number, type="alert")
            outcome = await divided.repository.append([alert, event(f"n{number}", NOW)], NOW)
            stored += outcome.stored

    await asyncio.gather(record(), prune(divided, keeping, NOW))

    assert stored == 200
    alerts = "SELECT count(*) FROM events WHERE message_id LIKE 'late%'"
    assert execute(divided_url, alerts) == [(100,)]


async def test_a_month_that_others_hold_is_left_and_its_rows_go(divided, divided_url, monkeypatch):
    monkeypatch.setattr(expired_months, "_TRIES", 2)
    monkeypatch.setattr(expired_months, "_AGAIN_SECONDS", 0.01)
    await divided.repository.append([event("a", IN_JANUARY)], NOW)

    with psycopg.connect(divided_url) as reader, capture_logs() as logs:
        reader.execute("SELECT * FROM events")
        assert await prune(divided, RetentionPolicy(events={"info": 290}), NOW) == {"events": 1}

    assert "month_not_dropped" in [entry["event"] for entry in logs]
    assert "events_2022_01" in names(divided_url)
    assert execute(divided_url, WHERE) == []


async def test_events_that_came_early_are_moved_to_their_month(divided, divided_url):
    early = [event(f"{n}", to_micros(datetime(2031, 3, 9, tzinfo=UTC)) + n) for n in range(5)]
    await divided.repository.append([*early, event("x", 5)], NOW)
    before = execute(divided_url, "SELECT * FROM events ORDER BY id")

    await make_months(divided.writer._engine, [datetime(2031, 3, 31, 23, 59, tzinfo=UTC)])

    assert execute(divided_url, "SELECT * FROM events ORDER BY id") == before
    where = dict(execute(divided_url, WHERE))
    assert where.pop("x") == "events_other"
    assert set(where.values()) == {"events_2031_03"}
    assert (await divided.repository.append(early, NOW)).duplicates == 5


async def test_a_month_of_which_much_is_there_already_stays_where_it_is(
    divided, divided_url, monkeypatch
):
    monkeypatch.setattr(partitions, "_MOST_MOVED", 4)
    ahead = names(divided_url) - NAMED - {"events_other"}
    for name in ahead:
        execute(divided_url, f"DROP TABLE {name}")
    now = to_micros(execute(divided_url, "SELECT now()")[0][0])
    await divided.repository.append([event(f"{n}", now) for n in range(5)], NOW)

    with capture_logs() as logs:
        await divided.retention.make_months()
        await divided.retention.make_months()

    (left,) = [entry for entry in logs if entry["event"] == "month_not_made"]
    assert left["partition"] == min(ahead)
    assert names(divided_url) == NAMED | {"events_other", max(ahead)}
    assert len(execute(divided_url, WHERE)) == 5
    assert (await divided.repository.append([event("more", now)], NOW)).stored == 1


async def test_where_partitions_lack_a_time_its_events_wait(divided, divided_url):
    """It is no fault of theirs: they are recorded once there is a partition."""
    execute(divided_url, "DROP TABLE events_other")
    batch = [event("a", IN_JANUARY), event("b", 5)]

    with pytest.raises(StorageUnavailable, match='no partition of relation "events"'):
        await divided.repository.append(batch, NOW)

    execute(divided_url, "CREATE TABLE events_other PARTITION OF events DEFAULT")
    assert (await divided.repository.append(batch, NOW)).stored == 2


async def test_partitions_that_an_administrator_made_are_respected(divided, divided_url):
    execute(
        divided_url,
        "CREATE TABLE decade PARTITION OF events FOR VALUES FROM ('2030-01-01Z') TO (MAXVALUE)",
    )
    before = names(divided_url)

    await make_months(divided.writer._engine, [datetime(2033, 5, 5, tzinfo=UTC)])

    assert names(divided_url) == before


async def test_new_ids_are_beyond_those_that_were_filled_in(divided, divided_url):
    execute(
        divided_url,
        "INSERT INTO events (id, message_id, timestamp, stamped, type, severity, source, summary,"
        " recorded_at) VALUES (1000, 'a', '2022-01-05Z', false, 'status', 'info', '', '', now())",
    )

    await divided.retention.make_months()
    await divided.repository.append([event("b", NOW)], NOW)

    assert execute(divided_url, "SELECT id FROM events WHERE message_id = 'b'") == [(1001,)]


async def test_an_id_that_is_taken_in_the_same_month_becomes_another(divided, divided_url):
    await divided.repository.append([event("a", IN_JANUARY)], NOW)
    execute(divided_url, "SELECT setval('events_id_seq', 1, false)")

    outcome = await divided.repository.append([event(None, IN_JANUARY)], NOW)

    assert (outcome.stored, outcome.refused) == (1, [])


async def test_tables_are_emptied_with_their_numbers(divided, divided_url):
    await divided.repository.append([event("a", IN_JANUARY), event("b", 5)], NOW)

    execute(divided_url, "TRUNCATE events RESTART IDENTITY")
    await divided.repository.append([event("c", IN_MARCH)], NOW)

    assert execute(divided_url, "SELECT id, message_id FROM events") == [(1, "c")]


async def test_sizes_and_estimates_are_of_all_partitions(divided, divided_url, monkeypatch):
    await divided.repository.append(some_events(random.Random(7), 300), NOW)
    await divided.repository.append([event(f"x{n}", 5) for n in range(20)], NOW)
    monkeypatch.setattr(postgres_store, "_MOST_COUNTED", 10)
    counted = await ask(divided, ReadHoldings())
    # Of the partitions alone, as autovacuum does, and then of the whole.
    for name in names(divided_url):
        execute(divided_url, f"ANALYZE {name}")

    for _ in range(2):
        stats = (await admin.stats(divided_url, exact=False)).tables[0]
        assert (counted.events.count, (await ask(divided, ReadHoldings())).events.count) == (
            320,
        ) * 2
        assert stats.rows == 320
        execute(divided_url, "ANALYZE events")
    size = sum(
        execute(divided_url, f"SELECT pg_total_relation_size('{name}')")[0][0]
        for name in names(divided_url)
    )
    assert stats.size_bytes == size > 100_000


async def test_a_dump_of_the_rows_fills_partitions(plain, postgres_url, postgres):
    """The commands of docs/grow.md."""
    records = some_events(random.Random(7), 50)
    await plain.repository.append(records, NOW)
    await ask(plain, ResolveEvent(id=7, resolved_by="me"))
    while await plain.incidents.step():
        pass
    url = postgres.new_database()
    await admin.upgrade_now(url, by_month=True)
    execute(url, MADE_BY_HAND)
    execute(url, "TRUNCATE incident_progress")
    programs = _find_programs()
    dumped = subprocess.run(
        [programs / "pg_dump", "--data-only", "--exclude-table=alembic_version", postgres_url],
        check=True, capture_output=True,
    )  # fmt: skip

    subprocess.run(
        [programs / "psql", "--single-transaction", "-v", "ON_ERROR_STOP=1", url],
        input=dumped.stdout, check=True, capture_output=True,
    )  # fmt: skip

    for query in ("SELECT * FROM events ORDER BY id", "SELECT * FROM incident_progress"):
        assert execute(url, query) == execute(postgres_url, query) != []
    assert {where for _, where in execute(url, WHERE)} == {"events_2022"}
    async with open_store(url, clock) as store:
        again = await store.repository.append([*records, event("new", NOW)], NOW)
    assert (again.stored, again.duplicates) == (1, 50)


async def test_a_copy_makes_the_months_that_the_file_has(postgres, tmp_path):
    path, url = tmp_path / "recorder.db", postgres.new_database()
    moments = [IN_MARCH, IN_JANUARY, IN_JANUARY + DAY, -(2**55), 253_402_000_000_000_000]
    async with open_file(path, clock) as store:
        records = [event(f"{n}", moment) for n, moment in enumerate(moments)]
        await store.repository.append(records, NOW)

    await copy_to_server(path, url, lambda *_: None, by_month=True)

    assert dict(execute(url, WHERE)) == {
        "0": "events_2022_03",
        "1": "events_2022_01",
        "2": "events_2022_01",
        "3": Month.of(to_datetime(-(2**55))).name,
        "4": "events_other",
    }
    async with open_store(url, clock) as store:
        assert (await store.repository.append(records, NOW)).duplicates == 5


async def test_recording_waits_for_no_one_who_keeps_partitions_from_being_made(
    divided, divided_url
):
    """A month is made in the hour after."""
    ahead = names(divided_url) - NAMED - {"events_other"}
    execute(divided_url, f"DROP TABLE {max(ahead)}")

    with psycopg.connect(divided_url) as reader, capture_logs() as logs:
        reader.execute("SELECT * FROM events")
        await divided.retention.make_months()
        outcome = await divided.repository.append([event("a", 5)], NOW)

    assert outcome.stored == 1
    assert [entry["event"] for entry in logs] == ["months_not_made"]
    await divided.retention.make_months()
    assert max(ahead) in names(divided_url)


async def test_what_is_not_partitioned_by_time_is_left_alone(plain):
    async with plain.writer._engine.begin() as connection:
        assert await connection.run_sync(make_ahead) == []
    assert await prune(plain, RetentionPolicy(events={"info": 1}), NOW) == {}


def test_a_file_has_no_partitions():
    loaded = load({"store.url": "sqlite:////x.db", "store.partitions": "month"}, {})

    with pytest.raises(ConfigurationError, match=r"store\.partitions is for a PostgreSQL server"):
        server_url(loaded)
