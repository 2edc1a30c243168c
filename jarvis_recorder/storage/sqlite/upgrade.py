"""The upgrade of a database file to the newest revision."""

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import Final

import structlog

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite.copy import copy, discard
from jarvis_recorder.storage.sqlite.errors import translated_errors
from jarvis_recorder.storage.sqlite.files import sibling
from jarvis_recorder.storage.sqlite.writer import SqliteWriter

log = structlog.get_logger(__name__)

COPY: Final = ".before-"
"""The part of a copy's name between those of the database and of the new revision."""


async def upgrade(writer: SqliteWriter, path: Path, *, copy_aside: bool = True) -> str | None:
    """
    Bring the database to the newest revision and return the one it had.

    Before a database with an older schema is migrated, it is copied to a file next to it,
    unless `copy_aside` is False since the caller has a copy. Afterwards this copy is the only
    one: those of earlier upgrades are removed.

    Raises:
        ConfigurationError: See `current_revision` and `age_of`.
        StorageUnavailable: There is no space for the copy, or the database is locked.
    """
    revision = await writer.run(revisions.current_revision)
    found = revisions.age_of(revision)
    if found is revisions.SchemaAge.CURRENT:
        return revision
    if found is revisions.SchemaAge.OLDER and copy_aside:
        with translated_errors(path):
            # The log of an interrupted upgrade takes as much room as the new one will.
            await writer.empty_log(wait=True)
            # Off the event loop: a large copy takes minutes.
            await asyncio.to_thread(_copy_aside, path)
    log.info("database_upgrade_begun", path=str(path), before=revision, now=revisions.HEAD)
    # Off the event loop: Alembic alone takes a tenth of a second.
    await writer.run(await asyncio.to_thread(revisions.load_migrations))
    log.info("database_upgraded", path=str(path), before=revision, now=revisions.HEAD)
    if found is revisions.SchemaAge.OLDER and copy_aside:
        await asyncio.to_thread(_discard_older_copies, path)
    return revision


def _copy_aside(path: Path) -> None:
    aside = _aside(path, revisions.HEAD)
    # Left by an interrupted upgrade: the database is still as it was when this was copied.
    discard(aside)
    needed = path.stat().st_size * 2
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StorageUnavailable(
            f"{path}: an upgrade needs {needed:,} bytes free, for a copy and for the changes, and "
            f"{free:,} are: make room"
        )
    copy(path, aside, lambda *_: None)
    log.info("database_copied", path=str(aside))


def _discard_older_copies(path: Path) -> None:
    for revision in revisions.REVISIONS[: revisions.REVISIONS.index(revisions.HEAD)]:
        aside = _aside(path, revision)
        # What cannot be removed is named by the doctor; the upgrade is done.
        with contextlib.suppress(OSError):
            if aside.exists():
                discard(aside)
                log.info("older_copy_removed", path=str(aside))


def _aside(path: Path, revision: str) -> Path:
    """Return the path of the copy that is made before the upgrade to a revision."""
    return sibling(path, f"{COPY}{revision}")
