"""The upgrade of a database file to the newest revision."""

import asyncio
import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite.copy import copy, discard
from jarvis_recorder.storage.sqlite.errors import translated_errors
from jarvis_recorder.storage.sqlite.writer import Writer

log = structlog.get_logger(__name__)

_MIGRATIONS: Final = Path(__file__).parent.parent / "migrations"


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
    await writer.run(load_migrations())
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


@functools.cache
def load_migrations() -> Callable[[Connection], None]:
    """
    Return a function that migrates an open database to the newest revision.

    All program files that it needs are read now: once root acts for another user, the process
    may not be able to read them; see `lock.locked`.
    """
    # Imported here, so that a start with nothing to migrate does not wait for Alembic.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    migrations = ScriptDirectory(str(_MIGRATIONS))
    migrations.get_revision(revisions.HEAD)

    def steps(revision: Any, _: Any) -> Any:
        # Not `alembic.command.upgrade`, which does the same but reads the files again.
        return migrations._upgrade_revs(revisions.HEAD, revision)  # noqa: SLF001

    def migrate(connection: Connection) -> None:
        with EnvironmentContext(Config(), migrations, fn=steps) as environment:
            environment.configure(connection=connection, transaction_per_migration=False)
            with environment.begin_transaction():
                environment.run_migrations()

    return migrate
