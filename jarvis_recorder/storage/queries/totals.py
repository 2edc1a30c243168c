"""The totals of the database."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Select, Table, func, select

from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.queries.clusters import known_clusters
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.tables import cluster_snapshots, conversations, events, preferences
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.results import Extent, Holdings

Count = Callable[[Reading, Table], int]
"""Returns how many rows a table has."""
Sizes = Callable[[Reading], tuple[int, int]]
"""Returns the bytes of the database and of its write-ahead log."""


def count_rows(reading: Reading, table: Table) -> int:
    """Return how many rows a table has, counted."""
    return int(_only(reading, select(func.count()).select_from(table)))


def holdings(sizes: Sizes, count: Count, reading: Reading, _: Any) -> bytes:
    """Return counts, the oldest and newest times, and the sizes of the database."""

    def extent(table: Table) -> Extent:
        return _extent(reading, table, count(reading, table))

    found = Holdings(
        extent(events),
        extent(conversations),
        extent(cluster_snapshots),
        count_rows(reading, preferences),
        *sizes(reading),
        revisions.HEAD,
        known_clusters(reading),
    )
    return adapter(Holdings).dump_json(found)


def _extent(reading: Reading, table: Table, rows: int) -> Extent:
    # One query each: for min and max together SQLite would read every row, not the index's ends.
    return Extent(
        rows,
        _only(reading, select(func.min(table.c.timestamp))),
        _only(reading, select(func.max(table.c.timestamp))),
    )


def _only(reading: Reading, statement: Select[Any]) -> Any:
    reading.go_on()
    return reading.connection.execute(statement).scalar_one()
