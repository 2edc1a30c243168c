"""The move of a database file to a PostgreSQL server."""

import contextlib
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table

from jarvis_recorder.errors import NoCopy, RecordRefused
from jarvis_recorder.retention_policy import DAY
from jarvis_recorder.runtime.ownership import resolved
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.chunks import chunks
from jarvis_recorder.storage.incidents.pruning import FORGOTTEN
from jarvis_recorder.storage.postgres.filling import ABOUT, SAID, Filling, Row
from jarvis_recorder.storage.postgres.partitions import Month
from jarvis_recorder.storage.series import KEY
from jarvis_recorder.storage.sqlite import connections, files, lock
from jarvis_recorder.storage.sqlite.trusted_time import known_good
from jarvis_recorder.storage.tables import (
    cluster_snapshots,
    conversations,
    events,
    incident_actions,
    outbox,
    preferences,
    silences,
    snapshot_measures,
)
from jarvis_recorder.wire.times import EARLIEST, LATEST, to_datetime, to_micros

_NUMBERED: Final = (
    events, conversations, cluster_snapshots, outbox, incident_actions, silences,
)  # fmt: skip

_PRUNED_SIGNALS: Final = (
    "FROM incident_signals s LEFT JOIN incident_conditions c ON c.id = s.condition_id"
    f" WHERE s.condition_id = {FORGOTTEN} OR (s.event_id IS NULL AND c.id IS NOT NULL)"
)

_MOST_MONTHS: Final = 240
# A time of the last day that has no month behind it.
_LAST_MONTH: Final = LATEST - 31 * DAY

Insert = Callable[[list[Row]], Awaitable[None]]
"""Inserts rows in one transaction."""


class Moved(NamedTuple):
    """The server that the rows are on now, and how many there are of each table."""

    server: str
    rows: dict[str, int]


async def copy_to_server(
    source: Path, url: str, report: files.Report, *, by_month: bool = False
) -> Moved:
    """
    Copy all records to a database on a server, ids included, and compare each row afterwards.

    The index of the dead letters is not copied: the next look through their queue makes it. Nor are
    incidents: a recorder makes them again from the events, of what pruned events said, and of what
    people did.
    With `by_month` the events there are partitioned as long as there are none.
    An interrupted copy continues where it was. The file is only read; no recorder may hold it.

    Raises:
        AnotherRecorder: A recorder holds the file.
        ConfigurationError: The file has an older schema; or as `postgres.store.open_store`.
        NoCopy: The database on the server holds other rows, or differs in the end.
        StorageUnavailable, StorageDamaged: One of them cannot be read or written.
    """
    source = resolved(source)
    files.require_file(source)
    with _opened(source) as connection:
        months, good = [*_months(connection)], known_good(connection)
    # Not while root acts for the owner of the file: what libpq reads, and whom the server knows,
    # is root's.
    target = await Filling.open(url, by_month=by_month, months=months, known_good=good)
    try:
        with _opened(source) as connection:
            return Moved(target.name, await _copy_all(connection, target, report))
    finally:
        await target.close()


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[Connection]:
    with lock.locked(source), connections.reading(source) as connection:
        revisions.require_current(connection, source)
        yield connection


async def _copy_all(
    connection: Connection, target: Filling, report: files.Report
) -> dict[str, int]:
    # All before the first row: a recorder there may number rows of any table meanwhile.
    reached = [await _begin(connection, target, table) for table in _NUMBERED]
    # Before the events, which would open again what is over by a signal of a pruned one.
    await _copy_signals(connection, target, report)
    rows = {
        table.name: await _copy(connection, target, table, behind, report)
        for table, behind in zip((*_NUMBERED, preferences), (*reached, ""), strict=True)
    }
    rows[snapshot_measures.name] = await _copy_measures(connection, target, report)
    # One that runs there already may be beyond the events.
    await target.fold_again(_highest(connection, events))
    return rows


async def _begin(connection: Connection, target: Filling, table: Table) -> int:
    highest = _highest(connection, table)
    if table is events:
        await target.fold_again(highest)
    return await target.begin(table, highest)


