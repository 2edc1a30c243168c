"""The move of a database file to a PostgreSQL server."""

import asyncio
import contextlib
import random
import sqlite3

import psycopg
import pytest

from jarvis_recorder.errors import NoCopy
from jarvis_recorder.retention_policy import RetentionPolicy
from jarvis_recorder.storage.postgres.filling import Filling
from jarvis_recorder.storage.postgres.locks import Lock
from jarvis_recorder.storage.postgres.store import open_store as open_server
from jarvis_recorder.storage.sqlite.pruner import prune
from jarvis_recorder.storage.sqlite.store import open_store as open_file
from jarvis_recorder.storage.transfer import copy_to_server
from jarvis_recorder.wire.records import Event, Record, Snapshot, Turn
from jarvis_recorder.wire.rpc.params import (
    AcknowledgeIncident,
    GetPreference,
    ListEvents,
    ListIncidents,
    ListSilences,
    ListTurns,
    RecordEvent,
    ResolveEvent,
    ResolveIncident,
    SearchTurns,
    SetPreference,
    SilenceIncidents,
    SnapshotAt,
)
from jarvis_recorder.wire.times import to_datetime
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import ask

NOW = 1_795_420_000_000_000


def quiet(*_):
    pass


@pytest.fixture
async def file(tmp_path):
    """A file with some of everything, and gaps between the ids."""
    chance = random.Random(7)
    path = tmp_path / "recorder.db"
    async with open_file(path, lambda: NOW) as store:
        records = []
        for number in range(2_500):
            body = Event(
                type=chance.choice(["alert", "status"]),
                severity="info",
                source="monitor",
                summary=chance.choice(["plain", "Größe", "it's \\ 100 %"]),
                node=chance.choice([None, "pve1"]),
                details=chance.choice([None, [1.0, 1e16], {"b": 1, "a": "ü"}]),
            )
            named = chance.choice([None, f"e{number}"])
            stamped = chance.random() < 0.3
            records.append(Record(Kind.EVENT, named, NOW + number, stamped, body, {"x": 1}))
        for number in range(30):
            said = Turn(
                session_id="s", role="user", content=f"word{number} 中文", cost_usd="0.0120"
            )
            records.append(Record(Kind.TURN, f"t{number}", NOW + number, True, said, None))
        state = Snapshot(snapshot={"nodes": ["a" * 100] * 50}, cluster="c")
        records.append(Record(Kind.SNAPSHOT, "s", NOW, False, state, None))
        await store.repository.append(records, NOW)
        await ask(store, ResolveEvent(id=7, resolved_by="me"))
        await ask(store, SetPreference(key="ключ", value="v"))
        broken = RecordEvent(type="alert", severity="error", source="user", summary="broken")
        await ask(store, broken)
        while await store.incidents.step():
            pass
        await ask(store, AcknowledgeIncident(key="broken", by="anna", note="mine"))
        await ask(store, SilenceIncidents(until=to_datetime(NOW + 10**9), node="pve1"))
        await store.writer.run(
            lambda connection: connection.exec_driver_sql("DELETE FROM events WHERE id % 10 = 3")
        )
    return path


async def everything(store):
    return [
        await ask(store, ListEvents(limit=200)),
        await ask(store, ListTurns(session_id="s")),
        await ask(store, SearchTurns(query="word7")),
        await ask(store, SnapshotAt(timestamp=to_datetime(NOW + 1), cluster="c")),
        await ask(store, GetPreference(key="ключ")),
        [one[:3] for one in await store.outbox.waiting(50)],
    ]


