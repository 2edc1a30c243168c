"""The files of a database: names, sizes, free disk space and syncs."""

import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jarvis_recorder.errors import NoRoom, StorageMoved, StorageUnavailable
from jarvis_recorder.storage.sqlite import errors

Report = Callable[[str, int, int], None]
"""Receives progress: the current step, how much is done, and the total, 0 if unknown."""

REPLACED: Final = ".replaced-"
"""The part of a replaced database's name between its former name and the time."""
# https://www.sqlite.org/fileformat2.html#the_write_ahead_log
_LOG_HEADER_BYTES: Final = 32
TIMESTAMP_FORMAT: Final = "%Y%m%dT%H%M%S.%fZ"
TIMESTAMP: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
"""The form that `timestamp` writes; names that contain it sort by time."""


def timestamp() -> str:
    """Return the current time in the form for file names."""
    return datetime.now(UTC).strftime(TIMESTAMP_FORMAT)


def sibling(path: Path, suffix: str) -> Path:
    """Return the path of a companion of the file at `path`."""
    return path.with_name(path.name + suffix)


def companions(path: Path) -> tuple[Path, Path]:
    """Return the files SQLite keeps next to a database: the write-ahead log and its index."""
    return sibling(path, "-wal"), sibling(path, "-shm")


def size(path: Path) -> int:
    """Return the size of a file in bytes, 0 if it does not exist."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def require_no_orphan(path: Path) -> None:
    """
    Make sure that there is no log whose database is missing or empty.

    SQLite deletes such a log, even when it only reads.

    Raises:
        StorageMoved: There is one.
    """
    log, _ = companions(path)
    # A log no longer than its header holds no commit.
    if not size(path) and size(log) > _LOG_HEADER_BYTES:
        raise StorageMoved(
            f"{log} is there, and holds what was recorded last, but {path}, which it belongs to, "
            "is not: put that back next to it; or, to begin with a new database, move the log away"
        )


def require_file(path: Path) -> None:
    """
    Make sure that the database file exists.

    Raises:
        StorageUnavailable: It does not; as `StorageMoved` if its log is there.
    """
    with errors.readable_errors(path):
        require_no_orphan(path)
        is_there = path.is_file()
    if not is_there:
        raise StorageUnavailable(
            f"{path}: no such database: `jarvis-recorder run` or `jarvis-recorder db upgrade` "
            "makes it; store.url names another"
        )


def require_room(directory: Path, needed: int, purpose: str) -> None:
    """
    Make sure that `needed` bytes fit into a directory.

    Raises:
        NoRoom: They do not; the message says how many do.
    """
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise NoRoom(
            f"{directory}: {purpose} needs {needed:,} bytes and {free:,} are free: make room"
        )


def write_whole(path: Path, content: bytes) -> None:
    """Create or replace a small file for its owner only; it is on disk when this returns."""
    unfinished = sibling(path, ".unfinished")
    # Left by a killed write, or a link that another user has put there.
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    unfinished.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Sync a file, or the names in a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
