"""The figures of a table that `db stats` shows, whatever the engine."""

from datetime import datetime
from typing import NamedTuple


class TableStats(NamedTuple):
    """A table's rows, its bytes including indexes, and its oldest and newest times."""

    name: str
    rows: int
    size_bytes: int
    oldest: datetime | None
    newest: datetime | None
