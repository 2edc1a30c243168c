"""
The measures of snapshots in stretches of ten minutes: minimum, sum, maximum and number.

They are added up in the transaction that stores the snapshot. A row a snapshot would take as
much room as the snapshots themselves, and 90 days of it would be read in seconds.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import from_json
from sqlalchemy import (
    BigInteger,
    Connection,
    LargeBinary,
    ScalarSelect,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
)

from jarvis_recorder.storage.expressions import micros, second
from jarvis_recorder.storage.tables import cluster_snapshots, snapshot_measures
from jarvis_recorder.wire.measures import MEASURES, measured

SPAN_SECONDS: Final = 600
_SPAN_MICROS: Final = SPAN_SECONDS * 1_000_000

# Of a larger snapshot no measures are kept: as objects it would take thirty times as much memory.
MOST_BYTES: Final = 4 * 1024 * 1024
_MOST_VALUES: Final = 60_000

KEY: Final = ("cluster", "kind", "name", "start")
NEEDED: Final = ("cluster", "timestamp", "snapshot", "size_bytes")
"""The columns of a snapshot that `values_of` takes, in its order."""
_columns: Final = snapshot_measures.c
_AT_ONCE: Final = 20
# Rows read in one transaction that deletes some of them.
_ROWS_AT_ONCE: Final = 500

Values = tuple[Any, ...]
"""A row to be added: the key, then a value of each measure."""


def start_of(moment: int) -> int:
    """Return the beginning of the stretch that a time in microseconds is in, in seconds."""
    return moment // _SPAN_MICROS * SPAN_SECONDS


def values_of(cluster: str, moment: int, packed: bytes, size_bytes: int) -> list[Values]:
    """Return what a stored snapshot adds; nothing if it is too large, or holds no measures."""
    if size_bytes > MOST_BYTES:
        return []
    content = zlib.decompress(packed, bufsize=size_bytes + 1)
    if sum(map(content.count, (b",", b"[", b"{", b":"))) > _MOST_VALUES:
        return []
    try:
        snapshot = from_json(content)
    except ValueError:  # written by another program
        return []
    start = start_of(moment)
    return [(cluster, one.kind, one.name, start, *one.values) for one in measured(snapshot)]


def _merged(least: str, greatest: str) -> str:
    """Return the part of an upsert that adds the new values to those of the row."""
    parts = []
    for measure in MEASURES:
        for part, both in (("low", least), ("high", greatest)):
            name = f"{measure}_{part}"
            old, new = f"snapshot_measures.{name}", f"excluded.{name}"
            parts.append(f"{name} = coalesce({both}({old}, {new}), {old}, {new})")
        name = f"{measure}_sum"
        old, new = f"snapshot_measures.{name}", f"excluded.{name}"
        parts.append(f"{name} = coalesce({old} + {new}, {old}, {new})")
        name = f"{measure}_count"
        parts.append(f"{name} = snapshot_measures.{name} + excluded.{name}")
    return f" ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {', '.join(parts)}"


_NAMES: Final = (
    *KEY,
    *(f"{one}_{part}" for one in MEASURES for part in ("count", "low", "sum", "high")),
)


def _sqlite_statement() -> str:
    places = [f"?{at}" for at in range(1, len(KEY) + 1)]
    for at in range(len(KEY) + 1, len(KEY) + 1 + len(MEASURES)):
        places += f"?{at} IS NOT NULL", f"?{at}", f"?{at}", f"?{at}"
    # Names of tables and columns are this program's own.
    return (
        f"INSERT INTO snapshot_measures ({', '.join(_NAMES)}) VALUES ({', '.join(places)})"
        + _merged("min", "max")
    )


def _postgres_statement() -> str:
    """The insertion of rows `r`, added up first: an upsert takes each key only once."""
    parts = [f"count({one}), min({one}), sum({one}), max({one})" for one in MEASURES]
    key = ", ".join(KEY)
    return (
        f"INSERT INTO snapshot_measures ({', '.join(_NAMES)})"
        f" SELECT {key}, {', '.join(parts)} FROM r GROUP BY {key} ORDER BY {key}"
        + _merged("least", "greatest")
    )


SQLITE_ADD: Final = _sqlite_statement()
POSTGRES_ADD: Final = _postgres_statement()


Add = Callable[[Connection, Sequence[Values]], None]
"""Adds values to the rows of a database."""


def fill(connection: Connection, add: Add) -> None:
    """Add the measures of all stored snapshots to the empty table, a few snapshots at a time."""
    stored = cluster_snapshots.c
    size = stored.size_bytes
    rows = (
        select(
            stored.id, stored.cluster, micros(stored.timestamp),
            type_coerce(stored.snapshot, LargeBinary), size,
        )
        .where(size <= MOST_BYTES)
        .order_by(stored.id)
        .limit(_AT_ONCE)
    )  # fmt: skip
    reached = connection.execute(select(func.min(stored.id) - 1)).scalar_one()
    while reached is not None:
        found = connection.execute(rows.where(stored.id > reached)).all()
        for row in found:
            add(connection, values_of(*row[1:]))
        reached = found[-1].id if found else None


def add_to_file(connection: Connection, values: Sequence[Values]) -> None:
    """Add values to the rows of a SQLite file."""
    if values:
        connection.exec_driver_sql(SQLITE_ADD, [*values])


class Key(NamedTuple):
    """The key of a row of the measures."""

    cluster: str
    kind: str
    name: str
    start: int


BEGINNING: Final = Key("", "", "", 0)


def forget_some(horizon: int, future: int, connection: Connection, after: Key) -> Key | None:
    """
    Delete the next rows of stretches that no snapshot is left of: before a time, or in the future.

    Times are in microseconds. Return the key that the next step begins after, None at the end. The
    stretches of an object in between are passed over: the key begins with the object, and an index
    of times would cost as much again as the table.
    """
    columns = [_columns[name] for name in KEY]
    key = tuple_(*columns)
    reached = tuple_(*map(literal, after[:-1]), literal(after.start, BigInteger()))
    page = select(*columns).where(key > reached).order_by(*columns).limit(_ROWS_AT_ONCE)
    found = connection.execute(page.limit(1).offset(_ROWS_AT_ONCE - 1)).first()
    last_start, first_ahead = start_of(horizon), start_of(future)
    is_past_or_ahead = or_(_columns.start <= last_start, _columns.start > first_ahead)
    connection.execute(
        # By the keys of the page: for a range of keys PostgreSQL would read the whole table.
        delete(snapshot_measures).where(
            key.in_(page.correlate(None)), is_past_or_ahead, _a_snapshot().is_(None)
        )
    )
    if found is None:
        return None
    last = Key(*found)
    return last if last.start <= last_start else last._replace(start=max(last.start, first_ahead))


def _a_snapshot() -> ScalarSelect[int]:
    """Select a snapshot of a row's stretch: one index lookup for each row, whatever the planner."""
    stored = cluster_snapshots.c
    first, end = (second(_columns.start + seconds) for seconds in (0, SPAN_SECONDS))
    return (
        select(stored.id)
        .where(
            stored.cluster == _columns.cluster, stored.timestamp >= first, stored.timestamp < end
        )
        .order_by(stored.timestamp)
        .limit(1)
        .correlate(snapshot_measures)
        .scalar_subquery()
    )
