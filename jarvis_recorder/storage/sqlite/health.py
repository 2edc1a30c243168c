"""The health of the database: its sizes, free disk space, outbox and quarantine."""

import os
from pathlib import Path

from sqlalchemy import Connection, func, select

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.ports import StorageHealth
from jarvis_recorder.storage.sqlite import files
from jarvis_recorder.storage.sqlite.damage import quarantined
from jarvis_recorder.storage.tables import outbox


def storage_health(path: Path, connection: Connection) -> StorageHealth:
    """
    Return the health of the database; called inside a transaction that holds the write lock.

    Nothing is written: this runs every second, and would wear out the disk.

    Raises:
        StorageUnavailable: The file system is mounted read-only, or cannot be read.
    """
    try:
        disk = os.statvfs(path)
        sizes = files.size(path), files.size(files.companions(path)[0])
    except OSError as error:
        raise StorageUnavailable(f"{path}: {error.strerror}") from error
    if disk.f_flag & os.ST_RDONLY:
        raise StorageUnavailable(f"{path}: its file system is mounted read-only")
    waiting = connection.execute(select(func.count()).select_from(outbox)).scalar_one()
    return StorageHealth(waiting, *sizes, disk.f_bavail * disk.f_frsize, quarantined(path))
