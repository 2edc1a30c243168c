"""The upgrade of a database file to the newest revision."""

import asyncio
import shutil
from pathlib import Path

import structlog

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite.copy import copy, discard
from jarvis_recorder.storage.sqlite.errors import translated_errors
from jarvis_recorder.storage.sqlite.writer import Writer

log = structlog.get_logger(__name__)


async def upgrade(writer: Writer, path: Path, *, copy_aside: bool = True) -> str | None:
    """
    Bring the database to the newest revision and return the one it had.

    Before a database with an older schema is migrated, it is copied to a file next to it,
    unless `copy_aside` is False since the caller has a copy.

    Raises:
        ConfigurationError: See `current_revision` and `judge`.
        StorageUnavailable: There is no space for the copy, or the database is locked.
    """
    revision = await writer.run(revisions.current_revision)
    found = revisions.judge(revision)
    if found is revisions.SchemaAge.CURRENT:
        return revision
    if found is revisions.SchemaAge.OLDER and copy_aside:
        with translated_errors(path):
            # Off the event loop: a large copy takes minutes.
            await asyncio.to_thread(_copy_aside, path, f"{path.name}.before-{revisions.HEAD}")
    log.info("database_upgrade_begun", path=str(path), before=revision, now=revisions.HEAD)
    # Off the event loop: Alembic alone takes a tenth of a second.
    await writer.run(await asyncio.to_thread(revisions.load_migrations))
    log.info("database_upgraded", path=str(path), before=revision, now=revisions.HEAD)
    return revision


def _copy_aside(path: Path, name: str) -> None:
    aside = path.with_name(name)
    needed = path.stat().st_size * 2
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StorageUnavailable(
            f"{path}: an upgrade needs {needed} bytes free for a copy and {free} are: make room"
        )
    discard(aside)
    copy(path, aside, lambda *_: None)
    log.info("database_copied", path=str(aside))
