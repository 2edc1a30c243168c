"""Reading beside the one who writes: a few threads, each with a connection that cannot write."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Generic, TypeVar

from sqlalchemy import Connection, Engine

from jarvis_recorder.errors import DeadlineExceeded
from jarvis_recorder.storage import sqlite
from jarvis_recorder.storage.upkeep import Gate

T = TypeVar("T")
Read = Callable[[Connection], T]
"""Answers from one snapshot of the database; called in a thread."""

_INTERRUPT_AGAIN_SECONDS: Final = 0.005


class Readers:
    """
    Answers questions in threads, each in one go.

    Not through aiosqlite: there every statement is four calls to a thread, each of which waits
    for its turn of the event loop, and an answer may need several statements.
    """

    def __init__(self, path: Path, engine: Engine) -> None:
        self._path = path
        self._engine = engine
        self._threads = ThreadPoolExecutor(sqlite.READERS, thread_name_prefix="reader")

    async def run(self, read: Read[T], until: float) -> T:
        """
        Return what `read` makes of one consistent snapshot.

        Raises:
            DeadlineExceeded: It was not done at `until`, by the event loop's clock: its
                statement has been interrupted, or was never begun.
            StorageUnavailable, StorageDamaged: The file cannot be read.
        """
        reading = _Reading(self._engine, read)
        job = self._threads.submit(reading.run)
        try:
            async with asyncio.timeout_at(until):
                with sqlite.translated_errors(self._path):
                    return await asyncio.wrap_future(job)
        except TimeoutError:
            raise DeadlineExceeded("the answer was not found in time") from None
        finally:
            # What has not begun yet is taken back; what has is interrupted.
            if not (job.done() or job.cancel()):
                await asyncio.shield(_interrupted(reading, job))

    async def close(self) -> None:
        """Return once every thread has ended and every connection is closed."""
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()


async def _interrupted(reading: "_Reading[T]", job: Future[T]) -> None:
    """Interrupt until it has ended: between two statements there is nothing to interrupt."""
    while not job.done():
        reading.interrupt()
        await asyncio.sleep(_INTERRUPT_AGAIN_SECONDS)


class _Reading(Generic[T]):
    """One question on its way through a thread; interrupting it harms no other."""

    def __init__(self, engine: Engine, read: Read[T]) -> None:
        self._engine = engine
        self._read = read
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def run(self) -> T:
        with (
            self._engine.connect() as connection,
            self._interruptible(connection),
            connection.begin(),
        ):
            return self._read(connection)

    @contextlib.contextmanager
    def _interruptible(self, connection: Connection) -> Iterator[None]:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        with self._lock:
            self._connection = raw
        try:
            yield
        finally:
            with self._lock:
                self._connection = None

    def interrupt(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.interrupt()


@contextlib.asynccontextmanager
async def open_readers(path: Path, gate: Gate) -> AsyncIterator[Readers]:
    """Open the file to read; connections are made when they are first needed."""
    engine = sqlite.read_only_engine(path)
    gate.guard(engine)
    readers = Readers(path, engine)
    try:
        yield readers
    finally:
        await asyncio.shield(readers.close())
