"""A database with its log keeps within its budget, whatever requests run meanwhile."""

import asyncio
import contextlib
import shutil
import threading
import time

import pytest

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.retention_policy import DAY, Bounds, RetentionPolicy
from jarvis_recorder.storage.sqlite import connections, files, pruner, upkeep
from jarvis_recorder.storage.sqlite.maintenance import SqliteMaintenance
from jarvis_recorder.storage.sqlite.store import open_store
from jarvis_recorder.wire.records import Event, Record, Turn
from jarvis_recorder.wire.rpc.params import DeletePreference, ListEvents, SetPreference
from jarvis_recorder.wire.rpc.results import OnePreference
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import ask

NOW = 1_795_420_000_000_000
MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recorder.db"


@pytest.fixture
async def store(path):
    async with open_store(path, lambda: NOW) as store:
        yield store


def events(first, count, age=0):
    return [
        Record(
            Kind.EVENT, f"e-{n}", NOW - age + n, False,
            Event(type="status", severity="info", source="monitor", summary=f"{n} " + "x" * 1_000),
            None,
        )
        for n in range(first, first + count)
    ]  # fmt: skip


def large(number, size, age=9 * DAY):
    event = Event(
        type="status", severity="info", source="monitor", summary="s", details={"x": "y" * size}
    )
    return Record(Kind.EVENT, f"l-{number}", NOW - age, False, event, None)


