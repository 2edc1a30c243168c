"""SQLite files: who may open them, how they are opened, and what their errors mean."""

import contextlib
import errno
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO, TypeVar
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
    StorageMoved,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.ownership import acting_for, resolved
from jarvis_recorder.storage.words import fold

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
    "PRAGMA cache_size = -16000",
    "PRAGMA secure_delete = ON",
)

LONGEST_LOG: Final = 64 * 1024 * 1024
_CHECKPOINT_PAGES: Final = 4_000
# https://www.sqlite.org/pragma.html#pragma_auto_vacuum
_INCREMENTAL: Final = 2
_LEAST_PAGE_BYTES: Final = 4_096
# https://www.sqlite.org/fileformat2.html#the_write_ahead_log: all there is before the first commit.
_LOG_HEADER_BYTES: Final = 32
_NO_SUCH_LOCK: Final = frozenset((errno.EBADF, errno.ENOLCK, errno.ENOTSUP))
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

    Raises:
        StorageMoved: It is away, and its log is there.
    """
    with acting_for(path):
        path = resolved(path)
        _require_no_orphan(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


def _require_no_orphan(path: Path) -> None:
    """SQLite deletes a log whose database is not there, or empty, even where it only reads."""
    log = path.with_name(f"{path.name}-wal")
    if not _size(path) and _size(log) > _LOG_HEADER_BYTES:
        raise StorageMoved(
            f"{log} is there, and holds what was recorded last, but {path}, which it belongs to, "
            "is not: put that back next to it; or, to begin with a new database, move the log away"
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """
    Hold the database file for this process alone; ends with the process, however it ends.

    Meanwhile root acts for the owner of its directory; see `ownership`. Enter it before the
    file is opened, and leave it when it is closed.

    Raises:
        AnotherRecorder: Another process holds it; the message says which.
    """
    lock = path.with_name(f"{path.name}.lock")
    with acting_for(path), contextlib.ExitStack() as held:
        with readable_errors(lock):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        file = held.enter_context(os.fdopen(descriptor, "r+"))
        _hold(file.fileno(), path, file)
        # A lock file can be removed, and another made. Whoever removes the database has none.
        with readable_errors(path), contextlib.suppress(FileNotFoundError):
            database = os.open(path, os.O_RDONLY)
            held.callback(os.close, database)
            _hold(database, path, file)
        file.truncate(0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        json.dump({"pid": os.getpid(), "since": since}, file)
        file.flush()
        yield


def _hold(descriptor: int, path: Path, holder: TextIO) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AnotherRecorder(
            f"{path} is held by another recorder ({_holder(holder.read())}); stop that one first"
        ) from None
    except OSError as error:
        # NFS locks only what is open to write, and would keep SQLite's own locks out.
        if error.errno not in _NO_SUCH_LOCK:
            raise


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
    """
    Return a connection that may write the file, for whoever holds its lock.

    Raises:
        StorageMoved: The file is away, and its log is there.
    """
    _require_no_orphan(path)
    # A file that has just been taken away is not made again.
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
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
        # A read that turned into a write later would fail where somebody else has written.
        connection.execute("BEGIN IMMEDIATE")

    return engine


def bound_log(most_bytes: int, connection: Connection) -> None:
    """Have the write-ahead log begin again before it is so long, as far as readers let it."""
    _bound_log(driver_of(connection), most_bytes)


def _bound_log(driver: sqlite3.Connection, most_bytes: int) -> None:
    pages = max(1, min(_CHECKPOINT_PAGES, most_bytes // _LEAST_PAGE_BYTES))
    driver.execute(f"PRAGMA wal_autocheckpoint = {pages}").close()
    driver.execute(f"PRAGMA journal_size_limit = {most_bytes}").close()


def empty_log(connection: Connection, *, wait: bool) -> bool:
    """
    Bring all that is in the write-ahead log into the database; outside of a transaction.

    Return whether the log is empty now. Whoever reads an older state keeps it from that;
    with `wait` they have some seconds to end, in which nothing is written.
    """
    driver = driver_of(connection)
    driver.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1_000 if wait else 0:.0f}").close()
    try:
        (busy, _, _) = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        driver.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1_000:.0f}").close()
    return not busy


class Room(NamedTuple):
    """How many pages the file has, how many of them are free, their size; whether it can shrink."""

    pages: int
    free: int
    page_size: int
    can_shrink: bool

    @property
    def used_bytes(self) -> int:
        return (self.pages - self.free) * self.page_size

    @property
    def held_bytes(self) -> int:
        """What it has of the disk; without what is free in a file that can only use it again."""
        return self.pages * self.page_size if self.can_shrink else self.used_bytes


def room_of(connection: Connection) -> Room:
    """Return how the file is filled."""
    driver = driver_of(connection)
    names = ("page_count", "freelist_count", "page_size", "auto_vacuum")
    pages, free, page_size, vacuum = (
        driver.execute(f"PRAGMA {name}").fetchone()[0] for name in names
    )
    return Room(pages, free, page_size, vacuum == _INCREMENTAL)


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
    """
    Return a connection that cannot write, and so neither checkpoints; transactions are explicit.

    Raises:
        StorageMoved: The file is away, and its log is there.
    """
    _require_no_orphan(path)
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
        connection.create_function("folds_to_hold", 2, _folds_to_hold, deterministic=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # Past SQLAlchemy, for which this would be a statement like any other.
        connection.connection.cursor().execute("BEGIN")

    return engine


def make_temporary(connection: Connection, statement: str) -> None:
    """Make what only this connection sees, which may read but not write the file."""
    driver = driver_of(connection)
    driver.execute("PRAGMA query_only = OFF").close()
    try:
        driver.execute(statement).close()
    finally:
        driver.execute("PRAGMA query_only = ON").close()


def _folds_to_hold(text: str, part: str) -> bool:
    """Return whether a text, once folded, contains a folded part; called from SQL."""
    return part in fold(text)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """Give a connection that sees one snapshot of the file, for whoever reads but once."""
    engine = read_only_engine(path)
    try:
        with acting_for(path), translated_errors(path):
            _require_no_orphan(path)
            with engine.begin() as connection:
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
