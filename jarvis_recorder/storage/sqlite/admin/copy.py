"""One snapshot of a database, copied into a file of its own."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from jarvis_recorder.errors import NoRoom
from jarvis_recorder.runtime.ownership import acting_for, as_owner
from jarvis_recorder.storage.sqlite import connections, errors, files
from jarvis_recorder.storage.sqlite.files import Report

# Written out as often as this, so that a commit of the recorder's never waits on its own sync
# for hundreds of megabytes that are not its own.
_PAGES_AT_ONCE: Final = 2_000
_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT))


def copy(source: Path, target: Path, report: Report) -> None:
    """
    Copy a database into a new file for its owner only, which is on disk when this returns.

    The source is only read, in one transaction: the copy holds everything that was committed
    before the call. Root acts for the owner of each one's directory. A recorder goes on meanwhile;
    its write-ahead log grows by what it records until the last page is read. What was begun is
    removed where it fails.

    Raises:
        NoRoom: The copy does not fit.
        StorageUnavailable, StorageDamaged: The source cannot be read.
    """
    with acting_for(target):
        try:
            with errors.translated_errors(source), _told_when_full(target):
                os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                _copy_pages(source, target, report)
        except BaseException:
            discard(target)
            raise


@as_owner
def discard(path: Path) -> None:
    """Remove a copy that was begun, with what SQLite has put beside it."""
    for file in (path, *files.companions(path), files.beside(path, "-journal")):
        file.unlink(missing_ok=True)


def _copy_pages(source: Path, target: Path, report: Report) -> None:
    with (
        target.open("rb") as file,
        contextlib.closing(_snapshot(source)) as reader,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as writer,
    ):

        def advance(_: int, remaining: int, total: int) -> None:
            os.fdatasync(file.fileno())
            report("copying", total - remaining, total)

        pages = reader.execute("PRAGMA page_count").fetchone()[0]
        page_size = reader.execute("PRAGMA page_size").fetchone()[0]
        files.require_room(target.parent, pages * page_size, "a copy")
        # Nothing is synced by SQLite: an unfinished copy is of no use to anyone.
        writer.execute("PRAGMA synchronous = OFF")
        reader.backup(writer, pages=_PAGES_AT_ONCE, progress=advance)
        reader.execute("ROLLBACK")
        # One file without a write-ahead log, which can be read on a disk that is read-only.
        writer.execute("PRAGMA journal_mode = DELETE").fetchone()
    files.sync(target)


@as_owner
def _snapshot(source: Path) -> sqlite3.Connection:
    """
    Return a reading connection in a transaction that has begun.

    Without one each step would see another snapshot, and begin again whenever the recorder has
    committed. And all its files are open then: what follows is root's, or another user's.
    """
    reader = connections.read_only(source)
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except BaseException:
        reader.close()
        raise
    return reader


@contextlib.contextmanager
def _told_when_full(target: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        full = error.errno in _NO_ROOM if isinstance(error, OSError) else _is_full(error)
        if full:
            raise NoRoom(f"{target.parent}: no room for a copy: make some") from error
        raise


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
