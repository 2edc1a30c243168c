"""The creation, upgrade and vacuum of a database file that no recorder holds."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.runtime.ownership import resolved
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite import connections, errors, files, lock
from jarvis_recorder.storage.sqlite.files import Report
from jarvis_recorder.storage.sqlite.upgrade import upgrade
from jarvis_recorder.storage.sqlite.writer import open_writer


class Vacuumed(NamedTuple):
    """The size of the file and its log before, and of the file after."""

    before_bytes: int
    after_bytes: int


async def make_or_upgrade(path: Path) -> str | None:
    """
    Create or migrate the file, which no recorder may hold, and return the revision it had.

    Raises:
        AnotherRecorder: Another process holds it.
        ConfigurationError: It is not a recorder database, or belongs to a newer version.
        StorageUnavailable: It is locked, or there is no room for the copy.
    """
    with errors.readable_errors(path):
        path = lock.create_file(path)
    with lock.locked(path):
        async with open_writer(path) as writer:
            return await upgrade(writer, path)


def vacuum(path: Path, report: Report) -> Vacuumed:
    """
    Rewrite the file without its free pages; no recorder may hold it.

    If the process is killed, the database is as it was before.

    Raises:
        AnotherRecorder: Another process holds it.
        ConfigurationError: It is not a recorder database, or belongs to a newer version.
        NoRoom: There is less than twice the database's size free.
        StorageUnavailable, StorageDamaged: It cannot be read or written.
    """
    files.require_file(path)
    path = resolved(path)
    with lock.locked(path):
        with connections.reading(path) as connection:
            revisions.age_of(revisions.current_revision(connection))
            room = connections.page_counts(connection)
        # Once in SQLite's temporary file, then in the write-ahead log.
        files.require_room(path.parent, 2 * room.used_bytes, "vacuuming")
        before = files.size(path) + files.size(files.companions(path)[0])
        report("vacuuming", 0, 0)
        with errors.translated_errors(path), _temporary_files_in(path.parent):
            _vacuum(path)
        return Vacuumed(before, files.size(path))


def _vacuum(path: Path) -> None:
    with contextlib.closing(connections.writable(path)) as connection:
        connection.execute("VACUUM")
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StorageUnavailable(
            f"{path}: vacuumed, but another program reads it, so that it is not smaller yet"
        )


@contextlib.contextmanager
def _temporary_files_in(directory: Path) -> Iterator[None]:
    """Put SQLite's temporary files where the space was checked: /tmp may be small, or memory."""
    before = os.environ.get("SQLITE_TMPDIR")
    os.environ["SQLITE_TMPDIR"] = str(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SQLITE_TMPDIR"]
        else:
            os.environ["SQLITE_TMPDIR"] = before
