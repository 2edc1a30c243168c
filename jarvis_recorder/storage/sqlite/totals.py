"""The totals of the database."""

from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Select, Table, func, select

from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.queries.clusters import known_clusters
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.sqlite import files
from jarvis_recorder.storage.tables import cluster_snapshots, conversations, events, preferences
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.results import Extent, Holdings


def holdings(path: Path, reading: Reading, _: Any) -> bytes:
    """Return counts, the oldest and newest times, and the sizes of the files."""
    extent = partial(_extent, reading)
    kept = _only(reading, select(func.count()).select_from(preferences))
    found = Holdings(
        extent(events),
        extent(conversations),
        extent(cluster_snapshots),
        kept,
        files.size(path),
        files.size(files.companions(path)[0]),
        revisions.HEAD,
        known_clusters(reading),
    )
    return adapter(Holdings).dump_json(found)


def _extent(reading: Reading, table: Table) -> Extent:
    # One query each: for min and max together SQLite would read every row, not the index's ends.
    return Extent(
        _only(reading, select(func.count()).select_from(table)),
        _only(reading, select(func.min(table.c.timestamp))),
        _only(reading, select(func.max(table.c.timestamp))),
    )


def _only(reading: Reading, statement: Select[Any]) -> Any:
    reading.go_on()
    return reading.connection.execute(statement).scalar_one()
