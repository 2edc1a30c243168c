"""
Damaged database files: finding, marking and quarantining them.

A mark next to a damaged file keeps every later start from using it. The quarantine is a
directory next to the database; it stays until an operator acknowledges it.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from jarvis_recorder.errors import StorageDamaged, StorageMoved
from jarvis_recorder.runtime.ownership import as_owner, resolved
from jarvis_recorder.storage.sqlite import connections, errors, files, lock, wal

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 0.5
_LOOK_EVERY_OPERATIONS: Final = 100_000
_MARK: Final = ".damaged"
QUARANTINE: Final = ".quarantine-"
_ACKNOWLEDGED: Final = "acknowledged"


class Mark(NamedTuple):
    """A file found damaged, identified by its inode, with the time and the error."""

    inode: int
    moment: str
    error: str


@as_owner
def look(path: Path) -> None:
    """
    Check a file that no process has open, for no longer than half a second.

    A small file is read whole, a large one only as far as that time allows.

    Raises:
        StorageDamaged: It was found damaged now or before.
        StorageUnavailable: It cannot be read.
    """
    if found := _read_mark(path):
        if found.inode == _inode(path):
            raise StorageDamaged(
                f"{found.error} (found at {found.moment}; if it is repaired, "
                "`jarvis-recorder db acknowledge` says so)"
            )
        # Another file has replaced it since.
        forget(path)
    if not files.size(path):
        return
    with (
        errors.translated_errors(path),
        contextlib.ExitStack() as later,
        contextlib.closing(connections.read_only(path)) as connection,
    ):
        try:
            connection.execute("BEGIN")
            (page_size,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
                # The file needs a rollback first, which only a writer can do.
                return
            raise
        if lost := wal.lost_commits(path, page_size, later):
            raise errors.damaged(path, f"its write-ahead log has lost {lost} commits")
        for line in _quick_check(connection):
            raise errors.damaged(path, line)


def _quick_check(connection: sqlite3.Connection) -> list[str]:
    deadline = time.monotonic() + _LOOK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _LOOK_EVERY_OPERATIONS)
    lines = []
    try:
        for (line,) in connection.execute("PRAGMA quick_check(1)"):
            lines.append(str(line))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
    finally:
        connection.set_progress_handler(None, 0)
    return [line for line in lines if line != "ok"]


@contextlib.contextmanager
def remembered(path: Path) -> Iterator[None]:
    """Mark the file if a `StorageDamaged` is raised inside, so that the next start knows."""
    try:
        yield
    except StorageMoved:
        raise
    except StorageDamaged as error:
        _mark(path, error)
        raise


def _mark(path: Path, error: StorageDamaged) -> None:
    """Store the mark on disk, for later processes; an earlier mark is kept."""
    log.error("database_damaged", error=str(error))
    if _read_mark(path) is None:
        found = Mark(_inode(path), files.timestamp(), str(error))
        files.write_whole(files.sibling(path, _MARK), json.dumps(found._asdict()).encode())


def forget(path: Path) -> None:
    """Remove the mark: another file is in its place, or the file was repaired."""
    files.sibling(path, _MARK).unlink(missing_ok=True)


def set_aside(path: Path, error: StorageDamaged) -> Path:
    """
    Move a file that was found damaged, and its companions, into quarantine.

    Return the directory they are in now. If the process is killed, the next call continues.

    Raises:
        StorageDamaged: The file has no mark; or another is still in quarantine and not
            acknowledged, so that something destroys them one after the other.
        AnotherRecorder: Another process holds it.
    """
    path = resolved(path)
    with lock.locked(path):
        found = _read_mark(path)
        if found is None:
            raise error
        directory = files.sibling(path, f"{QUARANTINE}{found.moment}")
        before = quarantined(path)
        if before not in (None, directory):
            raise StorageDamaged(
                f"{path}: damaged again, before anyone has looked at {before}: check the disk, "
                "then run `jarvis-recorder db acknowledge`, and start again"
            ) from error
        directory.mkdir(mode=0o700, exist_ok=True)
        # The database last: it must not be opened without its log.
        for file in (*files.companions(path), path):
            if file.exists():
                file.rename(directory / file.name)
        files.sync(directory)
        files.sync(path.parent)
        forget(path)
    log.error("database_quarantined", path=str(directory), error=found.error)
    return directory


def quarantined(path: Path) -> Path | None:
    """Return the database's newest quarantine that is not acknowledged, None if there is none."""
    found = path.parent.glob(f"{path.name}{QUARANTINE}*")
    waiting = (each for each in found if each.is_dir() and not (each / _ACKNOWLEDGED).exists())
    return max(waiting, default=None)


@as_owner
def acknowledge(path: Path) -> list[Path]:
    """
    Acknowledge every quarantine, and take a file that was found damaged for repaired.

    Return the quarantines and the file concerned. None of them is removed.

    Raises:
        ConfigurationError: They cannot be looked at or written.
    """
    path = resolved(path)
    seen = []
    with errors.readable_errors(path):
        while (directory := quarantined(path)) is not None:
            files.write_whole(directory / _ACKNOWLEDGED, b"")
            seen.append(directory)
        if _read_mark(path):
            forget(path)
            seen.append(path)
    return seen


def _read_mark(path: Path) -> Mark | None:
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        fields: dict[str, Any] = json.loads(files.sibling(path, _MARK).read_bytes())
        return Mark(**fields)
    return None


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
