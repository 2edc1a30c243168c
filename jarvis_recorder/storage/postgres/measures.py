"""The measures of snapshots as the arrays of one statement."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection

from jarvis_recorder.storage.postgres.arrays import Array, array
from jarvis_recorder.storage.series import KEY, POSTGRES_ADD, Values
from jarvis_recorder.wire.measures import MEASURES

_KINDS: Final = ("text", "text", "text", "int8", *("float8" for _ in MEASURES))
NAMES: Final = ", ".join((*KEY, *MEASURES))
MARKS: Final = ", ".join(f"%b::{kind}[]" for kind in _KINDS)
# The names are this program's own.
ADD: Final = f"WITH r AS (SELECT * FROM unnest({MARKS}) AS m ({NAMES})) {POSTGRES_ADD}"


def arrays_of(values: Sequence[Values]) -> list[Array]:
    """Return the values as an array for each of `NAMES`."""
    columns: list[Sequence[Any]] = [*zip(*values, strict=True)] or [()] * len(_KINDS)
    return [array(kind, column) for kind, column in zip(_KINDS, columns, strict=True)]


def add_to_server(connection: Connection, values: Sequence[Values]) -> None:
    """Add values to the rows of a database on a server."""
    if values:
        connection.exec_driver_sql(ADD, tuple(arrays_of(values)))
