"""Threads that read alongside the writer, each with a connection that cannot write."""

import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Generic, TypeVar

from sqlalchemy import Connection, Engine

from jarvis_recorder.errors import DeadlineExceeded, RecorderError
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.sqlite import connections, errors
from jarvis_recorder.storage.sqlite.upkeep import Gate

T = TypeVar("T")
Read = Callable[[Reading], T]
"""Reads one snapshot of the database; called in a thread."""

_INTERRUPT_AGAIN_SECONDS: Final = 0.005
_NICENESS: Final = 10
UNBOUNDED: Final = 2**62


class Readers:
    """
    Runs each read in a thread, from start to end in one call.

    Not through aiosqlite: there every statement is four calls to a thread, each of which waits
    for its turn of the event loop, and a result may need several statements.

    Reads that scan many rows have threads of their own. However many of them wait, a read
    served by an index starts at once.
    """

    def __init__(self, path: Path, engine: Engine) -> None:
        self._path = path
        self._engine = engine
        self._quick = _threads("reader")
        self._scanning = _threads("scanner")
        self._ending: set[asyncio.Task[None]] = set()

    async def run(
        self, read: Read[T], until: float, room: int = UNBOUNDED, *, scans: bool = False
    ) -> T:
        """
        Return the result of `read` on one consistent snapshot, in `room` bytes.

        It returns by `until`, a time of the event loop's clock, whatever the thread still does.
        `scans` marks a read of many rows.

        Raises:
            DeadlineExceeded: It was not done by `until`: it is interrupted, or was never begun.
            StorageUnavailable, StorageDamaged: The file cannot be read.
        """
        reading = _Job(self._engine, read, room)
        job = (self._scanning if scans else self._quick).submit(reading.run)
        try:
            async with asyncio.timeout_at(until):
                with errors.translated_errors(self._path):
                    return await asyncio.wrap_future(job)
        except TimeoutError:
            raise DeadlineExceeded("the answer was not found in time") from None
        except RecorderError as error:
            # The frames of the thread hold what it has read, and this frame holds the job that
            # holds the error: together they would stay until the garbage is collected.
            raise error.with_traceback(None) from error.__cause__
        finally:
            # A job that has not begun is cancelled; one that has is interrupted.
            if not (job.done() or job.cancel()):
                ending = asyncio.create_task(_interrupted(reading, job))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
            del job

    async def close(self) -> None:
        """Return once every thread has ended and every connection is closed."""
        await asyncio.gather(*self._ending)
        for threads in (self._quick, self._scanning):
            await asyncio.to_thread(threads.shutdown)
        self._engine.dispose()


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


async def _interrupted(reading: "_Job[T]", job: Future[T]) -> None:
    """Interrupt again until the job has ended: an interrupt between two statements is lost."""
    while not job.done():
        reading.interrupt()
        await asyncio.sleep(_INTERRUPT_AGAIN_SECONDS)


class _Job(Generic[T]):
    """One read in a thread; interrupting it affects no other."""

    def __init__(self, engine: Engine, read: Read[T], room: int) -> None:
        self._engine = engine
        self._read = read
        self._room = room
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._reading: Reading | None = None

    def run(self) -> T:
        with (
            self._engine.connect() as connection,
            self._interruptible(connection) as reading,
            connection.begin(),
        ):
            return self._read(reading)

    @contextlib.contextmanager
    def _interruptible(self, connection: Connection) -> Iterator[Reading]:
        reading = Reading(connection, self._room)
        with self._lock:
            self._connection = connections.driver_of(connection)
            self._reading = reading
        try:
            yield reading
        finally:
            with self._lock:
                self._connection = None

    def interrupt(self) -> None:
        with self._lock:
            if self._reading is not None:
                self._reading.end()
            if self._connection is not None:
                self._connection.interrupt()


@contextlib.asynccontextmanager
async def open_readers(path: Path, gate: Gate) -> AsyncIterator[Readers]:
    """Yield the readers of a file; a connection is opened when it is first needed."""
    engine = connections.read_only_engine(path)
    gate.guard(engine)
    readers = Readers(path, engine)
    try:
        yield readers
    finally:
        await asyncio.shield(readers.close())
