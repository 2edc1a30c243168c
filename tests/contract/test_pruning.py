"""Pruning of a real database: the rows it deletes, and those it keeps."""

import asyncio
import json
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from itertools import pairwise

import pytest
from sqlalchemy import select

from jarvis_recorder.errors import ConfigurationError, StorageUnavailable
from jarvis_recorder.retention_policy import DAY, HOUR, Bounds, RetentionPolicy
from jarvis_recorder.storage import expired_rows
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.postgres.store import open_store as open_server
from jarvis_recorder.storage.sqlite.admin.prune import prune_now
from jarvis_recorder.storage.sqlite.connections import page_counts
from jarvis_recorder.storage.sqlite.lock import locked
from jarvis_recorder.storage.sqlite.pruner import give_back
from jarvis_recorder.storage.sqlite.store import open_store
from jarvis_recorder.storage.tables import cluster_snapshots, events
from jarvis_recorder.wire.records import Event, Record, Snapshot, Turn
from jarvis_recorder.wire.rpc.params import (
    DeleteConversation,
    GetPreference,
    ListEvents,
    RecordEvent,
    ReopenEvent,
    ResolveEvent,
    SearchTurns,
    SetPreference,
)
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import (
    NOW,
    ask,
    prune,
    reads_of_transactions,
    retention,
    rows,
    steps_of_pruning,
)
from tests.support.engines import SQLITE, on_both

SEVERITIES = ("info", "warning", "error", "critical")


@pytest.fixture
async def filled(engine, request):
    """Events in the test's database that are too old for most policies."""
    if engine == SQLITE:
        path = request.getfixturevalue("database")
        path.parent.mkdir(mode=0o700)
        opened = open_store(path, lambda: NOW)
    else:
        opened = open_server(request.getfixturevalue("postgres_url"), lambda: NOW)
    async with opened as store:
        await store.repository.append([event(n, 3_000 * DAY) for n in range(700)], NOW)


def event(number, age, severity="info", type_="status", summary="x", details=None):
    body = Event(type=type_, severity=severity, source="monitor", summary=summary, details=details)
    return Record(Kind.EVENT, f"e-{number}", NOW - age, False, body, None)


def snapshot(number, age, cluster=""):
    body = Snapshot(snapshot={"n": number}, cluster=cluster)
    return Record(Kind.SNAPSHOT, f"s-{number}", NOW - age, False, body, None)


def turn(number, age, content, session="s"):
    body = Turn(session_id=session, role="user", content=content)
    return Record(Kind.TURN, f"t-{number}", NOW - age, False, body, None)