def _months(connection: Connection) -> Iterator[datetime]:
    """Yield a time of each month that has events, the first ones of very many."""
    begin = EARLIEST
    for _ in range(_MOST_MONTHS):
        (found,) = _one(
            connection,
            "SELECT min(timestamp) FROM events WHERE timestamp >= "
            f"{begin} AND timestamp < {_LAST_MONTH}",
        )
        if found is None:
            return
        yield (moment := to_datetime(found))
        begin = to_micros(Month.of(moment).end)


def _highest(connection: Connection, table: Table) -> int:
    (highest,) = _one(connection, f"SELECT coalesce(max(id), 0) FROM {table.name}")
    return int(highest)


async def _copy(
    connection: Connection, target: Filling, table: Table, reached: object, report: files.Report
) -> int:
    (total,) = _one(connection, f"SELECT count(*) FROM {table.name}")
    done = 0
    for rows in _batches(connection, table, reached):
        await _insert(partial(target.insert, table), table, rows)
        done += len(rows)
        report(f"copying {table.name}", done, total)
    done = 0
    for rows in _batches(connection, table, "" if table is preferences else -(2**63)):
        await target.require_same(table, rows)
        done += len(rows)
        report(f"comparing {table.name}", done, total)
    return done


async def _copy_signals(connection: Connection, target: Filling, report: files.Report) -> None:
    """Copy the signals that no event makes again, with their conditions."""
    (total,) = _one(connection, f"SELECT count(*) {_PRUNED_SIGNALS}")
    columns = ", ".join((*(f"s.{name}" for name in SAID), *(f"c.{name}" for name in ABOUT)))
    found = connections.driver_of(connection).execute(
        f"SELECT {columns} {_PRUNED_SIGNALS} ORDER BY s.id"
    )
    done = 0
    for rows in chunks(found, tuple):
        await target.keep_signals(rows)
        done += len(rows)
        report("copying incident_signals", done, total)


async def _copy_measures(connection: Connection, target: Filling, report: files.Report) -> int:
    """Copy the measures behind their snapshots, as retention deletes those that have none."""
    table = snapshot_measures
    (total,) = _one(connection, f"SELECT count(*) FROM {table.name}")
    insert = partial(target.insert_measures, highest=_highest(connection, cluster_snapshots))
    done = 0
    for rows in _measures(connection):
        await _insert(insert, table, rows)
        done += len(rows)
        report(f"copying {table.name}", done, total)
    done = 0
    for rows in _measures(connection):
        await target.require_measures(rows)
        done += len(rows)
        report(f"comparing {table.name}", done, total)
    return done


def _measures(connection: Connection) -> Iterator[list[Row]]:
    names = ", ".join(column.name for column in snapshot_measures.columns)
    found = connections.driver_of(connection).execute(
        f"SELECT {names} FROM snapshot_measures ORDER BY {', '.join(KEY)}"
    )
    return chunks(found, tuple)


async def _insert(insert: Insert, table: Table, rows: list[Row]) -> None:
    """
    Insert rows; raise as `Filling.insert`, and name the first that no server takes.

    Any program can have written any type of value into the file.
    """
    try:
        await insert(rows)
    except (
        RecordRefused,
        AttributeError,
        TypeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        if len(rows) == 1:
            key = zip(table.primary_key.columns, rows[0], strict=False)
            raise NoCopy(
                f"{table.name}, {', '.join(f'{one.name} {value}' for one, value in key)}: the"
                f" server does not take a value ({error}): change or delete the row, and copy again"
            ) from None
        half = len(rows) // 2
        await _insert(insert, table, rows[:half])
        await _insert(insert, table, rows[half:])


def _batches(connection: Connection, table: Table, reached: Any) -> Iterator[list[Row]]:
    """Return the rows behind a key in its order, in lists that take little memory."""
    names = [column.name for column in table.columns]
    driver = connections.driver_of(connection)
    key = names[0]
    found = driver.execute(
        f"SELECT {', '.join(names)} FROM {table.name} WHERE {key} > ? ORDER BY {key}",
        (reached,),
    )
    return chunks(found, tuple)


def _one(connection: Connection, query: str) -> Row:
    row: Row = connections.driver_of(connection).execute(query).fetchone()
    return row
