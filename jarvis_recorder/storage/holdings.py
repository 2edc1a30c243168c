"""What the database holds."""

from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select

from jarvis_recorder.storage import files, schema
from jarvis_recorder.storage.tables import (
    cluster_snapshots,
    conversations,
    events,
    preferences,
)
from jarvis_recorder.wire.answers import Extent, Holdings


def holdings(path: Path, connection: Connection, _: Any) -> Holdings:
    """Return counts, the oldest and newest times, and the sizes of the files."""
    extent = partial(_extent, connection)
    kept = connection.execute(select(func.count()).select_from(preferences)).scalar_one()
    return Holdings(
        extent(events),
        extent(conversations),
        extent(cluster_snapshots),
        kept,
        files.size(path),
        files.size(files.companions(path)[0]),
        schema.HEAD,
    )


def _extent(connection: Connection, table: Table) -> Extent:
    count = connection.execute(select(func.count()).select_from(table)).scalar_one()
    # One by one, or SQLite would read every row for what its index begins and ends with.
    oldest = connection.execute(select(func.min(table.c.timestamp))).scalar_one()
    newest = connection.execute(select(func.max(table.c.timestamp))).scalar_one()
    return Extent(count, oldest, newest)
