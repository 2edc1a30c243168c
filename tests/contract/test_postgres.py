"""The contracts of PostgreSQL alone: several recorders at once, lost connections, its own limits."""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from jarvis_recorder.errors import (
    ConfigurationError,
    Conflict,
    DeadlineExceeded,
    NotTried,
    OutcomeUnknown,
    StorageUnavailable,
)
from jarvis_recorder.incidents.rules import load_rules
from jarvis_recorder.retention_policy import DAY, RetentionPolicy
from jarvis_recorder.storage.incidents import keeper as incidents
from jarvis_recorder.storage.postgres import pruner as postgres_pruner
from jarvis_recorder.storage.postgres import writer as postgres_writer
from jarvis_recorder.storage.postgres.checks import check
from jarvis_recorder.storage.postgres.connections import Server, require_server
from jarvis_recorder.storage.postgres.filling import free_numbers
from jarvis_recorder.storage.postgres.locks import Lock
from jarvis_recorder.storage.postgres.repository import PostgresRepository
from jarvis_recorder.storage.postgres.store import open_store
from jarvis_recorder.storage.sqlite import pruner
from jarvis_recorder.storage.sqlite.store import open_store as open_file
from jarvis_recorder.storage.tables import events
from jarvis_recorder.telemetry.check import Status
from jarvis_recorder.wire.records import Event, Record, Snapshot, Turn
from jarvis_recorder.wire.rpc.params import (
    DeleteConversation,
    GetPreference,
    ListEvents,
    ReportUsage,
    SearchTurns,
    SetPreference,
)
from jarvis_recorder.wire.times import EARLIEST, LATEST, to_datetime
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import ask, rows

NOW = 1_795_420_000_000_000
# As the requirements have them: JARVIS_TEST_ROWS=1000 JARVIS_TEST_CHANGES=1000.
ROWS = int(os.environ.get("JARVIS_TEST_ROWS", "60"))
CHANGES = int(os.environ.get("JARVIS_TEST_CHANGES", "60"))


@pytest.fixture
async def store(postgres_url):
    async with open_store(postgres_url, lambda: NOW) as store:
        yield store


@pytest.fixture
async def another(postgres_url):
    """The store of another recorder of the same database."""
    async with open_store(postgres_url, lambda: NOW) as store:
        yield store


@pytest.fixture
async def third(postgres_url):
    """The store of a third one."""
    async with open_store(postgres_url, lambda: NOW) as store:
        yield store


def event(identity, at=NOW, *, stamped=False, **fields):
    body = Event(
        **{"type": "status", "severity": "info", "source": "monitor", "summary": "x"} | fields
    )
    return Record(Kind.EVENT, identity, at, stamped, body, None)


def turn(identity, content, at=NOW, session="s", *, stamped=False):
    body = Turn(session_id=session, role="user", content=content)
    return Record(Kind.TURN, identity, at, stamped, body, None)


def execute(url, statement, *parameters):
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(statement, parameters or None)
        return found.fetchall() if found.description else []


