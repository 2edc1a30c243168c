"""Pruning of a real file: the rows it deletes, and those it keeps."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.retention_policy import DAY, HOUR, Bounds, RetentionPolicy
from jarvis_recorder.storage.sqlite import pruner
from jarvis_recorder.storage.sqlite.admin.prune import prune_now
from jarvis_recorder.storage.sqlite.connections import page_counts
from jarvis_recorder.storage.sqlite.lock import locked
from jarvis_recorder.storage.sqlite.maintenance import Maintenance
from jarvis_recorder.storage.sqlite.store import open_store
from jarvis_recorder.wire.records import Event, Record, Snapshot, Turn
from jarvis_recorder.wire.rpc.params import (
    GetPreference,
    ListEvents,
    RecordEvent,
    SearchTurns,
    SetPreference,
)
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import ask

NOW = 1_795_420_000_000_000
SEVERITIES = ("info", "warning", "error", "critical")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recorder.db"


@pytest.fixture
async def store(path):
    async with open_store(path, lambda: NOW) as store:
        yield store


def event(number, age, severity="info", type_="status", summary="x"):
    body = Event(type=type_, severity=severity, source="monitor", summary=summary)
    return Record(Kind.EVENT, f"e-{number}", NOW - age, False, body, None)


def snapshot(number, age, cluster=""):
    body = Snapshot(snapshot={"n": number}, cluster=cluster)
    return Record(Kind.SNAPSHOT, f"s-{number}", NOW - age, False, body, None)


def turn(number, age, content):
    body = Turn(session_id="s", role="user", content=content)
    return Record(Kind.TURN, f"t-{number}", NOW - age, False, body, None)


def rows(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


async def test_events_go_by_age_and_severity_but_for_open_alerts(store, path):
    records = []
    for number in range(2_400):
        severity = SEVERITIES[number % 4]
        kind = ("alert", "status", "metric")[number % 3]
        # Many of one time: a step must end between them and the next continue there.
        records.append(event(number, (number // 800) * 10 * DAY, severity, kind))
    await store.repository.append(records, NOW)
    await store.writer.run(
        lambda c: c.exec_driver_sql("UPDATE events SET resolved = 1 WHERE id % 2 = 0")
    )
    keeping = RetentionPolicy(events={"info": 5, "warning": 15, "error": 0, "critical": 15})

    gone = await pruner.prune(store.writer, keeping, NOW)

    left = rows(path, "SELECT (?1 - timestamp) / ?2, severity, type, resolved FROM events"
                .replace("?1", str(NOW)).replace("?2", str(DAY)))  # fmt: skip
    limits = {"info": 5, "warning": 15, "error": 10**6, "critical": 15}
    assert all(
        age <= limits[severity] or (kind == "alert" and not resolved)
        for age, severity, kind, resolved in left
    )
    alerts = "SELECT count(*) FROM events WHERE type = 'alert' AND NOT resolved"
    assert rows(path, alerts) == [(400,)]
    assert rows(path, "SELECT count(*) FROM events WHERE severity = 'error'") == [(600,)]
    assert gone["events"] == 2_400 - len(left) > 0


async def test_snapshots_of_each_cluster_are_thinned_apart(store, path):
    records = [
        snapshot(number * 2 + side, 10 * DAY + number * 5 * 60 * 1_000_000, cluster)
        for number in range(1_500)
        for side, cluster in enumerate(("home", "lab"))
    ]
    await store.repository.append(records, NOW)

    await pruner.prune(store.writer, RetentionPolicy(snapshots_hourly_after=1), NOW)

    for cluster in ("home", "lab"):
        hours = [
            at // HOUR
            for (at,) in rows(
                path, f"SELECT timestamp FROM cluster_snapshots WHERE cluster = '{cluster}'"
            )
        ]
        assert len(hours) == len(set(hours)) in (125, 126)
    newest = "SELECT max(timestamp) FROM cluster_snapshots WHERE cluster = 'lab'"
    assert rows(path, newest) == [(NOW - 10 * DAY,)]


async def test_turns_go_and_so_do_their_words(store, path):
    await store.repository.append(
        [turn(number, 100 * DAY, f"xylophone{number}") for number in range(1_200)]
        + [turn(9_999, DAY, "glockenspiel")],
        NOW,
    )

    gone = await pruner.prune(store.writer, RetentionPolicy(turns=30), NOW)
    await store.writer.forget_deleted()

    assert gone == {"conversations": 1_200}
    assert (await ask(store, SearchTurns(query="xylophone7"))).turns == []
    assert len((await ask(store, SearchTurns(query="glockenspiel"))).turns) == 1
    assert b"xylophone" not in path.read_bytes()


async def test_the_file_shrinks(store, path):
    await store.repository.append(
        [event(number, 10 * DAY, summary="x" * 2_000) for number in range(4_000)], NOW
    )
    await store.writer.forget_deleted()
    before = path.stat().st_size

    await pruner.prune(store.writer, RetentionPolicy(events={"info": 1}), NOW)
    pages = await pruner.give_back(store.writer, least=0)
    await store.writer.forget_deleted()

    assert pages > 1_000
    assert path.stat().st_size < before / 10


async def test_recording_continues_between_two_steps(store):
    await store.repository.append([event(n, 10 * DAY) for n in range(5_000)], NOW)
    pruned = asyncio.create_task(
        pruner.prune(store.writer, RetentionPolicy(events={"info": 1}), NOW)
    )
    recorded = 0
    while not pruned.done():
        await store.repository.append([event(10_000 + recorded, 0)], NOW)
        recorded += 1

    assert (await pruned)["events"] == 5_000
    assert recorded > 5


def retention(store, **settings):
    return Maintenance(Bounds(**settings), store.path, store.writer, lambda: NOW)


async def test_a_budget_lets_go_of_what_is_least_missed_first(store, path):
    await store.repository.append(
        [event(n, 9 * DAY, "info", summary="i" * 1_000) for n in range(3_000)]
        + [event(10_000 + n, 9 * DAY, "error", summary="e" * 1_000) for n in range(500)],
        NOW,
    )
    used = (await store.writer.run(page_counts)).used_bytes

    await retention(store, budget=used * 3 // 4)._keep_to_budget(asyncio.Event())

    assert (await store.writer.run(page_counts)).used_bytes <= used * 3 // 4 * 0.95
    left = dict(rows(path, "SELECT severity, count(*) FROM events GROUP BY 1"))
    assert left["error"] == 500
    assert 0 < left["info"] < 3_000
    await store.repository.append([event(99_999, 0)], NOW)


async def test_where_nothing_may_go_intake_stops_and_continues_when_there_is_room(store, path):
    await store.repository.append(
        [event(n, 9 * DAY, "critical", "alert", "a" * 1_000) for n in range(2_000)], NOW
    )
    used = (await store.writer.run(page_counts)).used_bytes
    await ask(store, SetPreference(key="k", value="1"))

    await retention(store, budget=used // 2)._keep_to_budget(asyncio.Event())

    with pytest.raises(StorageUnavailable, match=r"store\.budget"):
        await store.repository.append([event(99_999, 0)], NOW)
    with pytest.raises(StorageUnavailable, match=r"store\.budget"):
        await ask(store, RecordEvent(type="alert", source="monitor", summary="x"))
    with pytest.raises(StorageUnavailable, match=r"store\.budget"):
        await store.health()
    assert len((await ask(store, ListEvents())).events) == 50
    assert (await ask(store, GetPreference(key="k"))).preference.value == "1"
    assert rows(path, "SELECT count(*) FROM events") == [(2_000,)]

    await retention(store, budget=used * 2)._keep_to_budget(asyncio.Event())
    assert (await store.repository.append([event(99_999, 0)], NOW)).stored == 1


async def test_room_that_is_to_stay_free_is_kept_free(store, monkeypatch):
    await store.repository.append(
        [event(n, 9 * DAY, summary="i" * 1_000) for n in range(3_000)], NOW
    )
    used = (await store.writer.run(page_counts)).used_bytes
    disk = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(
        "jarvis_recorder.storage.sqlite.maintenance.shutil.disk_usage", lambda _: disk
    )

    await retention(store, keep_free=2_000_000)._keep_to_budget(asyncio.Event())

    assert (await store.writer.run(page_counts)).used_bytes < used - 1_000_000


def jarvis(path, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "db", "prune", *arguments,
         "--set", f"store.url=sqlite:///{path}"],
        check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip


async def test_the_command_counts_asks_and_prunes(path):
    async with open_store(path, lambda: NOW) as store:
        await store.repository.append([event(n, 3_000 * DAY) for n in range(700)], NOW)
    days = ("--set", "retention.info=5")

    unset = jarvis(path, "--yes")
    dry = jarvis(path, "--dry-run", "--json", *days)
    nobody = jarvis(path, *days)
    with locked(path):
        held = jarvis(path, "--yes", *days)
    done = jarvis(path, "--yes", "--json", *days)
    again = jarvis(path, "--yes", *days)

    assert (unset.returncode, nobody.returncode, held.returncode) == (78, 2, 75)
    assert json.loads(dry.stdout)["gone"] == json.loads(done.stdout)["gone"] == {"events": 700}
    assert "nothing to prune" in again.stdout


async def test_an_older_file_gives_back_nothing_until_it_is_vacuumed(path):
    async with open_store(path, lambda: NOW) as store:
        await store.repository.append([event(n, 9 * DAY) for n in range(3_000)], NOW)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = DELETE")
        old.execute("PRAGMA auto_vacuum = NONE")
        old.execute("VACUUM")

    await prune_now(path, RetentionPolicy(events={"info": 1}), lambda *_: None)
    before = path.stat().st_size
    vacuumed = subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "db", "vacuum",
         "--set", f"store.url=sqlite:///{path}"],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert path.stat().st_size < before, vacuumed.stdout
    assert rows(path, "PRAGMA auto_vacuum") == [(2,)]