async def test_an_interrupted_move_is_continued_and_nothing_is_different(
    file, postgres_url, monkeypatch
):
    insert = Filling.insert
    calls = 0

    async def interrupted(self, table, rows):
        nonlocal calls
        calls += 1
        if calls in {2, 4}:
            raise asyncio.CancelledError
        await insert(self, table, rows)

    monkeypatch.setattr(Filling, "insert", interrupted)
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            await copy_to_server(file, postgres_url, quiet)

    moved = await copy_to_server(file, postgres_url, quiet)

    assert moved.rows["events"] == 2_251
    async with open_server(postgres_url, lambda: NOW) as server:
        async with open_file(file, lambda: NOW) as store:
            assert await everything(server) == await everything(store)
        assert (await ask(server, ListSilences())).silences[0].node == "pve1"
        for _ in range(4):
            while await server.incidents.step():
                pass
        (incident,) = (await ask(server, ListIncidents())).incidents
        assert (incident.acknowledged_by, incident.note) == ("anna", "mine")
        # What was told of the incident comes along; nobody is told again.
        told = [one.routing_key for one in await server.outbox.waiting(50)]
        await server.outbox.release()
        assert told.count("recorder.incident.opened") == 1
        # What is delivered again is known, and what is new comes behind.
        again = Turn(session_id="s", role="user", content="word7 中文", cost_usd="0.0120")
        known = Record(Kind.TURN, "t7", NOW + 99, True, again, None)
        assert (await server.repository.append([known], NOW)).duplicates == 1
        new = RecordEvent(type="status", source="user", summary="new")
        assert (await ask(server, new)).event.id > 2_500


async def incidents_of(store):
    for _ in range(4):
        while await store.incidents.step():
            pass
    return [
        (one.key, one.state, one.count, one.first_at, one.last_at, one.recovered_at)
        for one in (await ask(store, ListIncidents())).incidents
    ]


async def test_what_is_over_by_an_event_that_is_pruned_stays_over(
    tmp_path, postgres_url, monkeypatch
):
    """The alerts stay, and what ended the incident is known from its signals alone."""
    path, day = tmp_path / "recorder.db", 86_400_000_000
    async with open_file(path, lambda: NOW) as store:
        # Another is beyond its days, and its alert stays.
        for ago, name in ((2, "pve1"), (3, "pve2"), (90, "pve3")):
            await ask(store, down(name, NOW - ago * day))
            await ask(store, up(name, NOW - ago * day + 60_000_000))
        await ask(store, down("pve4", NOW - day))
        await incidents_of(store)
        keeping = RetentionPolicy(events={"info": 1, "critical": 30})
        await prune(store.writer, keeping, NOW)
        before = await incidents_of(store)
        told = [one.message_id for one in await store.outbox.waiting(50)]
        left = [one.type for one in (await ask(store, ListEvents())).events]

    assert {state for _, state, *_ in before} == {"open", "recovered"}
    assert (len(before), left) == (3, ["alert"] * 4)
    keep = Filling.keep_signals
    monkeypatch.setattr(Filling, "keep_signals", interrupted(keep))
    with pytest.raises(asyncio.CancelledError):
        await copy_to_server(path, postgres_url, quiet)
    monkeypatch.setattr(Filling, "keep_signals", keep)
    for _ in range(2):
        await copy_to_server(path, postgres_url, quiet)
    async with open_server(postgres_url, lambda: NOW) as server:
        assert await incidents_of(server) == before
        # Of what the file has told, and of nothing else.
        assert [one.message_id for one in await server.outbox.waiting(50)] == told


def interrupted(step):
    async def then(self, rows):
        await step(self, rows)
        raise asyncio.CancelledError

    return then


def down(node, at):
    return RecordEvent(
        type="alert", severity="critical", source="monitor", node=node, timestamp=to_datetime(at),
        summary=f"NODE_DOWN: {node} is down",
    )  # fmt: skip


def up(node, at):
    return RecordEvent(
        type="status", source="monitor", node=node, timestamp=to_datetime(at),
        summary=f"NODE_UP: {node} is up",
    )  # fmt: skip


async def test_a_database_with_other_rows_is_left_as_it_is(file, postgres_url):
    await copy_to_server(file, postgres_url, quiet)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE events SET summary = 'other' WHERE id = 8")

    with pytest.raises(NoCopy, match="differs between id"):
        await copy_to_server(file, postgres_url, quiet)


async def test_the_last_known_good_time_goes_along(file, postgres_url):
    minutes = NOW // 60_000_000 + 7 * 1_440
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {minutes}")

    await copy_to_server(file, postgres_url, quiet)

    with psycopg.connect(postgres_url) as connection:
        moments = connection.execute("SELECT moment FROM known_time").fetchall()
    assert moments == [(to_datetime(minutes * 60_000_000),)]


