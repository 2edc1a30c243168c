"""The schema revision of a database, compared with the one this code needs."""

import functools
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, inspect, text

from jarvis_recorder.errors import ConfigurationError

HEAD: Final = "0010"
"""The revision this code works with. A test compares it with the migrations."""

_MIGRATIONS: Final = Path(__file__).parent / "migrations"

REVISIONS: Final = (
    "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", HEAD,
)  # fmt: skip


class SchemaAge(StrEnum):
    """The age of a database's schema, seen from this code."""

    NOTHING = "nothing"
    CURRENT = "current"
    OLDER = "older"


def current_revision(connection: Connection) -> str | None:
    """
    Return the revision a database is at, None for an empty one.

    Raises:
        ConfigurationError: It is not a recorder database, or belongs to the original system.
    """
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
        return None if row is None else str(row[0])
    if not tables:
        return None
    if {"events", "conversations", "preferences"} <= tables:
        raise ConfigurationError(
            "this database belongs to the original system: leave it as it is, set "
            "store.url to a new file, and bring it in with `jarvis-recorder import`"
        )
    raise ConfigurationError(
        "this database holds other tables than the recorder's: set store.url to a new one"
    )


def age_of(revision: str | None) -> SchemaAge:
    """
    Compare a revision with the one this code works with.

    Raises:
        ConfigurationError: It is unknown here, so from a newer version; writing would damage it.
    """
    if revision is None:
        return SchemaAge.NOTHING
    if revision not in REVISIONS:
        raise ConfigurationError(
            f"the database is at revision {revision}, which this version does not know: it was "
            "written by a newer recorder; install that one, or restore the copy it made"
        )
    return SchemaAge.CURRENT if revision == HEAD else SchemaAge.OLDER


def require_current(connection: Connection, where: object) -> None:
    """
    Refuse a database whose tables are not those of this code, before a statement meets them.

    Raises:
        ConfigurationError: Its schema is older, newer, or not there; or see `current_revision`.
    """
    revision = current_revision(connection)
    if age_of(revision) is not SchemaAge.CURRENT:
        raise ConfigurationError(
            f"{where}: its schema is older ({revision or 'no tables'}, and this version needs "
            f"{HEAD}): jarvis-recorder db upgrade"
        )


@functools.cache
def load_migrations() -> Callable[[Connection], None]:
    """
    Return a function that migrates an open database to the newest revision.

    All program files that it needs are read now: once root acts for another user, the process
    may not be able to read them; see `sqlite.lock.locked`.
    """
    # `asyncio.to_thread` imports it at its first use, for the copy.
    import concurrent.futures.thread  # noqa: F401

    # Imported here, so that a start with nothing to migrate does not wait for Alembic.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    migrations = ScriptDirectory(str(_MIGRATIONS))
    migrations.get_revision(HEAD)

    def steps(revision: Any, _: Any) -> Any:
        # Not `alembic.command.upgrade`, which does the same but reads the files again.
        return migrations._upgrade_revs(HEAD, revision)  # noqa: SLF001

    def migrate(connection: Connection) -> None:
        with EnvironmentContext(Config(), migrations, fn=steps) as environment:
            environment.configure(connection=connection, transaction_per_migration=False)
            with environment.begin_transaction():
                environment.run_migrations()

    return migrate
