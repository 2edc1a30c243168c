"""The files of a database: names, sizes, free disk space and syncs."""

import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jarvis_recorder.errors import NoRoom, StorageUnavailable
from jarvis_recorder.storage.sqlite import errors

Report = Callable[[str, int, int], None]
"""Receives progress: the current step, how much is done, and the total, 0 if unknown."""

REPLACED: Final = ".replaced-"
"""The part of a replaced database's name between its former name and the time."""
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


def require_file(path: Path) -> None:
    """
    Make sure that the database file exists.

    Raises:
        StorageUnavailable: It does not.
    """
    with errors.readable_errors(path):
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