@pytest.mark.parametrize("value", ["X'00ff'", "'a' || char(0)", "17.5"])
async def test_a_value_that_no_server_takes_is_named_by_its_row(file, postgres_url, value):
    """Another program has written it: a file has no types."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        column = "timestamp" if value == "17.5" else "summary"
        connection.execute(f"UPDATE events SET {column} = {value} WHERE id = 1234")

    with pytest.raises(NoCopy, match="events, id 1234"):
        await copy_to_server(file, postgres_url, quiet)


async def test_an_identity_that_no_index_of_a_server_takes_is_named_by_its_row(file, postgres_url):
    """An earlier version of the recorder has taken it."""
    identity = "".join(chr(0x4E00 + number) for number in range(1_000))
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE events SET message_id = ? WHERE id = 1234", (identity,))

    with pytest.raises(NoCopy, match="events, id 1234: the server does not take"):
        await copy_to_server(file, postgres_url, quiet)


async def test_a_recorder_that_runs_while_rows_are_copied_has_their_incidents(
    file, postgres_url, monkeypatch
):
    insert = Filling.insert
    async with open_server(postgres_url, lambda: NOW) as server:

        async def recorded_meanwhile(self, table, rows):
            await insert(self, table, rows)
            new = RecordEvent(type="alert", severity="error", source="user", summary="meanwhile")
            await ask(server, new)
            for _ in range(4):
                while await server.incidents.step():
                    pass

        monkeypatch.setattr(Filling, "insert", recorded_meanwhile)
        await copy_to_server(file, postgres_url, quiet)
        for _ in range(4):
            while await server.incidents.step():
                pass

        assert {one.key.partition("@")[0] for one in (await ask(server, ListIncidents())).incidents} == {
            "broken", "meanwhile",
        }  # fmt: skip


async def test_what_people_did_counts_although_the_events_were_read_before_it_was_copied(
    tmp_path, postgres_url, monkeypatch
):
    path, insert = tmp_path / "recorder.db", Filling.insert
    async with open_file(path, lambda: NOW) as store:
        for name in ("pve1", "pve2"):
            await ask(store, down(name, NOW))
        before = await incidents_of(store)
        pve1, pve2 = (one[0] for one in before)
        await ask(store, AcknowledgeIncident(key=pve1, by="anna", note="mine"))
        await ask(store, ResolveIncident(key=pve2, by="otto"))
        told = [one.message_id for one in await store.outbox.waiting(10)]
    async with open_server(postgres_url, lambda: NOW) as server:

        async def read_at_once(self, table, rows):
            await insert(self, table, rows)
            await incidents_of(server)

        monkeypatch.setattr(Filling, "insert", read_at_once)
        await copy_to_server(path, postgres_url, quiet)
        await incidents_of(server)

        found = {one.key: one for one in (await ask(server, ListIncidents())).incidents}
        assert (found[pve1].acknowledged_by, found[pve1].note) == ("anna", "mine")
        assert (found[pve2].state, found[pve2].resolved_by) == ("resolved", "otto")
        assert [one.message_id for one in await server.outbox.waiting(10)] == told


async def test_a_step_that_is_under_way_does_not_undo_the_reset_of_the_progress(postgres_url):
    """The events that it passed over would never be read."""
    target = await Filling.open(postgres_url)
    with (
        psycopg.connect(postgres_url) as keeper,
        psycopg.connect(postgres_url, autocommit=True) as other,
    ):
        keeper.execute("SELECT pg_advisory_xact_lock(%s)", (int(Lock.CHANGES),))
        keeper.execute("SELECT reached FROM incident_progress")
        reset = asyncio.create_task(target.fold_again(7))
        while not reset.done() and not other.execute(_WAITS).fetchall():
            await asyncio.sleep(0.01)
        keeper.execute("UPDATE incident_progress SET reached = 5")
        keeper.commit()
        await reset
        progress = other.execute("SELECT reached, told_after FROM incident_progress").fetchone()
    await target.close()

    assert progress == (0, 7)


_WAITS = (
    "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