async def test_events_go_by_age_and_severity_but_for_open_alerts(store):
    records = []
    for number in range(2_400):
        severity = SEVERITIES[number % 4]
        kind = ("alert", "status", "metric")[number % 3]
        # Many of one time: a step must end between them and the next continue there.
        records.append(event(number, (number // 800) * 10 * DAY, severity, kind))
    await store.repository.append(records, NOW)
    await rows(store, "UPDATE events SET resolved = true WHERE id % 2 = 0")
    keeping = RetentionPolicy(events={"info": 5, "warning": 15, "error": 0, "critical": 15})

    gone = await prune(store, keeping, NOW)

    columns = events.c
    left = await rows(
        store,
        select(micros(columns.timestamp), columns.severity, columns.type, columns.resolved),
    )
    limits = {"info": 5, "warning": 15, "error": 10**6, "critical": 15}
    assert all(
        NOW - at <= limits[severity] * DAY or (kind == "alert" and not resolved)
        for at, severity, kind, resolved in left
    )
    alerts = "SELECT count(*) FROM events WHERE type = 'alert' AND NOT resolved"
    assert await rows(store, alerts) == [(400,)]
    assert await rows(store, "SELECT count(*) FROM events WHERE severity = 'error'") == [(600,)]
    assert gone["events"] == 2_400 - len(left) > 0


async def test_an_old_alert_stays_for_as_long_after_it_was_resolved(store):
    """A wrong click can be undone."""
    await store.repository.append([event(1, 200 * DAY, "critical", "alert")], NOW)
    keeping = RetentionPolicy(events={"critical": 180})
    await ask(store, ResolveEvent(id=1))

    assert await prune(store, keeping, NOW) == {}
    assert not (await ask(store, ReopenEvent(id=1))).event.resolved
    await ask(store, ResolveEvent(id=1))

    assert await prune(store, keeping, NOW + 181 * DAY) == {"events": 1}


async def test_large_rows_go_a_few_at_a_time(store):
    """A server keeps a log, too, and its other clients wait for what a transaction has locked."""
    chance = random.Random(7)
    small = [event(n, 10 * DAY) for n in range(300)]
    large = [
        event(1_000 + n, 9 * DAY, details={"x": chance.randbytes(100_000).hex()}) for n in range(30)
    ]
    await store.repository.append(small, NOW)
    await store.repository.append(large, NOW)
    gone = [0]

    await prune(store, RetentionPolicy(events={"info": 1}), NOW, gone.append)

    assert gone[-1] == 330
    at_once = [after - before for before, after in pairwise(gone)]
    assert at_once[0] > 300
    assert max(at_once[1:]) <= 10


async def test_a_row_that_is_larger_than_a_step_goes_alone(store, monkeypatch):
    monkeypatch.setattr(expired_rows, "_BYTES_AT_ONCE", 1)
    await store.repository.append([event(n, 10 * DAY) for n in range(3)], NOW)
    gone = []

    await prune(store, RetentionPolicy(events={"info": 1}), NOW, gone.append)

    assert gone[:3] == [1, 2, 3]


async def test_snapshots_of_each_cluster_are_thinned_apart(store):
    records = [
        snapshot(number * 2 + side, 10 * DAY + number * 5 * 60 * 1_000_000, cluster)
        for number in range(600)
        for side, cluster in enumerate(("home", "lab"))
    ]
    await store.repository.append(records, NOW)

    await prune(store, RetentionPolicy(snapshots_hourly_after=1), NOW)

    times = micros(cluster_snapshots.c.timestamp)
    for cluster in ("home", "lab"):
        of_it = select(times).where(cluster_snapshots.c.cluster == cluster)
        left = [at for (at,) in await rows(store, of_it)]
        hours = {at // HOUR for at in left}
        assert len(left) == len(hours) in (50, 51)
        assert max(left) == NOW - 10 * DAY


async def test_very_many_clusters_are_looked_at_a_few_at_a_time(store):
    """Any publisher may invent names, and of each the newest snapshot stays."""
    records = [snapshot(n, 10 * DAY, f"c{n}") for n in range(600)]
    await store.repository.append([*records, snapshot(600, 9 * DAY, "c599")], NOW)

    with reads_of_transactions(cluster_snapshots) as at_once:
        gone = await prune(store, RetentionPolicy(snapshots=1), NOW)

    assert gone == {"cluster_snapshots": 1}
    assert max(at_once) <= 12, "no transaction lists them all"
    assert len(at_once) <= 4, "none has steps of its own"


async def test_the_later_snapshots_of_a_cluster_are_passed_over(store, monkeypatch):
    """A year of them may lie behind the few that are old enough to be thinned out."""
    monkeypatch.setattr(expired_rows, "_SNAPSHOTS_IN_PART", 2)
    later = [snapshot(n, HOUR - n, "home") for n in range(400)]
    old = [snapshot((name, n), 10 * DAY - n, name) for name in ("home", "lab") for n in range(2)]
    await store.repository.append([*old, *later], NOW)

    with reads_of_transactions(cluster_snapshots) as at_once:
        gone = await prune(store, RetentionPolicy(snapshots=1), NOW)

    assert gone == {"cluster_snapshots": 3}
    assert sum(at_once) < 10


@pytest.mark.parametrize("part", [1, 2, 3, 50])
async def test_wherever_a_part_ends_the_newest_of_each_cluster_stays(store, monkeypatch, part):
    monkeypatch.setattr(expired_rows, "_SNAPSHOTS_IN_PART", part)
    chance = random.Random(part)
    future = -365 * DAY
    held = {
        f"c{n}": [
            age + m for age in (10 * DAY, 9 * DAY, HOUR, future) for m in range(chance.randrange(4))
        ]
        for n in range(30)
    }
    records = [snapshot((name, age), age, name) for name, ages in held.items() for age in ages]
    await store.repository.append(records, NOW)

    await prune(store, RetentionPolicy(snapshots=5), NOW)

    columns = cluster_snapshots.c
    left = await rows(store, select(columns.cluster, micros(columns.timestamp)))
    kept = {
        (name, NOW - age)
        for name, ages in held.items()
        for age in ages
        if age < 5 * DAY or age == min(one for one in ages if one > future + DAY)
    }
    assert {*left} == kept


async def test_turns_go_and_so_do_their_words(store):
    await store.repository.append(
        [turn(number, 100 * DAY, f"xylophone{number}") for number in range(1_200)]
        + [turn(9_999, DAY, "glockenspiel")],
        NOW,
    )

    gone = await prune(store, RetentionPolicy(turns=30), NOW)

    assert gone == {"conversations": 1_200}
    assert (await ask(store, SearchTurns(query="xylophone7"))).turns == []
    assert len((await ask(store, SearchTurns(query="glockenspiel"))).turns) == 1


async def test_pruned_words_leave_no_trace_in_the_file(sqlite_store, path):
    said = [turn(number, 100 * DAY, f"xylophone{number}") for number in range(1_200)]
    await sqlite_store.repository.append(said, NOW)

    await prune(sqlite_store, RetentionPolicy(turns=30), NOW)
    await sqlite_store.writer.forget_deleted()

    assert b"xylophone" not in path.read_bytes()


async def test_the_file_shrinks(sqlite_store, path):
    await sqlite_store.repository.append(
        [event(number, 10 * DAY, summary="x" * 2_000) for number in range(4_000)], NOW
    )
    await sqlite_store.writer.forget_deleted()
    before = path.stat().st_size

    await prune(sqlite_store, RetentionPolicy(events={"info": 1}), NOW)
    pages = await give_back(sqlite_store.writer, least=0)
    await sqlite_store.writer.forget_deleted()

    assert pages > 1_000
    assert path.stat().st_size < before / 10


async def test_recording_continues_between_two_steps(store):
    await store.repository.append([event(n, 10 * DAY) for n in range(5_000)], NOW)
    pruned = asyncio.create_task(prune(store, RetentionPolicy(events={"info": 1}), NOW))
    recorded = 0
    while not pruned.done():
        await store.repository.append([event(10_000 + recorded, 0)], NOW)
        recorded += 1

    assert (await pruned)["events"] == 5_000
    assert recorded > 5


async def test_recording_continues_while_erased_words_are_overwritten(sqlite_store):
    chance = random.Random(7)
    said = [
        turn(n, DAY, " ".join(f"w{chance.randrange(50_000)}" for _ in range(60)), f"s{n % 100}")
        for n in range(6_000)
    ]
    await sqlite_store.repository.append(said, NOW)
    erased = asyncio.create_task(ask(sqlite_store, DeleteConversation(session_id="s7"), 60))
    recorded = 0
    while not erased.done():
        await sqlite_store.repository.append([event(recorded, 0)], NOW)
        recorded += 1

    assert (await erased).deleted == 60
    assert recorded > 20


def maintenance(store, **settings):
    return retention(store, lambda: NOW, Bounds(**settings))


def after_each(store, monkeypatch, done):
    """Have `done` called with the name of each piece of work that the writer has run."""

    def watched(run):
        async def watching(work, *more):
            answer = await run(work, *more)
            inner = work
            while isinstance(inner, partial):
                inner = inner.args[0] if inner.args and callable(inner.args[0]) else inner.func
            done(inner.__name__)
            return answer

        return watching

    for name in ("run", "run_with_room"):
        monkeypatch.setattr(store.writer, name, watched(getattr(store.writer, name)))


@pytest.mark.parametrize("step", ["_prune_step", "begin", "_vacuum"])
async def test_pruning_ends_with_the_step_during_which_the_recorder_stops(
    sqlite_store, monkeypatch, step
):
    """To merge the words, or to give back the pages, of a large database takes half an hour."""
    said = [turn(number, 100 * DAY, f"word{number} " + "x" * 8_000) for number in range(1_200)]
    await sqlite_store.repository.append(said, NOW)
    keeping = maintenance(sqlite_store, policy=RetentionPolicy(turns=30))
    stop = asyncio.Event()
    late = []

    def note(name):
        if stop.is_set():
            late.append(name)
        elif name == step:
            stop.set()

    after_each(sqlite_store, monkeypatch, note)

    await keeping._prune(stop)

    assert stop.is_set()
    assert len(late) <= 1, "it may look how many pages it has given back"


async def test_the_budget_is_kept_while_rows_expire(sqlite_store, monkeypatch):
    old = [event(n, 10 * DAY) for n in range(2_000)]
    await sqlite_store.repository.append(old, NOW)
    policy = RetentionPolicy(events={"info": 1})
    keeping = maintenance(sqlite_store, policy=policy, budget=2**30)
    writer = sqlite_store.writer
    done = []

    def crowd(name):
        done.append(name)
        if done.count("_prune_step") == 1:
            # As work does that has found no room.
            writer.crowded.set()

    after_each(sqlite_store, monkeypatch, crowd)

    await keeping._prune(asyncio.Event())

    first, second = [n for n, name in enumerate(done) if name == "_prune_step"][:2]
    assert "page_counts" in done[first + 1 : second]
    assert writer.most_bytes is not None
    assert await rows(sqlite_store, "SELECT count(*) FROM events") == [(0,)]


async def test_a_budget_lets_go_of_what_is_least_missed_first(sqlite_store):
    await sqlite_store.repository.append(
        [event(n, 9 * DAY, "info", summary="i" * 1_000) for n in range(3_000)]
        + [event(10_000 + n, 9 * DAY, "error", summary="e" * 1_000) for n in range(500)],
        NOW,
    )
    used = (await sqlite_store.writer.run(page_counts)).used_bytes

    await maintenance(sqlite_store, budget=used * 3 // 4)._keep_to_budget(asyncio.Event())

    assert (await sqlite_store.writer.run(page_counts)).used_bytes <= used * 3 // 4 * 0.95
    left = dict(await rows(sqlite_store, "SELECT severity, count(*) FROM events GROUP BY 1"))
    assert left["error"] == 500
    assert 0 < left["info"] < 3_000
    await sqlite_store.repository.append([event(99_999, 0)], NOW)


async def test_a_budget_comes_to_the_events_however_many_clusters_there_are(
    sqlite_store, monkeypatch
):
    await sqlite_store.repository.append(
        [snapshot(n, 9 * DAY, f"c{n}") for n in range(600)]
        + [event(n, 9 * DAY, summary="i" * 1_000) for n in range(3_000)],
        NOW,
    )
    used = (await sqlite_store.writer.run(page_counts)).used_bytes
    at_once = steps_of_pruning(monkeypatch, events)

    await maintenance(sqlite_store, budget=used * 3 // 4)._keep_to_budget(asyncio.Event())

    before = next(step for step, gone in enumerate(at_once) if gone)
    assert before <= 8
    assert await rows(sqlite_store, "SELECT count(*) FROM cluster_snapshots") == [(600,)]


async def test_where_nothing_may_go_intake_stops_and_continues_when_there_is_room(sqlite_store):
    await sqlite_store.repository.append(
        [event(n, 9 * DAY, "critical", "alert", "a" * 1_000) for n in range(2_000)], NOW
    )
    used = (await sqlite_store.writer.run(page_counts)).used_bytes
    await ask(sqlite_store, SetPreference(key="k", value="1"))

    await maintenance(sqlite_store, budget=used // 2)._keep_to_budget(asyncio.Event())

    with pytest.raises(StorageUnavailable, match=r"store\.budget"):
        await sqlite_store.repository.append([event(99_999, 0)], NOW)
    with pytest.raises(StorageUnavailable, match=r"store\.budget"):
        await ask(sqlite_store, RecordEvent(type="alert", source="monitor", summary="x"))
    with pytest.raises(StorageUnavailable, match=r"store\.budget"):
        await sqlite_store.health()
    assert len((await ask(sqlite_store, ListEvents())).events) == 50
    assert (await ask(sqlite_store, GetPreference(key="k"))).preference.value == "1"
    assert await rows(sqlite_store, "SELECT count(*) FROM events") == [(2_000,)]

    await maintenance(sqlite_store, budget=used * 2)._keep_to_budget(asyncio.Event())
    assert (await sqlite_store.repository.append([event(99_999, 0)], NOW)).stored == 1


async def test_room_that_is_to_stay_free_is_kept_free(sqlite_store, monkeypatch):
    await sqlite_store.repository.append(
        [event(n, 9 * DAY, summary="i" * 1_000) for n in range(3_000)], NOW
    )
    used = (await sqlite_store.writer.run(page_counts)).used_bytes
    disk = type("Usage", (), {"total": 50_000_000, "free": 1_000_000})
    monkeypatch.setattr(
        "jarvis_recorder.storage.sqlite.maintenance.shutil.disk_usage", lambda _: disk
    )

    await maintenance(sqlite_store, keep_free=2_000_000)._keep_to_budget(asyncio.Event())

    assert (await sqlite_store.writer.run(page_counts)).used_bytes < used - 1_000_000


@pytest.mark.parametrize("free", [0, 1_000_000])
async def test_nothing_is_deleted_for_room_that_deletion_cannot_make(
    sqlite_store, monkeypatch, free
):
    """Another program has filled the disk: the history would be gone, and the disk as full."""
    await sqlite_store.repository.append(
        [event(n, 9 * DAY, summary="i" * 1_000) for n in range(1_000)], NOW
    )
    disk = type("Usage", (), {"total": 50_000_000, "free": free})
    monkeypatch.setattr(
        "jarvis_recorder.storage.sqlite.maintenance.shutil.disk_usage", lambda _: disk
    )

    await maintenance(sqlite_store, keep_free=40_000_000)._keep_to_budget(asyncio.Event())

    assert await rows(sqlite_store, "SELECT count(*) FROM events") == [(1_000,)]
    with pytest.raises(StorageUnavailable, match="so nothing is deleted"):
        await sqlite_store.health()
    disk.free = 45_000_000
    await maintenance(sqlite_store, keep_free=40_000_000)._keep_to_budget(asyncio.Event())
    await sqlite_store.health()


async def test_more_room_than_the_disk_has_is_refused_at_the_start(tmp_path):
    bounds = Bounds(keep_free=shutil.disk_usage(tmp_path).total)

    with pytest.raises(ConfigurationError, match=r"store\.keep_free"):
        async with open_store(tmp_path / "recorder.db", lambda: NOW, bounds):
            pass


def jarvis(database, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "db", "prune", *arguments,
         "--set", f"store.url={database.url}"],
        check=False, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@on_both
async def test_the_command_counts_asks_and_prunes(recorded, filled):
    days = ("--set", "retention.info=5")

    unset = jarvis(recorded, "--yes")
    dry = jarvis(recorded, "--dry-run", "--json", *days)
    nobody = jarvis(recorded, *days)
    done = jarvis(recorded, "--yes", "--json", *days)
    again = jarvis(recorded, "--yes", *days)

    assert (unset.returncode, nobody.returncode) == (78, 2)
    assert json.loads(dry.stdout)["gone"] == json.loads(done.stdout)["gone"] == {"events": 700}
    assert "nothing to prune" in again.stdout


async def test_the_command_leaves_a_file_to_the_recorder_that_holds_it(recorded, filled, database):
    with locked(database):
        held = jarvis(recorded, "--yes", "--set", "retention.info=5")

    assert held.returncode == 75


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
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchall() == [(2,)]
