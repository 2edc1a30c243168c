"""The one connection that writes, and whose turn it is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from jarvis_recorder.errors import (
    DeadlineExceeded,
    RecorderError,
    StorageDamaged,
    StorageMoved,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.storage import sqlite

log = structlog.get_logger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], T]
"""Reads and writes in a transaction that has begun; called in SQLite's thread."""


class Writer:
    """
    Runs one transaction after the other, in the order they were asked for.

    A transaction is one call to SQLite's thread, from BEGIN to COMMIT: were each statement a
    call, it would wait each time for its turn of the event loop, milliseconds under load.

    After an outcome that is unknown there is none any more: the next would take for stored
    what may not be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.stat().st_ino
        self._connection: sqlite.WritingConnection | None = None
        # Held through a whole transaction: a caller that was cancelled has left it running.
        self._turn = asyncio.Lock()
        self._failed: StorageUncertain | StorageDamaged | None = None
        self._refusal: str | None = None

    def refuse(self, why: str) -> None:
        """Have `require_room` say why there is none, from now on."""
        if self._refusal is None:
            log.error("intake_stopped", reason=why)
        self._refusal = why

    def admit(self) -> None:
        """Have `require_room` find some again."""
        if self._refusal is not None:
            log.info("intake_goes_on")
        self._refusal = None

    def require_room(self) -> None:
        """
        Let pass whoever would take more room; it is theirs to ask.

        Raises:
            StorageUnavailable: There is none; the message says what to do.
        """
        if self._refusal is not None:
            raise StorageUnavailable(self._refusal)

    async def run(self, work: Work[T], until: float | None = None) -> T:
        """
        Return what `work` returns, once all it wrote is committed, synced and in the file.

        On an error nothing of it is. A caller that is cancelled leaves it running.

        Raises:
            DeadlineExceeded: Its turn had not come at `until`, by the event loop's clock.
            StorageUnavailable, StorageUncertain, StorageDamaged, RecordRefused: See `errors`.
        """
        return await self.run_gathered(lambda: work, until)

    async def run_gathered(self, gather: Callable[[], Work[T]], until: float | None = None) -> T:
        """Do as `run` does with the work that `gather` returns when its turn has come."""
        await self._wait_for_turn(until)
        # A cancelled await would not stop SQLite's thread, only lose the answer.
        return await asyncio.shield(asyncio.ensure_future(self._in_turn(gather())))

    async def forget_deleted(self) -> None:
        """
        Empty the write-ahead log of what is overwritten, unless somebody reads from it.

        What is deleted stays deleted either way, so that it failed is nobody's error.
        """
        async with self._turn:
            with contextlib.suppress(StorageUnavailable), sqlite.translated_errors(self._path):
                connection = await self._open()
                await connection.run(sqlite.truncate_log)

    async def answers(self) -> None:
        """
        Return once the connection's thread has answered, whether it can write or not.

        It waits for its turn: where a commit hangs, so does this.
        """
        async with self._turn:
            with contextlib.suppress(RecorderError), sqlite.translated_errors(self._path):
                connection = await self._open()
                await connection.run(lambda _: None)

    async def close(self) -> None:
        """Return once no transaction is under way and the file is closed."""
        async with self._turn:
            await self._drop()

    async def _wait_for_turn(self, until: float | None) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._turn.acquire()
        except TimeoutError:
            raise DeadlineExceeded("others were writing until it was too late") from None

    async def _in_turn(self, work: Work[T]) -> T:
        try:
            if self._failed is not None:
                raise self._failed
            with sqlite.translated_errors(self._path):
                answer = await self._transaction(work)
            self._require_same_file()
        except (StorageUncertain, StorageDamaged) as error:
            self._failed = error
            raise
        finally:
            self._turn.release()
        return answer

    async def _transaction(self, work: Work[T]) -> T:
        connection = await self._open()
        try:
            return await connection.run(partial(_transact, work))
        except RecorderError:
            # Somebody's answer, such as that there is a conflict: it is rolled back.
            raise
        except BaseException:
            # What state the connection is in is not known: the next begins with a new one.
            await self._drop()
            raise

    async def _open(self) -> sqlite.WritingConnection:
        if self._connection is None:
            self._connection = await sqlite.open_to_write(self._path)
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _require_same_file(self) -> None:
        """A file that was renamed or deleted goes on taking commits that nobody will find."""
        try:
            same = self._path.stat().st_ino == self._file
        except OSError:
            same = False
        if not same:
            raise StorageMoved(
                f"{self._path}: the file was moved, replaced or deleted while it was recorded "
                "into: put it back, or start again with a new one"
            )


def _transact(work: Work[T], connection: Connection) -> T:
    with connection.begin():
        return work(connection)


@contextlib.asynccontextmanager
async def open_writer(path: Path) -> AsyncIterator[Writer]:
    """Give the writer of a file that exists; the file is closed at the end."""
    writer = Writer(path)
    try:
        yield writer
    finally:
        await asyncio.shield(writer.close())
