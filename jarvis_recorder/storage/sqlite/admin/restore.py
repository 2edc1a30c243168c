"""The restore of a backup; the previous database is kept."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final, NamedTuple

from jarvis_recorder.errors import ConfigurationError, StorageDamaged, StorageUnavailable
from jarvis_recorder.runtime.ownership import acting_for, as_owner, resolved
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite import connections, copy, damage, errors, files, lock, upgrade
from jarvis_recorder.storage.sqlite.admin import integrity
from jarvis_recorder.storage.sqlite.files import Report
from jarvis_recorder.storage.sqlite.writer import open_writer

_UNFINISHED: Final = ".restoring"


class Restored(NamedTuple):
    """The revision of the restored backup, and the path of the previous database."""

    revision: str
    kept: Path | None


def restore(path: Path, backup: Path, report: Report) -> Restored:
    """
    Replace the database, which no recorder may hold, by a copy of a backup.

    The previous database is kept next to it under another name. If the process is killed at any
    time, either the previous one is still in place or the restored one is; both are whole.

    Raises:
        AnotherRecorder: A recorder holds the database.
        ConfigurationError: The backup is not a recorder database, or belongs to a newer version; or
            it is the database itself, or what an interrupted restore has left.
        StorageDamaged: The backup is not sound.
        StorageUnavailable: There is no such backup, or another program has the database open.
        NoRoom: It does not fit next to the database.
    """
    about = _about(backup)
    with errors.readable_errors(path), acting_for(path):
        path = resolved(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is(path, about):
            raise ConfigurationError(f"{backup} is the database itself: name a backup of it")
        if _is(files.sibling(path, _UNFINISHED), about):
            raise ConfigurationError(
                f"{backup} is what an interrupted restore has left, and the next one overwrites: "
                "move it to another name, and restore that"
            )
        with lock.locked(path):
            return _restore(path, backup, report)


@as_owner
def _about(backup: Path) -> os.stat_result:
    files.require_file(backup)
    return backup.stat()


def _is(path: Path, about: os.stat_result) -> bool:
    return path.exists() and os.path.samestat(path.stat(), about)


def _restore(path: Path, backup: Path, report: Report) -> Restored:
    with connections.reading(backup) as connection:
        revision = revisions.current_revision(connection)
    if revision is None or revisions.age_of(revision) is revisions.SchemaAge.NOTHING:
        raise ConfigurationError(f"{backup}: holds no tables: name a backup of the recorder's")
    integrity.require_sound(backup, integrity.RESTORABLE, report)
    new = files.sibling(path, _UNFINISHED)
    # Left by a killed restore.
    copy.discard(new)
    copy.copy(backup, new, report)
    try:
        if revisions.age_of(revision) is revisions.SchemaAge.OLDER:
            report("migrating", 0, 0)
            asyncio.run(_migrate(new))
        integrity.require_sound(new, integrity.RESTORABLE, report)
        files.sync(new)
        kept = _keep(path)
        new.rename(path)
    except BaseException:
        copy.discard(new)
        raise
    damage.forget(path)
    files.sync(path.parent)
    return Restored(revision, kept)


async def _migrate(path: Path) -> None:
    async with open_writer(path) as writer:
        # The backup itself serves as the copy that an upgrade otherwise makes.
        await upgrade.upgrade(writer, path, copy_aside=False)
    # Back to a single file, which can be renamed.
    with (
        errors.translated_errors(path),
        contextlib.closing(connections.writable(path)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()


def _keep(path: Path) -> Path | None:
    """
    Link the database, or a log that it has left, to a second name; return that, None for none.

    The log is removed from its old name, where SQLite would replay it into the restored file.
    """
    kept = files.sibling(path, f"{files.REPLACED}{files.timestamp()}")
    # A corrupt one is kept as it is: its log may hold data that can still be saved, and any
    # program that opens it to write would delete the log.
    with contextlib.suppress(StorageDamaged):
        if path.exists():
            damage.look(path)
            _empty_log(path)
    names = []
    for file in (path, *files.companions(path)):
        if file.exists():
            names.append(kept.with_name(kept.name + file.name.removeprefix(path.name)))
            os.link(file, names[-1])
    files.sync(path.parent)
    for file in files.companions(path):
        file.unlink(missing_ok=True)
    return names[0] if names else None


def _empty_log(path: Path) -> None:
    with (
        errors.translated_errors(path),
        contextlib.closing(connections.writable(path)) as connection,
    ):
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StorageUnavailable(
            f"{path}: another program has the database open: end it (`fuser {path}` names it)"
        )
