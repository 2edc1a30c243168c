"""One database file, opened whole."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from jarvis_recorder.ports import Clock
from jarvis_recorder.storage import schema, sqlite
from jarvis_recorder.storage.archive import SqliteArchive, SqliteOutbox
from jarvis_recorder.storage.probe import Condition, condition
from jarvis_recorder.storage.readers import open_readers
from jarvis_recorder.storage.repository import SqliteRepository
from jarvis_recorder.storage.writer import open_writer

log = structlog.get_logger(__name__)


class Store(NamedTuple):
    """What one file is to those who record, who ask, and who announce."""

    repository: SqliteRepository
    archive: SqliteArchive
    outbox: SqliteOutbox
    probe: Callable[[], Awaitable[Condition]]
    """Return how the database is if it would take a record now; else raises as `append` does."""


@contextlib.asynccontextmanager
async def open_store(path: Path, clock: Clock) -> AsyncIterator[Store]:
    """
    Open the database file for this process alone, made and migrated where needed.

    Raises:
        AnotherRecorder: Another process holds it.
        ConfigurationError: It is no database of the recorder's, or a newer one.
        StorageUnavailable: It is locked, or cannot be read or written.
    """
    with sqlite.readable_errors(path):
        path = sqlite.create_file(path)
    with sqlite.locked(path):
        if sqlite3.sqlite_version_info < sqlite.FIRST_SAFE_VERSION:
            log.warning("sqlite_version_has_wal_bug", version=sqlite3.sqlite_version)
        async with open_writer(path) as writer, open_readers(path) as readers:
            await schema.upgrade(writer, path)
            archive = SqliteArchive(path, writer, readers, clock)
            yield Store(
                SqliteRepository(writer),
                archive,
                SqliteOutbox(writer, readers, archive.changed),
                partial(writer.run, partial(condition, path)),
            )
