"""Database files as files: which belong together, whether there is room, when they are on disk."""

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
"""Is told what is being done, how much of it is done, and how much there is, 0 if unknown."""

MOMENT_FORMAT: Final = "%Y%m%dT%H%M%S.%fZ"
MOMENT: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
"""How `moment` writes one: names that hold it sort by time."""


def moment() -> str:
    """Return the present moment as it is written into names of files."""
    return datetime.now(UTC).strftime(MOMENT_FORMAT)


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to the one at `path`."""
    return path.with_name(path.name + suffix)


def companions(path: Path) -> tuple[Path, Path]:
    """Return what SQLite keeps beside a database: the write-ahead log, and its index."""
    return beside(path, "-wal"), beside(path, "-shm")


def size(path: Path) -> int:
    """Return the size of a file in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def require_file(path: Path) -> None:
    """
    Make sure that there is a database file.

    Raises:
        StorageUnavailable: There is none.
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
    Make sure that so many bytes fit into a directory.

    Raises:
        NoRoom: They do not; says how many do.
    """
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise NoRoom(
            f"{directory}: {purpose} needs {needed:,} bytes and {free:,} are free: make room"
        )


def write_whole(path: Path, text: str) -> None:
    """Replace a small file, or make it, for its owner only; it is on disk when this returns."""
    unfinished = beside(path, ".unfinished")
    # Of a write that was killed, or a link that somebody has put there.
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    unfinished.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file, or the names in a directory, on disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
