"""The upgrade of a database file to the newest revision."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.storage.revisions import HEAD, Found, current_revision, judge
from jarvis_recorder.storage.sqlite.errors import translated_errors
from jarvis_recorder.storage.sqlite.writer import Writer

log = structlog.get_logger(__name__)

_MIGRATIONS: Final = Path(__file__).parent.parent / "migrations"


async def upgrade(writer: Writer, path: Path, *, copy_aside: bool = True) -> str | None:
    """
    Bring the database to the newest revision and return the one it had.

    Before an upgrade that changes something the whole database is copied beside it, unless
    the caller has such a copy already.

    Raises:
        ConfigurationError: See `current_revision` and `judge`.
        StorageUnavailable: There is no room for the copy, or the database is locked.
    """
    revision = await writer.run(current_revision)
    found = judge(revision)
    if found is Found.CURRENT:
        return revision
    if found is Found.OLDER and copy_aside:
        with translated_errors(path):
            # Beside the event loop: a large copy takes minutes.
            await asyncio.to_thread(_copy_aside, path, f"{path.name}.before-{HEAD}")
    log.info("database_upgrade_begun", path=str(path), before=revision, now=HEAD)
    await writer.run(_run_migrations)
    log.info("database_upgraded", path=str(path), before=revision, now=HEAD)
    return revision


def _copy_aside(path: Path, name: str) -> None:
    copy = path.with_name(name)
    needed = path.stat().st_size * 2
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StorageUnavailable(
            f"{path}: an upgrade needs {needed} bytes free for a copy and {free} are: make room"
        )
    copy.unlink(missing_ok=True)
    # Made first: SQLite would let others read it until its mode is changed.
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    log.info("database_copied", path=str(copy))


def _run_migrations(connection: Connection) -> None:
    # Imported here: a start that has nothing to migrate need not wait for Alembic.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    command.upgrade(config, HEAD)
