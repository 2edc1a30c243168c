"""The copy of one snapshot of a database into a new file."""

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

# The pages between two syncs of the copy: otherwise a sync of the recorder's own commit would
# wait for hundreds of megabytes of the copy.
_PAGES_AT_ONCE: Final = 2_000
_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT))


def copy(source: Path, target: Path, report: Report) -> None:
    """
    Copy a database into a new file for its owner only, which is on disk when this returns.

    The source is only read, in one transaction: the copy holds everything committed before the
    call. Root acts for the owner of each file's directory. A recorder may continue; its
    write-ahead log grows by what it records until the last page is read. On an error the
    unfinished copy is removed.

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
    """Remove an unfinished copy, with the files that SQLite keeps next to it."""
    for file in (path, *files.companions(path), files.sibling(path, "-journal")):
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
        # SQLite need not sync: an unfinished copy is discarded anyway.
        writer.execute("PRAGMA synchronous = OFF")
        reader.backup(writer, pages=_PAGES_AT_ONCE, progress=advance)
        reader.execute("ROLLBACK")
        # A single file without a write-ahead log can be read on a read-only disk.
        writer.execute("PRAGMA journal_mode = DELETE").fetchone()
    files.sync(target)


@as_owner
def _snapshot(source: Path) -> sqlite3.Connection:
    """
    Return a reading connection in a transaction that has begun.

    Without a transaction each step would see another snapshot, and the copy would start over
    after each commit. All its files are open then; the rest is done as another user.
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
