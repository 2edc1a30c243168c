"""Threads that read alongside the writer, each with a connection that cannot write."""

import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine

from jarvis_recorder.errors import DeadlineExceeded, RecorderError
from jarvis_recorder.storage.engine import Read
from jarvis_recorder.storage.queries.reading import Pace, Reading
from jarvis_recorder.storage.sqlite import connections, errors
from jarvis_recorder.storage.sqlite.upkeep import Gate

T = TypeVar("T")
_Found = tuple[T | None, BaseException | None]

_INTERRUPT_AGAIN_SECONDS: Final = 0.005
# No more: a reader that holds the GIL while other processes have the processor keeps the event loop
# waiting. Next to a busy process, with 10 that was up to 4.8 s, with 2 at most 1.1 s.
_NICENESS: Final = 2
UNBOUNDED: Final = 2**62
# So few that the first of them does not wait long for the last.
_MOST_TOGETHER: Final = 16


class SqliteReaders:
    """
    Threads that read, each read from start to end in one call.

    Not through aiosqlite: there every statement is four calls to a thread, each of which waits
    for its turn of the event loop, and a result may need several statements.

    Reads that scan many rows have threads of their own. However many of them wait, a read
    served by an index starts at once. Look-ups of one row, begun in one turn of the event loop,
    go to a thread and come back together: to hand one over costs more than the look-up.
    """

    def __init__(self, path: Path, engine: Engine, gate: Gate) -> None:
        self._path = path
        self._engine = engine
        self._gate = gate
        self._quick = _threads("reader")
        self._scanning = _threads("scanner")
        self._of_thread = threading.local()
        self._connections: list[Connection] = []
        self._loop = asyncio.get_running_loop()
        self._looking_up: list[_Handed] = []
        self._ending: set[asyncio.Task[None]] = set()

    async def run(
        self, read: Read[T], until: float, room: int = UNBOUNDED, *, pace: Pace = Pace.QUICK
    ) -> T:
        """
        Return the result of `read` on one consistent snapshot, in `room` bytes.

        It returns by `until`, a time of the event loop's clock, whatever the thread still does.

        Raises:
            DeadlineExceeded: It was not done by `until`: it is interrupted, or was never begun.
            StorageUnavailable, StorageDamaged: The file cannot be read.
        """
        job, answer = _Job(read, room), self._loop.create_future()
        self._hand_over(_Handed(job, answer), pace)
        try:
            async with asyncio.timeout_at(until):
                with errors.translated_errors(self._path):
                    result: T = await answer
                    return result
        except TimeoutError:
            raise DeadlineExceeded("the answer was not found in time") from None
        except RecorderError as error:
            # The frames of the thread hold what it has read, and this frame holds the future that
            # holds the error: together they would stay until the garbage is collected.
            raise error.with_traceback(None) from error.__cause__
        finally:
            # A job that has not begun never will; one that has is interrupted.
            if job.give_up():
                ending = self._loop.create_task(_interrupted(job))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
            del job, answer

    async def close(self) -> None:
        """Return once every thread has ended and every connection is closed."""
        await asyncio.gather(*self._ending)
        for threads in (self._quick, self._scanning):
            await asyncio.to_thread(threads.shutdown)
        for connection in self._connections:
            connection.close()
        self._engine.dispose()

    def _hand_over(self, handed: "_Handed", pace: Pace) -> None:
        if pace is not Pace.LOOK_UP:
            threads = self._scanning if pace is Pace.SCAN else self._quick
            threads.submit(self._work, [handed])
            return
        if not self._looking_up:
            self._loop.call_soon(self._hand_over_all)
        self._looking_up.append(handed)

    def _hand_over_all(self) -> None:
        # Of those that are given up already no thread needs to hear: it may have ended, too.
        waiting = [each for each in self._looking_up if not each.answer.done()]
        self._looking_up = []
        for start in range(0, len(waiting), _MOST_TOGETHER):
            self._quick.submit(self._work, waiting[start : start + _MOST_TOGETHER])

    def _work(self, handed: list["_Handed"]) -> None:
        """Run jobs in a reading thread and hand what they found to the event loop."""
        found = [self._found_by(job) for job, _ in handed]
        self._loop.call_soon_threadsafe(_deliver, handed, found)

    def _found_by(self, job: "_Job[T]") -> "_Found[T]":
        # Without the future: the error's traceback holds this frame, and it would hold the error.
        try:
            with self._gate.passed():
                return job.run(self._connection()), None
        except BaseException as error:  # noqa: BLE001 - the event loop raises it
            return None, error
        finally:
            job.end()

    def _connection(self) -> Connection:
        """Return this thread's connection; it is opened when it is first needed."""
        connection: Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            # For good: to take it from SQLAlchemy's pool again costs as much as a look-up.
            connection = self._of_thread.connection = self._engine.connect()
            self._connections.append(connection)
        return connection


def _deliver(handed: "list[_Handed]", found: "list[_Found[Any]]") -> None:
    for (_, answer), (result, error) in zip(handed, found, strict=True):
        if answer.done():
            continue
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)


def _threads(name: str) -> ThreadPoolExecutor:
    """Return an executor with half of the reading threads."""
    return ThreadPoolExecutor(
        connections.READERS // 2, thread_name_prefix=name, initializer=_step_back
    )


def _step_back() -> None:
    """Run below the event loop's priority, so that it can report a missed deadline in time."""
    # Only on Linux does each thread have its own priority. A sandbox may forbid the change.
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.nice(0) + _NICENESS)


async def _interrupted(job: "_Job[Any]") -> None:
    """Interrupt again until the job has ended: an interrupt between two statements is lost."""
    while not job.has_ended:
        job.interrupt()
        await asyncio.sleep(_INTERRUPT_AGAIN_SECONDS)


class _Job(Generic[T]):
    """One read in a thread; interrupting it affects no other."""

    def __init__(self, read: Read[T], room: int) -> None:
        self._read = read
        self._room = room
        self._lock = threading.Lock()
        self._driver: sqlite3.Connection | None = None
        self._reading: Reading | None = None
        self._is_given_up = False
        self.has_ended = False

    def run(self, connection: Connection) -> T:
        """
        Read, in a thread.

        Raises:
            DeadlineExceeded: It was given up.
        """
        reading = Reading(connection, self._room)
        with self._lock:
            if self._is_given_up:
                raise DeadlineExceeded("it was given up before it began")
            self._driver = connections.driver_of(connection)
            self._reading = reading
        with connections.snapshot(connection):
            try:
                return self._read(reading)
            finally:
                with self._lock:
                    self._driver = None

    def end(self) -> None:
        """Note that the thread is done with it."""
        with self._lock:
            self.has_ended = True

    def give_up(self) -> bool:
        """Never begin if it has not begun; return whether it has, and has not ended."""
        with self._lock:
            self._is_given_up = True
            return self._reading is not None and not self.has_ended

    def interrupt(self) -> None:
        with self._lock:
            if self._reading is not None:
                self._reading.end()
            if self._driver is not None:
                self._driver.interrupt()


class _Handed(NamedTuple):
    """A job for a thread, and the future that waits for what it finds."""

    job: _Job[Any]
    answer: asyncio.Future[Any]


@contextlib.asynccontextmanager
async def open_readers(path: Path, gate: Gate) -> AsyncIterator[SqliteReaders]:
    """Yield the readers of a file; a connection is opened when it is first needed."""
    engine = connections.read_only_engine(path)
    readers = SqliteReaders(path, engine, gate)
    try:
        yield readers
    finally:
        await asyncio.shield(readers.close())