async def test_recorders_that_store_the_same_rows_at_once_store_each_once(postgres_url):
    """Without an order of the locks this ends in a deadlock in the first round."""
    chance = random.Random(7)
    writers = [PostgresRepository(Server(postgres_url)) for _ in range(3)]
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = execute(postgres_url, deadlocks)
    for round_ in range(60):
        batch = [event(f"{round_}-{n}") for n in range(ROWS)]
        batch += [event(f"{round_}-s{n}", NOW + n, stamped=True) for n in range(ROWS // 6)]
        shuffled = [chance.sample(batch, len(batch)) for _ in writers]
        outcomes = await asyncio.gather(
            *(writer.append(rows, NOW) for writer, rows in zip(writers, shuffled, strict=True))
        )
        assert sum(outcome.stored for outcome in outcomes) == len(batch)
        assert sum(outcome.duplicates for outcome in outcomes) == 2 * len(batch)
        assert not any(outcome.refused for outcome in outcomes)
    for writer in writers:
        await writer.close()
    assert execute(postgres_url, deadlocks) == before


async def test_rows_are_numbered_in_the_order_of_arrival(store, postgres_url):
    names = [f"{number:03}" for number in random.Random(7).sample(range(500), 500)]

    await store.repository.append([event(name) for name in names], NOW)

    found = execute(postgres_url, "SELECT message_id FROM events ORDER BY id")
    assert [name for (name,) in found] == names


async def test_an_identity_without_a_time_is_stored_once_by_several_recorders(store, another):
    first = await store.repository.append([event("a", 5, stamped=True)], NOW)
    again = await another.repository.append([event("a", 6, stamped=True)], NOW)
    other = await another.repository.append([event("a", 7, stamped=True, summary="y")], NOW)

    assert (first.stored, again.duplicates, len(other.refused)) == (1, 1, 1)


async def test_a_pruned_identity_may_come_again(store, postgres_url):
    await store.repository.append([turn("a", "hello", 5, stamped=True)], NOW)

    await ask(store, DeleteConversation(session_id="s"))

    assert execute(postgres_url, "SELECT * FROM stamped_identities") == []
    assert (await store.repository.append([turn("a", "hello", 6, stamped=True)], NOW)).stored == 1


async def test_times_are_exact_in_every_year(store, postgres_url):
    moments = [EARLIEST, -1, 0, 9_007_199_254_740_993, LATEST - 1]

    await store.repository.append([event(str(at), at) for at in moments], NOW)

    asked = "SELECT (extract(epoch FROM timestamp) * 1000000)::bigint FROM events ORDER BY 1"
    assert [at for (at,) in execute(postgres_url, asked)] == moments
    again = await store.repository.append([event(str(at), at) for at in moments], NOW)
    assert again.duplicates == len(moments)


async def test_a_lost_connection_is_a_reason_to_try_again_and_the_next_batch_waits(
    store, postgres_url
):
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with psycopg.connect(postgres_url) as holder:
        holder.execute("LOCK TABLE events")
        first = asyncio.create_task(store.repository.append([event("a")], NOW))
        await asyncio.sleep(0)
        second = asyncio.create_task(store.repository.append([event("b")], NOW))
        while not (pids := await asyncio.to_thread(execute, postgres_url, waiting)):
            await asyncio.sleep(0.01)
        execute(postgres_url, "SELECT pg_terminate_backend(%s)", pids[0][0])
        with pytest.raises(StorageUnavailable):
            await first
        with pytest.raises(NotTried):
            await second

    assert (await store.repository.append([event("a")], NOW)).stored == 1
    assert (await store.repository.append([event("b")], NOW)).stored == 1


async def test_a_turn_of_any_size_is_stored_and_found(store):
    large = " ".join(f"word{number}" for number in range(300_000))
    appended = await store.repository.append(
        [turn("a", large), turn("b", "x" * 5_000 + " tail"), turn("c", "again " * 70_000)], NOW
    )

    assert (appended.stored, list(appended.refused)) == (3, [])
    for words in ("word17 word18", "tail", "again"):
        assert len((await ask(store, SearchTurns(query=words))).turns) == 1


def resident_mebibytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


async def longest_turn(work):
    """Return the CPU seconds of the longest turn of the event loop while `work` is done."""
    doing, longest = asyncio.ensure_future(work), 0.0
    while not doing.done():
        began = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - began)
    await doing
    return longest


async def test_large_records_and_large_stored_ones_leave_the_event_loop_to_others(store):
    def large(character):
        details = b'{"a":["' + b'","'.join([b"x"] * 300_000) + b'","' + character + b'"]}'
        return event("e", details=details)

    said = turn("t", "😀" * 500_000)
    await store.repository.append([large(b"a")], NOW)

    assert await longest_turn(store.repository.append([said], NOW)) < 0.1
    # Another event under the same identity, which has to be compared to the end.
    assert await longest_turn(store.repository.append([large(b"b")], NOW)) < 0.1


async def test_stored_rows_are_not_all_in_memory_to_be_compared(store, postgres_url):
    """They may be thousands of times as large as those that come under their identities."""
    execute(
        postgres_url,
        "INSERT INTO events (message_id, timestamp, stamped, type, severity, source, summary, details,"
        " recorded_at) SELECT 'e' || n, to_timestamp(%s), false, 'status', 'info', 'monitor', 'x',"
        " to_json(repeat('x', 1000000)), now() FROM generate_series(1, 200) AS n (n)",
        NOW // 1_000_000,
    )
    before = resident_mebibytes()
    appending = asyncio.create_task(
        store.repository.append([event(f"e{n}") for n in range(1, 201)], NOW)
    )
    most = before
    while not appending.done():
        most = max(most, resident_mebibytes())
        await asyncio.sleep(0.001)

    assert len((await appending).refused) == 200
    assert most - before < 60


async def test_a_read_ends_at_its_deadline_and_leaves_nothing_running(store, postgres_url):
    readers = store.archive._readers
    loop = asyncio.get_running_loop()
    began = loop.time()

    with pytest.raises(DeadlineExceeded):
        await readers.run(
            lambda reading: reading.connection.exec_driver_sql("SELECT pg_sleep(60)"), began + 0.3
        )

    assert loop.time() - began < 2
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(6%' AND state = 'active' AND pid <> pg_backend_pid()"
    for _ in range(200):
        if execute(postgres_url, running) == [(0,)]:
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("the server still reads")
    assert (await ask(store, ListEvents())).events == []


async def test_rows_are_fetched_as_they_are_read(store):
    """Else all nodes there ever were, in all buckets, would be in memory at once."""
    many = text("SELECT repeat('x', 1000) FROM generate_series(1, 200000)")

    def first(reading):
        before = resident_mebibytes()
        with contextlib.closing(reading.rows(many)) as rows:
            next(rows)
            return resident_mebibytes() - before

    loop = asyncio.get_running_loop()
    assert await store.archive._readers.run(first, loop.time() + 300, 0) < 50


async def test_a_read_cannot_write(store):
    with pytest.raises(StorageUnavailable, match="read-only"):
        await store.archive._readers.run(
            lambda reading: reading.connection.exec_driver_sql("DELETE FROM events"),
            asyncio.get_running_loop().time() + 5,
        )


async def test_a_restart_of_the_server_costs_no_read_and_no_change(store, postgres_url):
    await ask(store, SetPreference(key="k", value="1"))
    await ask(store, GetPreference(key="k"))
    execute(
        postgres_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'jarvis-recorder'",
    )

    assert (await ask(store, GetPreference(key="k"))).preference.value == "1"
    assert (await ask(store, SetPreference(key="k", value="2"))).preference.version == 2


async def test_of_two_recorders_that_expect_the_same_version_one_wins(store, another):
    async def attempt(which, value, version):
        try:
            await ask(which, SetPreference(key="k", value=value, expected_version=version))
        except Conflict:
            return 0
        return 1

    for version in range(CHANGES):
        wins = await asyncio.gather(attempt(store, "a", version), attempt(another, "b", version))
        assert sum(wins) == 1


async def test_a_commit_whose_answer_was_lost_is_looked_up(store):
    writer = store.writer
    numbers = []

    def note(connection):
        number = connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one()
        numbers.append(number)

    def fail(connection):
        note(connection)
        raise Conflict("rolled back")

    await writer.run(note)
    with pytest.raises(Conflict):
        await writer.run(fail)

    ((era,),) = await rows(store, f"SELECT {postgres_writer._ERA}")
    await writer._require_committed(numbers[0], era, None)
    with pytest.raises(StorageUnavailable):
        await writer._require_committed(numbers[1], era, None)
    # A standby that was promoted has given the number to another transaction.
    with pytest.raises(OutcomeUnknown):
        await writer._require_committed(numbers[0], "00000000", None)


async def test_messages_without_identity_are_stored_though_their_ids_are_taken(store, postgres_url):
    """As where a table was filled by logical replication, which leaves the sequence behind."""
    await store.repository.append([event(f"e{n}") for n in range(200)], NOW)
    execute(postgres_url, "SELECT setval('events_id_seq', 1, false)")

    outcome = await store.repository.append([event(None, NOW + n) for n in range(5)], NOW)

    assert (outcome.stored, outcome.duplicates) == (5, 0)
    assert execute(postgres_url, "SELECT count(*) FROM events") == [(205,)]


async def test_an_import_gives_no_number_twice_while_recorders_number_rows(store, postgres_url):
    await store.repository.append([event(f"e{n}") for n in range(20)], NOW)

    def free(connection):
        return free_numbers(connection, events, 10, 2)

    numbers = [await store.writer.run(free) for _ in range(2)]

    assert numbers == [[21, 22], [23, 24]]


async def test_of_two_recorders_with_other_rules_one_keeps_the_incidents(postgres_url, monkeypatch):
    monkeypatch.setattr(incidents, "_AGAIN_SECONDS", 0.01)
    stop = asyncio.Event()
    async with (
        open_store(postgres_url, lambda: NOW) as first,
        open_store(postgres_url, lambda: NOW, rules=load_rules(None, 24)) as second,
    ):
        await first.incidents.step()
        await second.incidents.step()

        with pytest.raises(ConfigurationError, match="other rules"):
            await first.incidents.step()
        running = asyncio.create_task(first.incidents.run(stop))
        # Nothing new is recorded, and it stays red, look after look.
        async with asyncio.timeout(30):
            while first.incidents.failure is None:
                await asyncio.sleep(0.01)
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert "other rules" in (await first.health()).incidents_failure
        stop.set()
        await running
        await second.incidents.step()


async def test_notifications_of_several_recorders_are_published_in_their_order(
    store, another, third
):
    published = []

    async def relay(which):
        while not is_over or await left():
            if waiting := await which.outbox.waiting(7):
                published.extend(one.body for one in waiting)
                await which.outbox.announced(waiting)
            await asyncio.sleep(0)

    async def left():
        return (await store.health()).announcements_waiting

    is_over = False
    stores = (store, another, third)
    relays = [asyncio.create_task(relay(which)) for which in stores]
    expected = []
    for number in range(CHANGES):
        which = stores[number % 3]
        await ask(which, SetPreference(key=f"k{number}", value=str(number)))
        expected.append(f'"k{number}"')
    is_over = True
    await asyncio.gather(*relays)

    assert len(published) == len(expected)
    for body, key in zip(published, expected, strict=True):
        assert key in body


async def test_recorders_that_start_at_once_make_the_tables_once(postgres):
    url = postgres.new_database()

    async def start():
        async with open_store(url, lambda: NOW) as store:
            return await store.health()

    assert len(await asyncio.gather(*(start() for _ in range(4)))) == 4


async def test_pruning_leaves_what_it_leaves_in_sqlite(store, postgres_url, tmp_path):
    chance = random.Random(7)
    records = [
        event(
            f"e{number}",
            NOW - chance.randrange(60) * DAY - number,
            severity=chance.choice(["info", "critical"]),
            type=chance.choice(["alert", "status"]),
            stamped=chance.random() < 0.2,
        )
        for number in range(700)
    ]
    records += [turn(f"t{number}", "word", NOW - number * DAY) for number in range(40)]
    for number in range(200):
        body = Snapshot(snapshot={"n": number}, cluster=chance.choice(["", "b"]))
        records.append(
            Record(Kind.SNAPSHOT, f"s{number}", NOW - number * DAY // 6, False, body, None)
        )
    policy = RetentionPolicy(events={"info": 10}, turns=20, snapshots=20, snapshots_daily_after=5)
    await store.repository.append(records, NOW)
    engine, server = store.writer._engine, store.writer._server

    gone = await postgres_pruner.prune(engine, server, policy, NOW)

    async with open_file(tmp_path / "recorder.db", lambda: NOW) as file:
        await file.repository.append(records, NOW)
        assert gone == await pruner.prune(file.writer, policy, NOW)
        for table in ("events", "conversations", "cluster_snapshots"):
            query = f"SELECT message_id FROM {table} ORDER BY message_id"
            kept = execute(postgres_url, query)
            assert kept == [
                tuple(row)
                for row in await file.writer.run(
                    lambda connection, query=query: connection.exec_driver_sql(query).all()
                )
            ]
    left = "SELECT count(*) FROM stamped_identities i LEFT JOIN events e USING (message_id) WHERE e.id IS NULL"
    assert execute(postgres_url, left) == [(0,)]
    assert await postgres_pruner.prune(engine, server, policy, NOW) == {}


async def test_no_signal_that_is_being_stored_names_a_pruned_event(store, postgres_url):
    """Other rules would delete it, as if its event were read again."""
    await store.repository.append([event("a", NOW - 30 * DAY)], NOW)
    engine, server = store.writer._engine, store.writer._server
    policy = RetentionPolicy(events={"info": 10})
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"

    async with await psycopg.AsyncConnection.connect(postgres_url) as keeper:
        await keeper.execute("SELECT pg_advisory_xact_lock(%s)", [Lock.CHANGES])
        await keeper.execute(
            "INSERT INTO incident_signals (condition_id, timestamp, effect, severity, event_id)"
            " SELECT 1, timestamp, 1, severity, id FROM events"
        )
        pruning = asyncio.create_task(postgres_pruner.prune(engine, server, policy, NOW))
        while execute(postgres_url, waiting) == [(0,)] and not pruning.done():
            await asyncio.sleep(0.01)
        await keeper.commit()
    await pruning

    assert execute(postgres_url, "SELECT count(*) FROM events") == [(0,)]
    signals = "SELECT count(*), count(event_id) FROM incident_signals"
    assert execute(postgres_url, signals) == [(1, 0)]


SAID = [
    "The power supply of node pve1 failed", "Größe und Straße", "ÆSIR naïve café", "中文字符 測試",
    "power off, then power on", "kein Strom: no power supply", "it's foo-bar_baz.qux", "emoji 🐎 horse",
    "Ελληνικά ΣΊΣΥΦΟΣ", "สวัสดีครับ", "don't", "a" * 300, "",
]  # fmt: skip
ASKED = [
    "power", "power supply", '"power supply"', "supply power", "grosse", "strasse", "cafe", "aesir",
    "中文", "文字", "符測", "foo", "bar", "foo-bar_baz.qux", "🐎", "σισυφος", "สวัสดี", "pow*", "sup", "nothing",
    "don't", "t", "'", "\\", "a" * 300, "& | ! <->", "NEAR AND OR",
]  # fmt: skip


async def test_a_search_finds_what_it_finds_in_sqlite(store, tmp_path):
    turns = [turn(f"t{number}", content, NOW + number) for number, content in enumerate(SAID)]
    await store.repository.append(turns, NOW)
    async with open_file(tmp_path / "recorder.db", lambda: NOW) as file:
        await file.repository.append(turns, NOW)
        for query in ASKED:
            found, wanted = [
                {
                    hit.turn.content: (hit.snippet, hit.highlights)
                    for hit in (await ask(which, SearchTurns(query=query))).turns
                }
                for which in (store, file)
            ]
            assert found == wanted, query


async def test_a_text_filter_finds_what_it_finds_in_sqlite(store, tmp_path):
    said = ["Größe 5", "grosse Sache", "CAFÉ zu", "cafe auf", "ÆSIR", "100 % voll", "naïve", "Ş",
            "don\u2019t", "don't", "a \u2013 b"]  # fmt: skip
    events = [event(f"e{n}", NOW - n - 1, summary=summary) for n, summary in enumerate(said)]
    await store.repository.append(events, NOW)
    async with open_file(tmp_path / "recorder.db", lambda: NOW) as file:
        await file.repository.append(events, NOW)
        for part in ("grosse", "Größe", "café", "CAFE", "aesir", "%", "0 %", "naive", "s", "x",
                     "don't", "don\u2019t", "a - b"):  # fmt: skip
            found, wanted = [
                [one.summary for one in (await ask(which, ListEvents(text=part))).events]
                for which in (store, file)
            ]
            assert found == wanted, part


@pytest.mark.parametrize("cluster", ["", "home"])
async def test_usage_is_answered_over_a_field_with_a_nul(store, postgres_url, cluster):
    await store.repository.append([turn(f"t{n}", "hello") for n in range(2)], NOW)
    stored = json.dumps({"cluster": "home", "note": "a\0b", "backslash": "\\u0000"})
    execute(postgres_url, "UPDATE conversations SET extra = %s WHERE message_id = 't1'", stored)

    found = await ask(store, ReportUsage(since=to_datetime(NOW - DAY), cluster=cluster))

    assert found.total.turns == 1


async def test_the_doctor_says_what_is_wrong_with_a_server(store, postgres_url):
    found = {finding.name: finding for finding in await asyncio.to_thread(check, postgres_url)}

    # The tests' own server gives up its durability for speed.
    assert found["durability"].light is Status.RED
    assert "fsync and full_page_writes off" in found["durability"].detail
    others = {finding.light for name, finding in found.items() if name != "durability"}
    assert others == {Status.GREEN}


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@127.0.0.1:1/d", "postgresql://u:secret@/d?host=/none"]
)
async def test_a_server_that_is_not_there_is_unavailable_and_the_password_unsaid(url):
    with pytest.raises(StorageUnavailable) as caught:
        await require_server(Server(url))

    assert "secret" not in str(caught.value)
    (finding,) = check(url)
    assert (finding.light, finding.exit_code) == (Status.RED, 69)
    assert "secret" not in finding.detail


async def test_a_database_that_is_not_there_is_a_wrong_setting(postgres):
    with pytest.raises(ConfigurationError, match="does not exist"):
        await require_server(Server(postgres.url("none")))


def test_a_recorder_of_a_file_loads_no_driver_of_a_server():
    program = (
        "import sys, jarvis_recorder.daemon.app, jarvis_recorder.storage.checks;"
        "sys.exit('psycopg' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("setting", "usual", "needed"),
    [
        ("synchronous_commit", "off", "on"),
        ("default_transaction_isolation", "serializable", "read committed"),
    ],
)
async def test_every_session_has_the_settings_it_needs(store, postgres_url, setting, usual, needed):
    execute(postgres_url, f"ALTER DATABASE shared SET {setting} = '{usual}'")
    try:
        repository = PostgresRepository(Server(postgres_url))
        connection = await repository._open()
        found = await (await connection.execute(f"SHOW {setting}")).fetchone()
        await repository.close()
    finally:
        execute(postgres_url, f"ALTER DATABASE shared RESET {setting}")
    assert found == (needed,)
