"""One database file, opened whole."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.sqlite import connections, damage, errors, lock, upgrade
from jarvis_recorder.storage.sqlite.archive import SqliteArchive, SqliteOutbox
from jarvis_recorder.storage.sqlite.health import Condition, condition
from jarvis_recorder.storage.sqlite.readers import open_readers
from jarvis_recorder.storage.sqlite.repository import SqliteRepository
from jarvis_recorder.storage.sqlite.upkeep import Gate, Upkeep
from jarvis_recorder.storage.sqlite.writer import Writer, open_writer

log = structlog.get_logger(__name__)


class Store(NamedTuple):
    """What one file is to those who record, who ask, and who announce."""

    repository: SqliteRepository
    archive: SqliteArchive
    outbox: SqliteOutbox
    writer: Writer
    upkeep: Upkeep
    path: Path

    async def probe(self) -> Condition:
        """Return how the database is if it would take a record now; else raise as `append`."""
        self.writer.require_room()
        return await self.writer.run(partial(condition, self.path))

    @property
    def quarantined(self) -> Path | None:
        """Where a damaged file lies that nobody has looked at yet, if one does."""
        return damage.quarantined(self.path)


@contextlib.asynccontextmanager
async def open_store(path: Path, clock: Clock) -> AsyncIterator[Store]:
    """
    Open the database file for this process alone, made and migrated where needed.

    Raises:
        AnotherRecorder: Another process holds it.
        ConfigurationError: It is no database of the recorder's, or a newer one.
        StorageUnavailable: It is locked, or cannot be read or written.
        StorageDamaged: It is corrupt; every later call says so too, until another file is in
            its place or `damage.acknowledge` is called.
    """
    with errors.readable_errors(path):
        path = lock.create_file(path)
    with lock.locked(path), damage.remembered(path):
        if sqlite3.sqlite_version_info < connections.FIRST_SAFE_VERSION:
            log.warning("sqlite_version_has_wal_bug", version=sqlite3.sqlite_version)
        await asyncio.to_thread(damage.look, path)
        gate = Gate()
        async with open_writer(path) as writer, open_readers(path, gate) as readers:
            await upgrade.upgrade(writer, path)
            archive = SqliteArchive(path, writer, readers, clock)
            outbox = SqliteOutbox(writer, readers, archive.changed)
            upkeep = Upkeep(writer, gate)
            yield Store(SqliteRepository(writer), archive, outbox, writer, upkeep, path)
