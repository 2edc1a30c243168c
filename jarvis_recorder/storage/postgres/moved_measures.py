"""The measures of another database, put among those that a recorder adds meanwhile."""

import operator
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

import psycopg

from jarvis_recorder.storage import series
from jarvis_recorder.storage.postgres import measures
from jarvis_recorder.storage.postgres.arrays import Array, array
from jarvis_recorder.storage.tables import snapshot_measures

Row = tuple[Any, ...]
Connection = psycopg.AsyncConnection[Any]

_KEY_LENGTH: Final = len(series.KEY)
_NAMES: Final = tuple(column.name for column in snapshot_measures.columns)
_VALUES: Final = _NAMES[_KEY_LENGTH:]
_COUNTS: Final = range(_KEY_LENGTH, len(_NAMES), 4)
"""The places of the counts in a row, each before its minimum, sum and maximum."""
_KINDS: Final = (
    *("text", "text", "text", "int8"),
    *("int8" if name.endswith("_count") else "float8" for name in _VALUES),
)
_KEY: Final = ", ".join(series.KEY)
# Names of tables and columns are this program's own.
_PUT: Final = (
    f"INSERT INTO snapshot_measures ({', '.join(_NAMES)}) SELECT * FROM"
    f" unnest({', '.join(f'%b::{kind}[]' for kind in _KINDS)}) AS r ON CONFLICT ({_KEY}) DO "
)
_INSERT: Final = f"{_PUT} NOTHING"
_REPLACE: Final = f"{_PUT} UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in _VALUES)
_READ: Final = (
    f"SELECT {', '.join(f'm.{name}' for name in _NAMES)} FROM unnest(%b::text[], %b::text[],"
    f" %b::text[], %b::int8[]) AS k ({_KEY}) JOIN snapshot_measures m USING ({_KEY})"
)
_SNAPSHOTS: Final = (
    "SELECT s.cluster, (extract(epoch FROM s.timestamp) * 1000000)::int8, s.snapshot, s.size_bytes"
    " FROM (SELECT DISTINCT * FROM unnest(%b::text[], %b::int8[])) AS k (cluster, start)"
    " JOIN cluster_snapshots s ON s.cluster = k.cluster AND s.timestamp >= to_timestamp(k.start)"
    f" AND s.timestamp < to_timestamp(k.start + {series.SPAN_SECONDS})"
    f" WHERE s.id > %s AND s.size_bytes <= {series.MOST_BYTES}"
)
_SNAPSHOTS_AT_ONCE: Final = 20


async def insert(server: Connection, rows: Sequence[Row], highest: int) -> None:
    """Insert rows inside a transaction; see `Filling.insert_measures`."""
    # No recorder adds to a row meanwhile, which would be in another order than this.
    await server.execute("LOCK TABLE snapshot_measures IN SHARE ROW EXCLUSIVE MODE")
    await server.execute(_INSERT, _arrays_of(rows))
    stored = await _stored(server, rows)
    given = {_key_of(row): row for row in rows}
    other = {key: row for key, row in given.items() if stored[key] != row}
    if other:
        await _complete(server, other, stored, highest)


async def first_lost(server: Connection, rows: Sequence[Row]) -> Row | None:
    """Return the key of the first row that is not stored with all its values, None if all are."""
    stored = await _stored(server, rows)
    lost = (_key_of(row) for row in rows if not _holds(stored.get(_key_of(row)), row))
    return next(lost, None)


async def _complete(
    server: Connection, rows: Mapping[Row, Row], stored: Mapping[Row, Row], highest: int
) -> None:
    """Replace the rows, by key, whose stored ones lack some of what they and the server's own count."""
    due = {key: _counts(row) for key, row in rows.items()}
    async for values in _own_values(server, due, highest):
        counts = due[_key_of(values)]
        for place, value in enumerate(values[_KEY_LENGTH:]):
            counts[place] += value is not None
    # One that counts as many is whole, even if retention has deleted snapshots of it since.
    lacking = {
        key: row
        for key, row in rows.items()
        if any(map(operator.lt, _counts(stored[key]), due[key]))
    }
    if lacking:
        await server.execute(_REPLACE, _arrays_of([*lacking.values()]))
        async for values in _own_values(server, lacking, highest):
            await server.execute(measures.ADD, measures.arrays_of([values]))


async def _own_values(
    server: Connection, keys: Collection[Row], highest: int
) -> AsyncIterator[series.Values]:
    """Yield what each snapshot beyond this id adds to the rows of these keys."""
    clusters = array("text", [cluster for cluster, *_ in keys])
    starts = array("int8", [start for *_, start in keys])
    async with server.cursor("own_snapshots", binary=True) as cursor:
        cursor.itersize = _SNAPSHOTS_AT_ONCE
        async for row in await cursor.execute(_SNAPSHOTS, (clusters, starts, highest)):
            for values in series.values_of(*row):
                if _key_of(values) in keys:
                    yield values


async def _stored(server: Connection, rows: Sequence[Row]) -> dict[Row, Row]:
    keys = zip(*map(_key_of, rows), strict=True)
    asked = [array(kind, key) for kind, key in zip(_KINDS, keys, strict=False)]
    async with server.cursor(binary=True) as cursor:
        await cursor.execute(_READ, asked)
        return {_key_of(row): row for row in await cursor.fetchall()}


def _key_of(row: Row) -> Row:
    """Return the key of a row, or of values to be added to one."""
    return row[:_KEY_LENGTH]


def _counts(row: Row) -> list[int]:
    return [row[at] for at in _COUNTS]


def _arrays_of(rows: Sequence[Row]) -> list[Array]:
    columns = zip(*rows, strict=True)
    return [array(kind, column) for kind, column in zip(_KINDS, columns, strict=True)]


def _holds(stored: Row | None, row: Row) -> bool:
    """Return whether the stored row has the values of the other one, and maybe more."""
    if stored is None:
        return False
    for at in _COUNTS:
        count, low, _, high = row[at : at + 4]
        if stored[at : at + 4] == row[at : at + 4]:
            continue
        if stored[at] <= count or (count and not stored[at + 1] <= low <= high <= stored[at + 3]):
            return False
    return True
