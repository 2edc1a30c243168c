"""Connections to a SQLite file: the writing one, the reading ones, and their PRAGMAs."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import aiosqlite

# Imported now: later the process may act for a user who cannot read the module's files.
import sqlalchemy.dialects.sqlite  # noqa: F401
from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from jarvis_recorder.runtime.ownership import acting_for
from jarvis_recorder.storage.queries.words import fold
from jarvis_recorder.storage.sqlite.errors import translated_errors
from jarvis_recorder.storage.sqlite.files import require_no_orphan

T = TypeVar("T")

# From 3.7.0 to 3.51.2 a WAL database can be corrupted when one connection commits while
# another checkpoints. The recorder writes and checkpoints on one connection only.
FIRST_SAFE_VERSION: Final = (3, 51, 3)

_BUSY_SECONDS: Final = 2.0
_CACHED_STATEMENTS: Final = 128
READERS: Final = 4
_WRITER_PRAGMAS: Final = (
    # Takes effect in a new file only; in another from its next `db vacuum` on.
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_size = -16000",
    "PRAGMA secure_delete = ON",
)

LONGEST_LOG: Final = 64 * 1024 * 1024
_CHECKPOINT_PAGES: Final = 4_000
# https://www.sqlite.org/pragma.html#pragma_auto_vacuum
_INCREMENTAL: Final = 2
_LEAST_PAGE_BYTES: Final = 4_096


class WritingConnection(aiosqlite.Connection):
    """An aiosqlite connection whose thread runs whole functions."""

    def __init__(self, path: Path) -> None:
        super().__init__(partial(writable, path), iter_chunk_size=1)
        self._sqlalchemy: Connection | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Call a function in SQLite's thread and return its result."""
        answer: T = await self._execute(self._run, work)  # type: ignore[no-untyped-call]
        return answer

    async def close(self) -> None:
        """Close the file; an open transaction is rolled back."""
        try:
            # In SQLite's thread: left to the garbage collector, it would happen in any thread.
            if self._sqlalchemy is not None:
                with contextlib.suppress(DBAPIError):
                    await self.run(Connection.close)
        finally:
            # Otherwise its thread would keep the process from ending.
            await super().close()

    def join(self) -> None:
        """Return once the thread has ended, of a connection that was never opened."""
        self._thread.join()

    def _run(self, work: Callable[[Connection], T]) -> T:
        if self._sqlalchemy is None:
            self._sqlalchemy = _writing_engine(self._conn).connect()
        return work(self._sqlalchemy)


async def open_to_write(path: Path) -> WritingConnection:
    """Open a file that exists; each transaction takes the write lock as it begins."""
    connection = WritingConnection(path)
    try:
        await connection
    except BaseException:
        # Its thread tells the event loop that it has stopped, and the loop may end with this error.
        await asyncio.to_thread(connection.join)
        raise
    return connection


def writable(path: Path) -> sqlite3.Connection:
    """
    Return a connection that may write the file; the caller holds the file's lock.

    Raises:
        StorageMoved: The file is missing, but its write-ahead log is there.
    """
    require_no_orphan(path)
    # `rw`, so that a file just taken away is not created again.
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        cached_statements=_CACHED_STATEMENTS,
    )
    try:
        for pragma in _WRITER_PRAGMAS:
            connection.execute(pragma).close()
        _bound_log(connection, LONGEST_LOG)
    except BaseException:
        connection.close()
        raise
    return connection


def _writing_engine(connection: sqlite3.Connection) -> Engine:
    engine = create_engine(
        "sqlite://", creator=lambda: connection, poolclass=StaticPool, pool_reset_on_return=None
    )

    @event.listens_for(engine, "begin")
    def begin(_: Connection) -> None:
        # A deferred transaction that turns from reading to writing fails if another has written.
        connection.execute("BEGIN IMMEDIATE")

    return engine


def bound_log(most_bytes: int, connection: Connection) -> None:
    """Have SQLite reuse the write-ahead log before it exceeds `most_bytes`, if readers permit."""
    _bound_log(driver_of(connection), most_bytes)