def large_turn(number, size, age=9 * DAY):
    turn = Turn(session_id="s", role="user", content="what is " * (size // 8))
    return Record(Kind.TURN, f"l-{number}", NOW - age, False, turn, None)


async def stored(store, records):
    deadline = time.monotonic() + 120
    while True:
        try:
            return await store.repository.append(records, NOW)
        except StorageUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


def taken(path):
    """Return the bytes that it takes on the disk."""
    return sum(files.size(file) for file in (path, files.companions(path)[0]))


@contextlib.asynccontextmanager
async def running(*parts):
    """Run these alongside the test, as the recorder does."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(part(stop)) for part in parts]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def overlapping(store):
    """Return three tasks whose overlapping reads leave the database never without a reader."""

    def read(reading):
        reading.connection.exec_driver_sql("SELECT count(*) FROM events").scalar_one()
        time.sleep(0.03)

    async def asked(stop):
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            await store.archive._readers.run(read, loop.time() + 30)

    return [asked, asked, asked]


async def test_the_log_stays_short_while_requests_overlap(store, path):
    await store.writer.bound_log(2 * MIB)
    longest = 0
    async with running(store.upkeep.run, *overlapping(store)):
        for first in range(0, 20_000, 200):
            await store.repository.append(events(first, 200), NOW)
            longest = max(longest, files.size(files.companions(path)[0]))
            # Leaves readers about as much time as a commit takes.
            await asyncio.sleep(0.02)
        deadline = time.monotonic() + 30
        while files.size(files.companions(path)[0]) > 2 * MIB:
            assert time.monotonic() < deadline, "it is emptied in the end"
            await asyncio.sleep(0.05)

    assert longest < 20 * MIB


async def test_a_request_waits_while_the_log_is_emptied_and_is_answered_then(store):
    await store.repository.append(events(0, 10), NOW)
    with store.upkeep._gate.closed():
        asked = asyncio.create_task(ask(store, ListEvents(), 20))
        assert await store.writer.empty_log()
        await store.repository.append(events(10, 10), NOW)
        assert not asked.done()

    await asked


async def test_no_request_waits_for_a_commit_that_hangs_while_the_log_is_to_be_emptied(
    store, monkeypatch
):
    monkeypatch.setattr(upkeep, "_LONGEST_TURN_SECONDS", 0.1)
    await store.repository.append(events(0, 10), NOW)
    hangs = threading.Event()
    commit = asyncio.create_task(store.writer.run(lambda _: hangs.wait(30)))
    try:
        store.writer.log_wanted_short.set()
        emptying = asyncio.create_task(store.upkeep._empty_log())
        await asyncio.sleep(0)
        assert len((await ask(store, ListEvents(), 5)).events) == 10
        assert not await emptying
    finally:
        hangs.set()
        await commit


async def test_changes_keep_to_the_room_too_and_those_that_free_it_are_made(store):
    await store.repository.append(events(0, 100), NOW)
    taken = store.writer.taken(await store.writer.run(connections.page_counts))
    store.writer.most_bytes = taken + 300_000
    await ask(store, SetPreference(key="small", value="1"), 20)

    outcomes = await asyncio.gather(
        *(ask(store, SetPreference(key=f"k{n}", value="x" * 50_000), 20)
          for n in range(20)),
        ask(store, DeletePreference(key="small"), 20),
        return_exceptions=True,
    )  # fmt: skip

    assert isinstance(outcomes[0], OnePreference)
    assert isinstance(outcomes[19], StorageUnavailable)
    assert not isinstance(outcomes[20], Exception)
    assert store.writer.crowded.is_set()


async def test_a_backup_that_reads_for_long_does_not_keep_the_requests_waiting(store, path):
    """The upkeep does not wait for another program's read."""
    await store.writer.bound_log(MIB)
    await store.repository.append(events(0, 10), NOW)
    from jarvis_recorder.storage.sqlite.connections import read_only

    with contextlib.closing(read_only(path)) as backup:
        backup.execute("BEGIN")
        backup.execute("SELECT count(*) FROM events").fetchone()
        await store.repository.append(events(1_000, 4_000), NOW)
        assert store.writer.log_bytes > MIB
        async with running(store.upkeep.run):
            began = time.monotonic()
            for number in range(20):
                await ask(store, ListEvents(), 5)
                await store.repository.append(events(10_000 + number, 1), NOW)
            assert time.monotonic() - began < 10


async def test_no_record_is_refused_because_others_have_filled_the_disk(store, path):
    """It only has to wait, whatever its size; for good it would be in the dead letters."""
    await store.repository.append(events(0, 100), NOW)
    disk = shutil.disk_usage(path.parent)
    kept = SqliteMaintenance(
        Bounds(keep_free=disk.free + 64 * MIB), path, store.writer, lambda: NOW
    )
    with contextlib.suppress(StorageUnavailable):
        await kept._keep_to_budget(asyncio.Event())
    store.writer.admit()

    for size in (10, 6_000, 100_000):
        with pytest.raises(StorageUnavailable):
            await store.repository.append([large(1, size)], NOW)


@pytest.mark.parametrize(
    ("asked", "in_flight"),
    [(False, 1), (True, 1), (False, 2)],
    ids=["alone", "while questions overlap", "two in flight"],
)
async def test_recording_at_full_speed_never_takes_more_than_the_budget(
    store, path, asked, in_flight
):
    budget = 24 * MIB
    kept = SqliteMaintenance(Bounds(budget=budget), path, store.writer, lambda: NOW)
    most = first = refused = 0
    said = ""
    async with running(kept.run, store.upkeep.run, *(overlapping(store) if asked else [])):
        await kept._keep_to_budget(asyncio.Event())
        deadline = time.monotonic() + 240
        # First two days old, which may be pruned; then of today, which may not.
        while refused < 5 and time.monotonic() < deadline:
            age = 2 * DAY if first < 20_000 else 0
            batches = [events(first + 500 * n, 500, age) for n in range(in_flight)]
            appending = (store.repository.append(batch, NOW) for batch in batches)
            outcomes = await asyncio.gather(*appending, return_exceptions=True)
            first += 500 * sum(not isinstance(found, Exception) for found in outcomes)
            if isinstance(outcomes[0], StorageUnavailable):
                said = str(outcomes[0])
                refused += first > 30_000
                await asyncio.sleep(0.1)
            most = max(most, taken(path))

    assert refused == 5, "at last it takes nothing more"
    assert "store.budget" in said
    assert most <= budget


async def test_a_batch_larger_than_the_room_between_the_marks_gets_it_from_what_may_go(store, path):
    budget = 24 * MIB
    kept = SqliteMaintenance(Bounds(budget=budget), path, store.writer, lambda: NOW)
    async with running(kept.run, store.upkeep.run):
        await kept._keep_to_budget(asyncio.Event())
        for first in range(0, 20_000, 500):
            await stored(store, events(first, 500, 2 * DAY))

        await stored(store, events(100_000, 3_000, 2 * DAY))

        assert taken(path) <= budget


async def test_a_record_that_would_need_most_of_the_budget_is_refused_and_costs_nothing_stored(
    store, path
):
    kept = SqliteMaintenance(Bounds(budget=20 * MIB), path, store.writer, lambda: NOW)
    async with running(kept.run, store.upkeep.run):
        await kept._keep_to_budget(asyncio.Event())
        await stored(store, events(0, 2_000, 10 * DAY))
        batch = [*events(5_000, 1), large(1, 6 * MIB), *events(6_000, 1)]

        appended = await stored(store, batch)
        await kept._keep_to_budget(asyncio.Event())

        assert appended.stored == 2
        assert [one.position for one in appended.refused] == [1]
        rows = await store.writer.run(
            lambda found: found.exec_driver_sql("SELECT count(*) FROM events").scalar()
        )
        assert rows == 2_002


@pytest.mark.parametrize("small", [0, 255], ids=["alone", "after small ones"])
@pytest.mark.parametrize("kind", [large, large_turn])
async def test_pruning_large_rows_adds_little_to_the_log_at_once(store, path, kind, small):
    """A deleted row is overwritten: five hundred in one transaction would be 100 MB of log."""
    await store.repository.append([kind(n, 10, 10 * DAY) for n in range(1_000, 1_000 + small)], NOW)
    kept = [kind(number, 200_000) for number in range(100)]
    for first in range(0, 100, 10):
        await store.repository.append(kept[first : first + 10], NOW)
    await store.writer.empty_log()
    longest = 0
    steps = store.writer.run_with_room

    async def looked_at(work):
        nonlocal longest
        answer = await steps(work)
        # A merge of the search index cannot be divided where no word is left.
        if getattr(work, "func", None) is pruner._prune_step:
            longest = max(longest, store.writer.log_bytes)
        assert await store.writer.empty_log()
        return answer

    store.writer.run_with_room = looked_at
    gone = await pruner.prune(store.writer, RetentionPolicy(events={"info": 1}, turns=1), NOW)

    assert gone.total() == small + 100
    assert 0 < longest < 4 * MIB
