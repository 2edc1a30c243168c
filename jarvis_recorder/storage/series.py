"""
The measures of snapshots in stretches of ten minutes: minimum, sum, maximum and number.

They are added up in the transaction that stores the snapshot. A row a snapshot would take as
much room as the snapshots themselves, and 90 days of it would be read in seconds.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import from_json
from sqlalchemy import (
    Connection,
    LargeBinary,
    delete,
    func,
    literal,
    select,
    tuple_,
    type_coerce,
)

from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.tables import Instant, cluster_snapshots, snapshot_measures
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


class Stretch(NamedTuple):
    """A stretch of the measures of a cluster."""

    cluster: str
    start: int


def stretches_of(connection: Connection, ids: Sequence[int]) -> set[Stretch]:
    """Return the stretches that these snapshots are in."""
    stored = cluster_snapshots.c
    rows = connection.execute(
        select(stored.cluster, micros(stored.timestamp)).where(stored.id.in_(ids))
    )
    return {Stretch(cluster, start_of(moment)) for cluster, moment in rows}


def forget(connection: Connection, stretches: Iterable[Stretch]) -> None:
    """Delete the rows of those stretches that no snapshot is left of."""
    empty: dict[str, list[int]] = {}
    for one in sorted(stretches):
        if not _has_snapshot(connection, one):
            empty.setdefault(one.cluster, []).append(one.start)
    for cluster, starts in empty.items():
        # Object by object: the index begins with them, and one of times would cost as much again.
        for kind, name in _objects(connection, cluster):
            connection.execute(
                delete(snapshot_measures).where(
                    _columns.cluster == cluster,
                    _columns.kind == kind,
                    _columns.name == name,
                    _columns.start.in_(starts),
                )
            )


def _has_snapshot(connection: Connection, one: Stretch) -> bool:
    stored = cluster_snapshots.c
    first = literal(one.start * 1_000_000, Instant())
    end = literal((one.start + SPAN_SECONDS) * 1_000_000, Instant())
    found = select(stored.id).where(
        stored.cluster == one.cluster, stored.timestamp >= first, stored.timestamp < end
    )
    return connection.execute(found.limit(1)).first() is not None


def _objects(connection: Connection, cluster: str) -> Iterator[tuple[str, str]]:
    """Yield kind and name of each object of a cluster, each found by one index lookup."""
    name = tuple_(_columns.kind, _columns.name)
    following = (
        select(_columns.kind, _columns.name)
        .where(_columns.cluster == cluster)
        .order_by(_columns.kind, _columns.name)
        .limit(1)
    )
    found = connection.execute(following).first()
    while found is not None:
        yield found.kind, found.name
        beyond = tuple_(literal(found.kind), literal(found.name))
        found = connection.execute(following.where(name > beyond)).first()
