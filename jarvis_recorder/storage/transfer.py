"""The move of a database file to a PostgreSQL server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table

from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.runtime.ownership import resolved
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.postgres.filling import Filling, Row
from jarvis_recorder.storage.sqlite import connections, files, lock
from jarvis_recorder.storage.tables import (
    cluster_snapshots,
    conversations,
    events,
    incident_actions,
    outbox,
    preferences,
    silences,
)

_NUMBERED: Final = (
    events, conversations, cluster_snapshots, outbox, incident_actions, silences,
)  # fmt: skip
_AT_ONCE: Final = 1_000
_AT_ONCE_BYTES: Final = 8 * 1024 * 1024

Report = Callable[[str, int, int], None]
"""Receives what is being done, and how much of it."""


class Moved(NamedTuple):
    """The server that the rows are on now, and how many there are of each table."""

    server: str
    rows: dict[str, int]


async def copy_to_server(source: Path, url: str, report: Report) -> Moved:
    """
    Copy all records to a database on a server, ids included, and compare each row afterwards.

    The index of the dead letters is not copied: the next look through their queue makes it. Nor are
    incidents: a recorder makes them anew of the events, and of what people did.
    An interrupted copy continues where it was. The file is only read; no recorder may hold it.

    Raises:
        AnotherRecorder: A recorder holds the file.
        ConfigurationError: The file has an older schema; or as `postgres.store.open_store`.
        NoCopy: The database on the server holds other rows, or differs in the end.
        StorageUnavailable, StorageDamaged: One of them cannot be read or written.
    """
    source = resolved(source)
    files.require_file(source)
    with lock.locked(source), connections.reading(source) as connection:
        if revisions.judge(revisions.current_revision(connection)) is not (
            revisions.SchemaAge.CURRENT
        ):
            raise ConfigurationError(f"{source}: its schema is older: jarvis-recorder db upgrade")
        target = await Filling.open(url)
        try:
            rows = {}
            for table in (*_NUMBERED, preferences):
                rows[table.name] = await _copy(connection, target, table, report)
            return Moved(target.name, rows)
        finally:
            await target.close()


async def _copy(connection: Connection, target: Filling, table: Table, report: Report) -> int:
    reached: object = ""
    if table is not preferences:
        (highest,) = _one(connection, f"SELECT coalesce(max(id), 0) FROM {table.name}")
        reached = await target.begin(table, highest)
    (total,) = _one(connection, f"SELECT count(*) FROM {table.name}")
    done = 0
    for rows in _batches(connection, table, reached):
        await target.insert(table, rows)
        done += len(rows)
        report(f"copying {table.name}", done, total)
    done = 0
    for rows in _batches(connection, table, "" if table is preferences else -(2**63)):
        await target.require_same(table, rows)
        done += len(rows)
        report(f"comparing {table.name}", done, total)
    return done


def _batches(connection: Connection, table: Table, reached: Any) -> Iterator[list[Row]]:
    """Yield the rows behind a key in its order, so many that they take little memory."""
    names = [column.name for column in table.columns]
    driver = connections.driver_of(connection)
    key = names[0]
    found = driver.execute(
        f"SELECT {', '.join(names)} FROM {table.name} WHERE {key} > ? ORDER BY {key}",
        (reached,),
    )
    batch: list[Row] = []
    room = _AT_ONCE_BYTES
    for row in found:
        batch.append(row)
        room -= sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(batch) == _AT_ONCE or room < 0:
            yield batch
            batch, room = [], _AT_ONCE_BYTES
    if batch:
        yield batch


def _one(connection: Connection, query: str) -> Row:
    row: Row = connections.driver_of(connection).execute(query).fetchone()
    return row
