"""The schema revision of a database, compared with the one this code needs."""

from enum import StrEnum
from typing import Final

import structlog
from sqlalchemy import Connection, inspect, text

from jarvis_recorder.errors import ConfigurationError

log = structlog.get_logger(__name__)

HEAD: Final = "0005"
"""The revision this code works with. A test compares it with the migrations."""

REVISIONS: Final = ("0001", "0002", "0003", "0004", HEAD)


class SchemaAge(StrEnum):
    """The age of a database's schema, seen from this code."""

    NOTHING = "nothing"
    CURRENT = "current"
    OLDER = "older"


def current_revision(connection: Connection) -> str | None:
    """
    Return the revision a database is at, None for an empty one.

    Raises:
        ConfigurationError: It is not a recorder database, or belongs to the legacy system.
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


def judge(revision: str | None) -> SchemaAge:
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
