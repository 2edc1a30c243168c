"""SQLite files: who may open them, how they are opened, and what their errors mean."""

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiosqlite
from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from jarvis_recorder.errors import (
    AnotherRecorder,
    ConfigurationError,
    RecorderError,
    RecordRefused,
    StorageDamaged,
    StorageUnavailable,
    StorageUncertain,
)

T = TypeVar("T")

# From 3.7.0 to 3.51.2 a WAL database can be corrupted when one connection commits while
# another checkpoints. The recorder writes and checkpoints on one connection only.
FIRST_SAFE_VERSION: Final = (3, 51, 3)

_BUSY_SECONDS: Final = 2.0
READERS: Final = 4
_WRITER_PRAGMAS: Final = (
    # Of a new file only; of another from its next `db vacuum` on.
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -16000",
    "PRAGMA secure_delete = ON",
)

_IOERR_SYNCS: Final = frozenset((sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC))
_DAMAGED: Final = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
_REFUSED: Final = frozenset(
    (
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_RANGE,
    )
)


def create_file(path: Path) -> Path:
    """
    Make an empty file for its owner only, in a directory likewise, where there is none.

    Return its one true path: a file with two names would have two locks and two logs.
    """
    path = path.resolve()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """
    Hold the database file for this process alone; ends with the process, however it ends.

    Raises:
        AnotherRecorder: Another process holds it; the message says which.
    """
    lock = path.with_name(f"{path.name}.lock")
    with readable_errors(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AnotherRecorder(
                f"{path} is held by another recorder ({_holder(file.read())}); stop that one first"
            ) from None
        file.truncate(0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        json.dump({"pid": os.getpid(), "since": since}, file)
        file.flush()
        yield


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "unknown process"


class WritingConnection(aiosqlite.Connection):
    """A connection of aiosqlite's, in whose thread whole functions run."""

    def __init__(self, path: Path) -> None:
        super().__init__(partial(writable, path), iter_chunk_size=1)
        self._sqlalchemy: Connection | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Return what a function returns that is called in SQLite's thread."""
        answer: T = await self._execute(self._run, work)  # type: ignore[no-untyped-call]
        return answer

    async def close(self) -> None:
        """Close the file; what of a transaction is not committed is rolled back."""
        # In its thread, too: SQLAlchemy would do it when it is collected, in any.
        with contextlib.suppress(DBAPIError):
            await self.run(Connection.close)
        await super().close()

    def _run(self, work: Callable[[Connection], T]) -> T:
        if self._sqlalchemy is None:
            self._sqlalchemy = _writing_engine(self._conn).connect()
        return work(self._sqlalchemy)


async def open_to_write(path: Path) -> WritingConnection:
    """Open a file that exists; each transaction takes the write lock as it begins."""
    connection = WritingConnection(path)
    await connection
    return connection


def writable(path: Path) -> sqlite3.Connection:
    """Return a connection that may write the file, for whoever holds its lock."""
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        for pragma in _WRITER_PRAGMAS:
            connection.execute(pragma).close()
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
        # A read that turned into a write later would fail where somebody else has written.
        connection.execute("BEGIN IMMEDIATE")

    return engine


def truncate_log(connection: Connection) -> None:
    """Empty the write-ahead log; outside of a transaction."""
    driver_of(connection).execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


@contextlib.contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """Have what fails inside undone, and nothing else of the transaction."""
    driver = driver_of(connection)
    driver.execute("SAVEPOINT one").close()
    try:
        yield
    except BaseException:
        # A full disk may have ended the whole transaction, and this with it.
        if driver.in_transaction:
            driver.execute("ROLLBACK TO one").close()
            driver.execute("RELEASE one").close()
        raise
    driver.execute("RELEASE one").close()


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return the connection of Python's own module, past SQLAlchemy."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def read_only(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write, and so neither checkpoints; transactions are explicit."""
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=_BUSY_SECONDS
    )


def read_only_engine(path: Path) -> Engine:
    """Return what opens the file to read, in any thread; each transaction sees one snapshot."""
    engine = create_engine(
        URL.create(
            "sqlite",
            database=f"file:{quote(str(path))}",
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

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # Past SQLAlchemy, for which this would be a statement like any other.
        connection.connection.cursor().execute("BEGIN")

    return engine


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """Give a connection that sees one snapshot of the file, for whoever reads but once."""
    engine = read_only_engine(path)
    try:
        with translated_errors(path), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextlib.contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Raise what a driver error means for whoever asked; see `errors`."""
    try:
        yield
    except DBAPIError as error:
        raise _translate(error.orig, path) from error
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except UnicodeEncodeError as error:
        raise RecordRefused("a value cannot be bound: it is no Unicode text") from error
    except OverflowError as error:
        # A time beyond its years is an OverflowError, too, and none of the database's.
        if "SQLite" not in str(error):
            raise
        raise RecordRefused("a value cannot be bound: it is an integer beyond 64 bits") from error


@contextlib.contextmanager
def readable_errors(path: Path) -> Iterator[None]:
    """Say which file it was that the operating system would not let us have."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}: set store.url to a file in a directory of one's own"
        ) from error


def damaged(path: Path, what: str) -> StorageDamaged:
    """Return the error that says of a file that it is corrupt, and what to do about it."""
    return StorageDamaged(
        f"{path}: {what}: stop the recorder and put a backup in its place with "
        "`jarvis-recorder db restore`, or set store.on_corruption=quarantine to begin a new one"
    )


def _translate(error: BaseException | None, path: Path) -> RecorderError:
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    what = f"{path}: {name}: {error}"
    if code is None:
        # No code of SQLite's own: the driver could not bind a value.
        bound = isinstance(error, sqlite3.InterfaceError | sqlite3.DataError)
        return RecordRefused(what) if bound else StorageUnavailable(what)
    primary = code & 0xFF
    if code in _IOERR_SYNCS:
        return StorageUncertain(f"{what}: whether the last commit is on disk is unknown")
    if primary in _DAMAGED:
        return damaged(path, f"{name}: {error}")
    if primary in _REFUSED:
        return RecordRefused(what)
    return StorageUnavailable(what)
