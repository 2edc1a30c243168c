"""A backup put in place of the database, which is kept."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from jarvis_recorder.errors import ConfigurationError, StorageDamaged, StorageUnavailable
from jarvis_recorder.runtime.ownership import acting_for, as_owner, resolved
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite import connections, damage, errors, files, lock, upgrade
from jarvis_recorder.storage.sqlite.admin import copy, verify
from jarvis_recorder.storage.sqlite.files import Report
from jarvis_recorder.storage.sqlite.writer import open_writer


class Restored(NamedTuple):
    """What was put in place: the revision it had, and where the database before it is now."""

    revision: str
    kept: Path | None


def restore(path: Path, backup: Path, report: Report) -> Restored:
    """
    Put a copy of a backup in the place of the database, which no recorder may hold.

    The database before it is kept beside it under another name. Killed at any moment, either
    it is still in place or the restored one is; both are whole.

    Raises:
        AnotherRecorder: A recorder holds the database.
        ConfigurationError: The backup is none of the recorder's, or a newer one.
        StorageDamaged: The backup is not sound.
        StorageUnavailable: There is no such backup, or somebody else has the database open.
        NoRoom: It does not fit beside the database.
    """
    about = _about(backup)
    with errors.readable_errors(path), acting_for(path):
        path = resolved(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and os.path.samestat(path.stat(), about):
            raise ConfigurationError(f"{backup} is the database itself: name a backup of it")
        with lock.locked(path):
            return _restore(path, backup, report)


@as_owner
def _about(backup: Path) -> os.stat_result:
    files.require_file(backup)
    return backup.stat()


def _restore(path: Path, backup: Path, report: Report) -> Restored:
    with connections.reading(backup) as connection:
        revision = revisions.current_revision(connection)
    if revision is None or revisions.judge(revision) is revisions.SchemaAge.NOTHING:
        raise ConfigurationError(f"{backup}: holds no tables: name a backup of the recorder's")
    verify.require_sound(backup, verify.RESTORABLE, report)
    new = files.beside(path, ".restoring")
    # Of a restore that was killed.
    copy.discard(new)
    copy.copy(backup, new, report)
    try:
        if revisions.judge(revision) is revisions.SchemaAge.OLDER:
            report("migrating", 0, 0)
            asyncio.run(_migrate(new))
        verify.require_sound(new, verify.RESTORABLE, report)
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
        # The backup itself is the copy that an upgrade makes before it changes something.
        await upgrade.upgrade(writer, path, copy_aside=False)
    # One file again, which can change its name.
    with (
        errors.translated_errors(path),
        contextlib.closing(connections.writable(path)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()


def _keep(path: Path) -> Path | None:
    """
    Give the database, or a log that it has left, a second name; return that, if there is either.

    It is left without a log: one that stayed would be replayed into the file that comes into its
    place.
    """
    kept = files.beside(path, f".replaced-{files.moment()}")
    # One that is corrupt is kept as it is: its log may hold what can still be saved, and would
    # be deleted by whoever opens it to write.
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
