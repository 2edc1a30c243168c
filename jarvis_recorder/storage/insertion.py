"""Many rows in few statements, and what of them was there already."""

import asyncio
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

import aiosqlite
from sqlalchemy import Executable, Integer, and_, or_, select, tuple_, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import NullType

from jarvis_recorder.storage.rows import Row, RowShape, flat, insert_statement
from jarvis_recorder.storage.tables import cluster_snapshots, decompress
from jarvis_recorder.wire.records import Record

# Rows in one INSERT, largest first: few statements for many rows, none compiled for each count.
_CHUNKS: Final = (500, 100, 20, 1)

_insert = cache(insert_statement)


async def insert_all(
    connection: AsyncConnection, shape: RowShape, records: Sequence[Record], recorded_at: int
) -> tuple[int, list[int]]:
    """Insert in chunks; return how many rows were new, and the positions of collisions."""
    rows = await _rows(shape, records, recorded_at)
    stored = 0
    # Straight to the driver: through SQLAlchemy each INSERT is three calls to SQLite's thread,
    # and under load each of them waits for its turn of the event loop.
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, aiosqlite.Connection)
    for size, chunks in _chunks(rows):
        cursor = await driver.executemany(_insert(shape, size), [flat(chunk) for chunk in chunks])
        stored += cursor.rowcount
    if stored == len(rows):
        return stored, []
    return stored, await _collisions(connection, shape, records, rows)


async def _rows(shape: RowShape, records: Sequence[Record], recorded_at: int) -> list[Row]:
    def make() -> list[Row]:
        return [shape.make(record, recorded_at) for record in records]

    # Compressing a large snapshot takes a good part of a second, in which others want a turn.
    return await asyncio.to_thread(make) if shape.table is cluster_snapshots else make()


def _chunks(rows: list[Row]) -> Iterator[tuple[int, list[list[Row]]]]:
    """Yield the rows in chunks of one size after the other, so that each size is one call."""
    start = 0
    for size in _CHUNKS:
        end = start + (len(rows) - start) // size * size
        if end > start:
            yield size, [rows[at : at + size] for at in range(start, end, size)]
        start = end


async def _collisions(
    connection: AsyncConnection, shape: RowShape, records: Sequence[Record], rows: list[Row]
) -> list[int]:
    """Return the positions of those whose identity is taken by a row with another content."""
    stored: dict[str | None, list[Row]] = {}
    for start in range(0, len(records), _CHUNKS[0]):
        lookup = _stored_under(shape, records[start : start + _CHUNKS[0]])
        for found in (await connection.execute(lookup)).all():
            stored.setdefault(found[0], []).append(tuple(found))
    return [
        position
        for position, (record, row) in enumerate(zip(records, rows, strict=True))
        if _is_taken(shape, stored.get(record.message_id, []), record, row)
    ]


def _is_taken(shape: RowShape, stored: list[Row], record: Record, row: Row) -> bool:
    """Whether the record's place is held by rows of which none says the same."""
    timestamp_at = shape.columns.index("timestamp")
    stamped_at = shape.columns.index("stamped")
    in_its_place = [
        found
        for found in stored
        if found[timestamp_at] == record.timestamp or (record.stamped and found[stamped_at])
    ]
    return bool(in_its_place) and not any(_same(shape, found, row) for found in in_its_place)


def _stored_under(shape: RowShape, records: Sequence[Record]) -> Executable:
    """Select the rows that stand under the records' identities, raw."""
    table = shape.table
    keys = [(record.timestamp, record.message_id) for record in records if record.message_id]
    stamped = [record.message_id for record in records if record.stamped]
    raw = [type_coerce(table.c[name], NullType()) for name in shape.columns]
    time = type_coerce(table.c.timestamp, Integer())
    return select(*raw).where(
        or_(
            tuple_(time, table.c.message_id).in_(keys),
            and_(table.c.stamped, table.c.message_id.in_(stamped)),
        )
    )


def _same(shape: RowShape, stored: Row, row: Row) -> bool:
    """Whether two rows say the same; when it was recorded, and which time was stamped, aside."""
    return all(
        _plain(old) == _plain(new)
        for name, old, new in zip(shape.columns, stored, row, strict=True)
        if name not in ("timestamp", "stamped", "recorded_at")
    )


def _plain(value: Any) -> Any:
    return decompress(value) if isinstance(value, bytes) else value
