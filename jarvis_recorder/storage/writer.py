"""The one connection that writes, and whose turn it is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jarvis_recorder.errors import (
    DeadlineExceeded,
    RecorderError,
    StorageDamaged,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.storage import sqlite


class Writer:
    """
    Runs one transaction after the other, in the order they were asked for.

    After an outcome that is unknown there is none any more: the next would take for stored
    what may not be.
    """

    def __init__(self, path: Path, engine: AsyncEngine) -> None:
        self._path = path
        self._engine = engine
        self._file = path.stat().st_ino
        # Held through a whole transaction: a caller that was cancelled has left it running.
        self._turn = asyncio.Lock()
        self._failed: StorageUncertain | StorageDamaged | None = None

    @contextlib.asynccontextmanager
    async def transaction(self, until: float | None = None) -> AsyncIterator[AsyncConnection]:
        """
        Give a connection whose work is committed, synced and in the file at the end.

        On an error nothing of it is. Whoever may be cancelled has to shield it.

        Raises:
            DeadlineExceeded: Its turn had not come at `until`, by the event loop's clock.
            StorageUnavailable, StorageUncertain, StorageDamaged, RecordRefused: See `errors`.
        """
        await self._wait_for_turn(until)
        try:
            if self._failed is not None:
                raise self._failed
            with sqlite.translated_errors(self._path):
                async with self._begun() as connection:
                    yield connection
                self._require_same_file()
        except (StorageUncertain, StorageDamaged) as error:
            self._failed = error
            raise
        finally:
            self._turn.release()

    async def forget_deleted(self) -> None:
        """
        Empty the write-ahead log of what is overwritten, unless somebody reads from it.

        What is deleted stays deleted either way, so that it failed is nobody's error.
        """
        async with self._turn:
            with contextlib.suppress(StorageUnavailable), sqlite.translated_errors(self._path):
                async with self._engine.connect() as connection:
                    await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    async def drain(self) -> None:
        """Return once no transaction is under way."""
        async with self._turn:
            pass

    async def _wait_for_turn(self, until: float | None) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._turn.acquire()
        except TimeoutError:
            raise DeadlineExceeded("others were writing until it was too late") from None

    @contextlib.asynccontextmanager
    async def _begun(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            try:
                async with connection.begin():
                    yield connection
            except RecorderError:
                # Somebody's answer, such as that there is a conflict: it is rolled back.
                raise
            except BaseException:
                # What state the connection is in is not known: the next begins with a new one.
                await connection.invalidate()
                raise

    def _require_same_file(self) -> None:
        """A file that was renamed or deleted goes on taking commits that nobody will find."""
        try:
            same = self._path.stat().st_ino == self._file
        except OSError:
            same = False
        if not same:
            raise StorageDamaged(
                f"{self._path}: the file was moved, replaced or deleted while it was recorded "
                "into: put it back, or start again with a new one"
            )
