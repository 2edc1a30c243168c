"""Two appends in SQLite's thread at once: their order, their failures, and the other writers."""

import asyncio
import contextlib
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Connection

from jarvis_recorder.errors import (
    DeadlineExceeded,
    NotTried,
    RecorderError,
    StorageDamaged,
    StorageMoved,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.ingest import intake as intake_module
from jarvis_recorder.ingest import recorder as recorder_module
from jarvis_recorder.ingest.dead_letter_publisher import DeadLetterPublisher
from jarvis_recorder.ingest.intake import Intake
from jarvis_recorder.ingest.recorder import Recorder
from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.ports import Appended
from jarvis_recorder.storage.batch import Rows
from jarvis_recorder.storage.sqlite import repository as repository_module
from jarvis_recorder.storage.sqlite.bulk_insert import insert_all
from jarvis_recorder.storage.sqlite.store import SqliteStore, open_store
from jarvis_recorder.telemetry.status import RecorderStatus
from jarvis_recorder.telemetry.tracing import NoopTracer
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.records import Record
from jarvis_recorder.wire.rpc.params import SetPreference
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import delivery
from tests.support.archive import ask
from tests.support.fakes import FakeConsumer, FakeFlow, FakeIndex, FakePublisher
from tests.support.publisher import event

REFUSE_BAD = (
    "CREATE TRIGGER no_bad BEFORE INSERT ON events WHEN new.summary = 'bad'"
    " BEGIN SELECT RAISE(ABORT, 'no'); END"
)


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("from the test")
    error.sqlite_errorcode = code
    return error


SYNC_FAILED = sqlite_error(sqlite3.SQLITE_IOERR_FSYNC)
CORRUPT = sqlite_error(sqlite3.SQLITE_CORRUPT)
FULL = sqlite_error(sqlite3.SQLITE_FULL)


def records(*names: str, **fields: object) -> list[Record]:
    bodies = [json.dumps(event(int(name[1:]), id=name, **fields)).encode() for name in names]
    return [decode(delivery(body), TOPICS[0], 5).records[0] for body in bodies]


class Disk:
    """
    A disk in the way of every append: it holds each until it is released, and may fail it.

    `outcomes` are the errors of the next appends, None for a success.
    """

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.begun: list[int] = []
        """The number of records of each append that SQLite's thread has begun."""
        self.outcomes: list[Exception | None] = []

    def insert(self, connection: Connection, parts: list[Rows]) -> tuple[int, list[int]]:
        self.begun.append(sum(len(part.rows) for part in parts))
        found = insert_all(connection, parts)
        assert self.answers.wait(30)
        if self.outcomes and (error := self.outcomes.pop(0)) is not None:
            raise error
        return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recorder.db"


@pytest.fixture
def disk(monkeypatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(repository_module, "insert_all", disk.insert)
    return disk


@pytest.fixture
async def store(path, disk) -> AsyncIterator[SqliteStore]:
    async with open_store(path, lambda: 0) as store:
        yield store
        disk.answers.set()


def names(path: Path) -> list[str]:
    """Return the identities in the file, in the order of their rows."""
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT message_id FROM events ORDER BY id")]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


Appending = asyncio.Task[Appended]


def append(store: SqliteStore, *batches: list[Record]) -> list[Appending]:
    return [asyncio.create_task(store.repository.append(batch, 7)) for batch in batches]


async def two_in_flight(store: SqliteStore, disk: Disk, *batches: list[Record]) -> list[Appending]:
    """Append the batches; return once SQLite's thread has two of them and works on the first."""
    tasks = append(store, *batches)
    await until(lambda: len(store.writer._queue._holders) == 2 and disk.begun)
    return tasks


async def outcomes(tasks: list[Appending]) -> list[Appended | BaseException]:
    async with asyncio.timeout(60):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_two_are_in_sqlites_thread_and_stored_in_their_order(store, disk, path):
    tasks = await two_in_flight(store, disk, records("e1", "e2"), records("e3", "e4"))
    assert not any(task.done() for task in tasks)

    disk.answers.set()

    assert [found.stored for found in await outcomes(tasks)] == [2, 2]
    assert names(path) == ["e1", "e2", "e3", "e4"]


async def test_the_second_is_told_as_a_duplicate_what_the_first_has_stored(store, disk, path):
    changed = records("e2", summary="other")
    first, second = records("e1", "e2"), [*records("e1"), *changed, *records("e3")]
    tasks = await two_in_flight(store, disk, first, second)
    disk.answers.set()

    _, found = await outcomes(tasks)

    assert (found.stored, found.duplicates) == (1, 1)
    assert [refused.position for refused in found.refused] == [1]
    assert names(path) == ["e1", "e2", "e3"]


@pytest.mark.parametrize(
    ("error", "raised"), [(SYNC_FAILED, StorageUncertain), (CORRUPT, StorageDamaged)]
)
async def test_nothing_runs_behind_an_outcome_after_which_nothing_may(
    store, disk, path, error, raised
):
    """After a failed sync the second would be taken for stored, and its rows may rely on the first."""
    disk.outcomes = [error]
    tasks = await two_in_flight(store, disk, records("e1"), records("e2"), records("e3"))
    disk.answers.set()

    first, second, third = await outcomes(tasks)

    assert isinstance(first, raised)
    assert isinstance(second, NotTried)
    assert isinstance(third, NotTried | raised)
    assert disk.begun == [1]
    with pytest.raises(raised):
        await store.repository.append(records("e4"), 7)
    assert names(path) == []


async def test_what_has_its_own_turn_behind_a_failed_sync_does_not_run_either(store, disk):
    disk.outcomes = [SYNC_FAILED]
    tasks = await two_in_flight(store, disk, records("e1"), records("e2"))
    change = asyncio.create_task(ask(store, SetPreference(key="k", value="1"), 20))
    await until(lambda: store.writer._queue._waiting)
    tasks += append(store, records("e3"))
    disk.answers.set()

    await outcomes(tasks)

    with pytest.raises(StorageUncertain):
        await change
    assert disk.begun == [1]


async def test_a_failure_of_the_second_leaves_the_first_stored(store, disk, path):
    disk.outcomes = [None, SYNC_FAILED]
    tasks = await two_in_flight(store, disk, records("e1"), records("e2"))
    disk.answers.set()

    first, second = await outcomes(tasks)

    assert first.stored == 1
    assert isinstance(second, StorageUncertain)
    assert names(path) == ["e1"]


async def test_behind_a_full_disk_nothing_is_stored_and_both_are_stored_again_in_order(
    store, disk, path
):
    disk.outcomes = [FULL]
    tasks = await two_in_flight(store, disk, records("e1"), records("e2"))
    connection = store.writer._connection
    disk.answers.set()

    first, second = await outcomes(tasks)

    assert isinstance(first, StorageUnavailable)
    assert not isinstance(first, NotTried)
    assert isinstance(second, NotTried)
    assert (disk.begun, names(path)) == ([1], [])
    again = await outcomes(append(store, records("e1"), records("e2")))
    assert [found.stored for found in again] == [1, 1]
    assert store.writer._connection is not connection, "its state was unknown"
    assert names(path) == ["e1", "e2"]


async def test_behind_a_batch_that_has_to_be_divided_the_next_one_is_not_tried(store, disk, path):
    with closing(sqlite3.connect(path)) as other:
        other.execute(REFUSE_BAD)
    divided = [*records("e1"), *records("e2", summary="bad"), *records("e3")]
    disk.answers.set()
    tasks = append(store, divided, records("e4"), records("e5"))

    first, *others = await outcomes(tasks)

    assert (first.stored, len(first.refused)) == (2, 1)
    assert [type(found) for found in others] == [NotTried, NotTried]
    await outcomes(append(store, records("e4")))
    assert names(path) == ["e1", "e3", "e4"]


async def test_behind_a_batch_without_room_the_next_one_is_not_tried(store, disk, path):
    """It may be smaller, and fit."""
    stored = [record for n in range(800) for record in records(f"s{n}", details="x" * 4_000)]
    disk.answers.set()
    await outcomes(append(store, stored))
    disk.answers.clear()
    disk.begun.clear()
    taken = store.writer.taken(await store.writer.run(repository_room))
    store.writer.most_bytes = taken + 500_000
    large = [record for n in range(150) for record in records(f"e{n}", details="x" * 4_000)]
    tasks = await two_in_flight(store, disk, large, records("e999"))
    disk.answers.set()

    first, second = await outcomes(tasks)

    assert "store.budget" in str(first)
    assert isinstance(second, NotTried)
    assert store.writer.crowded.is_set()
    assert len(names(path)) == 800


def repository_room(connection: Connection):
    from jarvis_recorder.storage.sqlite.connections import page_counts

    return page_counts(connection)


async def test_of_two_in_flight_neither_is_told_as_stored_once_the_file_is_moved(store, disk, path):
    tasks = await two_in_flight(store, disk, records("e1"), records("e2"))
    path.rename(path.with_name("moved.db"))
    disk.answers.set()

    found = await outcomes(tasks)

    assert [type(each) for each in found] in (
        [StorageMoved, StorageMoved],
        [StorageMoved, NotTried],
    )
    with pytest.raises(StorageMoved):
        await store.repository.append(records("e3"), 7)


async def test_nothing_is_written_while_what_was_recorded_is_saved_from_a_moved_file(
    store, disk, path, monkeypatch
):
    saving, saved = asyncio.Event(), asyncio.Event()

    async def slowly() -> bool:
        saving.set()
        await saved.wait()
        return True

    monkeypatch.setattr(store.writer, "_save", slowly)
    disk.answers.set()
    tasks = append(store, records("e1"))
    path.rename(path.with_name("moved.db"))
    await saving.wait()
    tasks += append(store, records("e2"))
    await asyncio.sleep(0.01)
    saved.set()

    found = await outcomes(tasks)

    assert [type(each) for each in found] == [StorageMoved, NotTried]
    assert disk.begun == [1]


async def test_another_writer_waits_for_two_at_most(store, disk, path):
    order: list[str] = []
    tasks = await two_in_flight(store, disk, records("e1"), records("e2"))
    change = asyncio.create_task(ask(store, SetPreference(key="k", value="1"), 20))
    await until(lambda: store.writer._queue._waiting)
    tasks += append(store, records("e3"), records("e4"))
    await asyncio.sleep(0.01)
    for name, task in (*zip(("e1", "e2", "e3", "e4"), tasks, strict=True), ("change", change)):
        task.add_done_callback(lambda _, name=name: order.append(name))
    disk.answers.set()

    await outcomes(tasks)
    await change

    assert order.index("change") < order.index("e3")
    assert names(path) == ["e1", "e2", "e3", "e4"]


async def test_a_batch_does_not_join_the_one_before_it_while_another_writer_waits(store, disk):
    """Otherwise each would join the one before, and the other writer would wait for ever."""
    order: list[str] = []
    (first,) = append(store, records("e1"))
    await until(lambda: disk.begun)
    change = asyncio.create_task(ask(store, SetPreference(key="k", value="1"), 20))
    await until(lambda: store.writer._queue._waiting)
    (second,) = append(store, records("e2"))
    for name, task in (("first", first), ("second", second), ("change", change)):
        task.add_done_callback(lambda _, name=name: order.append(name))
    await until(lambda: store.writer._queue._waiting == 2)
    disk.answers.set()

    await outcomes([first, second])
    await change

    assert order == ["first", "change", "second"]


async def test_a_change_whose_time_is_over_behind_two_batches_is_not_made(store, disk):
    tasks = await two_in_flight(store, disk, records("e1"), records("e2"))

    with pytest.raises(DeadlineExceeded):
        await ask(store, SetPreference(key="k", value="1"), 0.05)

    disk.answers.set()
    assert [found.stored for found in await outcomes(tasks)] == [1, 1]


async def test_two_that_no_one_waits_for_are_finished_before_the_file_is_closed(path, disk):
    async with open_store(path, lambda: 0) as store:
        tasks = await two_in_flight(store, disk, records("e1"), records("e2"))
        for task in tasks:
            task.cancel()
        closing_ = asyncio.create_task(store.writer.close())
        await until(lambda: store.writer._queue._waiting)
        assert not closing_.done()
        disk.answers.set()
        await closing_

    assert disk.begun[0] == 1
    assert names(path) in (["e1", "e2"], ["e1"]), "never the second alone"


async def test_one_that_is_cancelled_before_its_turn_lets_none_overtake(store, disk, path):
    other = asyncio.create_task(store.writer.run(lambda _: disk.answers.wait(30)))
    await until(store.writer._queue._lock.locked)
    first, second = append(store, records("e1"), records("e2"))
    await until(lambda: store.writer._queue._waiting)
    first.cancel()
    disk.answers.set()

    await other
    found = await outcomes([first, second])

    assert [type(each) for each in found] == [asyncio.CancelledError, NotTried]
    assert names(path) == []


async def test_a_batch_whose_rows_take_long_to_make_is_not_overtaken(
    store, disk, path, monkeypatch
):
    """Snapshots are compressed in a thread; the events behind them are ready at once."""
    made = repository_module._rows_of
    free = asyncio.Event()

    async def slowly(batch: list[Record], recorded_at: int) -> list[Rows]:
        if len(batch) == 2:
            await free.wait()
        return await made(batch, recorded_at)

    monkeypatch.setattr(repository_module, "_rows_of", slowly)
    disk.answers.set()
    tasks = append(store, records("e1", "e2"), records("e3"))
    await asyncio.sleep(0.02)
    assert disk.begun == []
    free.set()

    await outcomes(tasks)
    assert names(path) == ["e1", "e2", "e3"]


@pytest.mark.parametrize("limit", [999, 32_766])
async def test_a_sqlite_that_binds_fewer_variables_gets_smaller_statements(store, path, limit):
    def bound(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, limit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repository_module, "insert_all", insert_all)
        await store.writer.run(bound)
        many = [record for n in range(2_600) for record in records(f"e{n}")]
        body = {"session_id": "s", "role": "user", "content": "ü"}
        turns = [
            decode(delivery(json.dumps(body | {"id": f"t{n}"}).encode()), TOPICS[2], 5).records[0]
            for n in range(2_100)
        ]
        assert (await store.repository.append([*many, *turns], 7)).stored == 4_700

    assert names(path) == [f"e{n}" for n in range(2_600)]


COUNT = 150


class FaultyDisk(Disk):
    """A disk that fails now and then, as SQLite's thread sees it, and is sometimes slow."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self._chance = chance
        self.most_in_flight = 0
        self.store: SqliteStore | None = None

    def insert(self, connection: Connection, parts: list[Rows]) -> tuple[int, list[int]]:
        found = insert_all(connection, parts)
        assert self.store is not None
        self.most_in_flight = max(self.most_in_flight, len(self.store.writer._queue._holders))
        if self._chance.random() < 0.2:
            raise FULL
        return found


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_fails_all_is_stored_once_in_order_and_acked_in_order(
    path, monkeypatch, seed
):
    """The recorder on SQLite: full disks, refused records, and other writers in between."""
    chance = Random(seed)
    disk = FaultyDisk(chance)
    monkeypatch.setattr(repository_module, "insert_all", disk.insert)
    monkeypatch.setattr(intake_module, "MAX_BATCH_RECORDS", 5)
    monkeypatch.setattr(recorder_module, "_FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(recorder_module, "_LONGEST_RETRY_SECONDS", 0.002)
    async with open_store(path, lambda: 0) as store:
        disk.store = store
        with closing(sqlite3.connect(path)) as other:
            other.execute(REFUSE_BAD)
        consumer, status, large = FakeConsumer(), RecorderStatus(), asyncio.Lock()
        intake = Intake(FakeFlow(), lambda: 0, large, status)
        dead_letters = DeadLetterPublisher(FakePublisher(), status, FakeIndex())
        recorder = Recorder(
            intake=intake,
            repository=store.repository,
            dead_letters=dead_letters,
            status=status,
            clock=lambda: 0,
            tracer=NoopTracer(),
            large=large,
            full_seconds=60.0,
        )
        sink = intake.sink(Settlement(TOPICS[0], consumer))
        recording = asyncio.create_task(recorder.run())
        bad = {number for number in range(COUNT) if chance.random() < 0.02}
        for number in range(COUNT):
            consumer.hand_over(number + 1)
            summary = {"summary": "bad"} if number in bad else {}
            body = json.dumps(event(number, id=f"e{number}", **summary)).encode()
            sink([delivery(body, number + 1)])
            if chance.random() < 0.05:
                await asyncio.sleep(0.001)
            if chance.random() < 0.02:
                with contextlib.suppress(RecorderError):
                    await ask(store, SetPreference(key="k", value="1"), 20)
        intake.close()
        async with asyncio.timeout(120):
            await recording
        await dead_letters.drain(10)

    assert disk.most_in_flight == 2
    assert names(path) == [f"e{number}" for number in range(COUNT) if number not in bad]
    assert consumer.outstanding == set()
    assert status.dead_letters == ({"refused_by_storage": len(bad)} if bad else {})