def _bound_log(driver: sqlite3.Connection, most_bytes: int) -> None:
    pages = max(1, min(_CHECKPOINT_PAGES, most_bytes // _LEAST_PAGE_BYTES))
    driver.execute(f"PRAGMA wal_autocheckpoint = {pages}").close()
    driver.execute(f"PRAGMA journal_size_limit = {most_bytes}").close()


def release_memory(connection: Connection) -> None:
    """
    Release cached pages, and the values that cached statements keep; called outside a transaction.

    Python's module never clears what was bound to a statement, so that each statement of its cache
    keeps the rows that it inserted last. Others take their places here.
    """
    driver = driver_of(connection)
    for number in range(_CACHED_STATEMENTS):
        driver.execute(f"SELECT {number}").close()
    driver.execute("PRAGMA shrink_memory").close()


def empty_log(connection: Connection, *, wait: bool) -> bool:
    """
    Checkpoint and truncate the write-ahead log; called outside a transaction.

    Return whether the log is empty now. A reader of an older snapshot prevents it; with
    `wait` it has some seconds to end, in which nothing is written.
    """
    driver = driver_of(connection)
    driver.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1_000 if wait else 0:.0f}").close()
    try:
        (busy, _, _) = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        driver.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1_000:.0f}").close()
    return not busy


class PageCounts(NamedTuple):
    """The pages of a file, the free ones, the page size, and whether the file can shrink."""

    pages: int
    free: int
    page_size: int
    can_shrink: bool

    @property
    def used_bytes(self) -> int:
        return (self.pages - self.free) * self.page_size

    @property
    def held_bytes(self) -> int:
        """The bytes it holds of the disk; free pages count only in a file that can shrink."""
        return self.pages * self.page_size if self.can_shrink else self.used_bytes


def page_counts(connection: Connection) -> PageCounts:
    """Return the file's page counts."""
    driver = driver_of(connection)
    names = ("page_count", "freelist_count", "page_size", "auto_vacuum")
    pages, free, page_size, vacuum = (
        driver.execute(f"PRAGMA {name}").fetchone()[0] for name in names
    )
    return PageCounts(pages, free, page_size, vacuum == _INCREMENTAL)


@contextlib.contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """Undo what was written inside if it fails, and nothing else of the transaction."""
    driver = driver_of(connection)
    driver.execute("SAVEPOINT one").close()
    try:
        yield
    except BaseException:
        # A full disk may have ended the whole transaction, and the savepoint with it.
        if driver.in_transaction:
            driver.execute("ROLLBACK TO one").close()
            driver.execute("RELEASE one").close()
        raise
    driver.execute("RELEASE one").close()


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return the `sqlite3` connection beneath SQLAlchemy's."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def read_only(path: Path) -> sqlite3.Connection:
    """
    Return a connection that can neither write nor checkpoint; transactions are explicit.

    Raises:
        StorageMoved: The file is missing, but its write-ahead log is there.
    """
    require_no_orphan(path)
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=ro",
        uri=True,
        isolation_level=None,
        timeout=_BUSY_SECONDS,
    )


def read_only_engine(path: Path) -> Engine:
    """Return an engine for reading in any thread; see `snapshot`."""
    engine = create_engine(
        URL.create(
            "sqlite",
            database=f"file:{quote(os.fsencode(path))}",
            query={"mode": "ro", "uri": "true"},
        ),
        connect_args={
            "timeout": _BUSY_SECONDS,
            "isolation_level": None,
            "check_same_thread": False,
        },
        pool_size=READERS,
        max_overflow=0,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only = ON")
        cursor.close()
        connection.create_function("folds_to_hold", 2, _folds_to_hold, deterministic=True)

    return engine


@contextlib.contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """
    Have all reads inside see one snapshot.

    On the driver: SQLAlchemy's transactions would take longer than the look-up of a row does.
    """
    driver = driver_of(connection)
    driver.execute("BEGIN").close()
    try:
        yield
    finally:
        driver.rollback()


def make_temporary(connection: Connection, statement: str) -> None:
    """Create a temporary object, which only this connection sees, on a read-only connection."""
    driver = driver_of(connection)
    driver.execute("PRAGMA query_only = OFF").close()
    try:
        driver.execute(statement).close()
    finally:
        driver.execute("PRAGMA query_only = ON").close()


def _folds_to_hold(text: str, part: str) -> bool:
    """Return whether a text contains an already folded part once it is folded; used in SQL."""
    return part in fold(text)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """Yield a connection that sees one snapshot of the file, for a single read."""
    engine = read_only_engine(path)
    try:
        with acting_for(path), translated_errors(path):
            require_no_orphan(path)
            with engine.connect() as connection, snapshot(connection):
                yield connection
    finally:
        engine.dispose()
