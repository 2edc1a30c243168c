"""The schema of a database file: which it has, and how it gets the newest."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Connection, inspect, text

from jarvis_recorder.errors import ConfigurationError, StorageUnavailable
from jarvis_recorder.storage.sqlite.connections import translated_errors
from jarvis_recorder.storage.sqlite.writer import Writer

log = structlog.get_logger(__name__)

HEAD: Final = "0005"
"""The revision this code works with. A test holds it against the migrations."""

REVISIONS: Final = ("0001", "0002", "0003", "0004", HEAD)
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


class Found(StrEnum):
    """What a database file holds."""

    NOTHING = "nothing"
    CURRENT = "current"
    OLDER = "older"


def current_revision(connection: Connection) -> str | None:
    """
    Return the revision a database is at, None for an empty one.

    Raises:
        ConfigurationError: It is not the recorder's, or of the system before the recorder.
    """
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
        return None if row is None else str(row[0])
    if not tables:
        return None
    if {"events", "conversations", "preferences"} <= tables:
        raise ConfigurationError(
            "this database belongs to the system before the recorder: leave it as it is, set "
            "store.url to a new file, and bring it in with `jarvis-recorder import`"
        )
    raise ConfigurationError(
        "this database holds other tables than the recorder's: set store.url to a new file"
    )


def judge(revision: str | None) -> Found:
    """
    Return how a revision stands to this code.

    Raises:
        ConfigurationError: It is newer than this code, which could only damage it.
    """
    if revision is None:
        return Found.NOTHING
    if revision not in REVISIONS:
        raise ConfigurationError(
            f"the database is at revision {revision}, which this version does not know: it was "
            "written by a newer recorder; install that one, or restore the copy it made"
        )
    return Found.CURRENT if revision == HEAD else Found.OLDER


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
