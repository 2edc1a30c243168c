"""Bulk inserts of many rows in few statements, and the search for collisions among them."""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Connection,
    Executable,
    Integer,
    and_,
    func,
    or_,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.types import NullType

from jarvis_recorder.storage.rows import (
    SHAPES,
    Row,
    RowShape,
    completed,
    flat,
    insert_statement,
)
from jarvis_recorder.storage.same_json import same_json
from jarvis_recorder.storage.sqlite.connections import driver_of
from jarvis_recorder.storage.sqlite.search import add_words
from jarvis_recorder.storage.tables import conversations
from jarvis_recorder.wire.records import EventRow, Record, kind_of
from jarvis_recorder.wire.topics import Kind

# Equal where a number is spelt otherwise; the size follows from a spelling.
_JSON_COLUMNS: Final = frozenset(("details", "tool_calls", "snapshot", "extra"))
_NOT_COMPARED: Final = frozenset(("timestamp", "stamped", "recorded_at", "size_bytes"))

# Rows in one INSERT, largest first: few statements for many rows, and only these to prepare.
# After each statement SQLite's thread has to win the GIL back from the receiving side.
_CHUNKS: Final = (2_000, 500, 100, 20, 1)
_COMPARED_AT_ONCE: Final = 500

_insert: Final = cache(insert_statement)
_Place = tuple[str | None, int | None]


class Rows(NamedTuple):
    """Records of one kind as rows, and their positions among the records of all kinds."""

    shape: RowShape
    positions: Sequence[int]
    rows: list[Row]


def rows_of(records: Sequence[Record | EventRow], recorded_at: int) -> list[Rows]:
    """Return the records as rows, one element for each kind present."""
    if {*map(type, records)} == {tuple}:
        rows = completed(records, recorded_at)
        return [Rows(SHAPES[Kind.EVENT], range(len(rows)), rows)]
    return [
        Rows(shape, positions, [shape.make(record, recorded_at) for record in chosen])
        for shape, positions, chosen in _by_shape(records)
    ]


def _by_shape(
    records: Sequence[Record | EventRow],
) -> Iterator[tuple[RowShape, Sequence[int], Sequence[Record | EventRow]]]:
    kinds = {*map(kind_of, records)}
    for kind in kinds:
        if len(kinds) == 1:
            yield SHAPES[kind], range(len(records)), records
        else:
            positions = [at for at, record in enumerate(records) if kind_of(record) is kind]
            yield SHAPES[kind], positions, [records[at] for at in positions]


def insert_all(connection: Connection, parts: Sequence[Rows]) -> tuple[int, list[int]]:
    """Insert in chunks; return how many rows were new, and the positions of collisions."""
    stored = 0
    collisions: list[int] = []
    for part in parts:
        inserted = _insert_rows(connection, part)
        stored += inserted
        if inserted < len(part.rows):
            collisions += (part.positions[at] for at in _collisions(connection, part))
    return stored, collisions


def newest_id(connection: Connection) -> int:
    """Return the id of the row inserted last."""
    row = driver_of(connection).execute("SELECT last_insert_rowid()").fetchone()
    return int(row[0])


def _insert_rows(connection: Connection, part: Rows) -> int:
    if part.shape.table is conversations:
        content = part.shape.columns.index("content")
        if not all(row[content].isascii() for row in part.rows):
            return _insert_turns(connection, part, content)
    return _insert_many(connection, part.shape, part.rows)


def _insert_turns(connection: Connection, part: Rows, content: int) -> int:
    """Insert turns under ids chosen here, so that the search index gets the same ids."""
    highest = connection.execute(select(func.max(conversations.c.id))).scalar() or 0
    rows = [(number, *row) for number, row in enumerate(part.rows, highest + 1)]
    shape = part.shape._replace(columns=("id", *part.shape.columns))
    inserted = _insert_many(connection, shape, rows)
    add_words(connection, ((row[0], row[content + 1]) for row in rows))
    return inserted


def _insert_many(connection: Connection, shape: RowShape, rows: list[Row]) -> int:
    driver = driver_of(connection)
    inserted = 0
    # 32,766 unless SQLite was built otherwise, and 999 before 3.32.
    most = driver.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(shape.columns)
    for size, chunks in _chunks(rows, most):
        statement = _insert(shape, size)
        inserted += driver.executemany(statement, [flat(chunk) for chunk in chunks]).rowcount
    return inserted


def _chunks(rows: list[Row], most: int) -> Iterator[tuple[int, list[list[Row]]]]:
    """Yield each chunk size up to `most` with all of its chunks, so that each size is one call."""
    start = 0
    for size in _CHUNKS:
        if size > most:
            continue
        end = start + (len(rows) - start) // size * size
        if end > start:
            yield size, [rows[at : at + size] for at in range(start, end, size)]
        start = end


def _collisions(connection: Connection, part: Rows) -> list[int]:
    """
    Return the indexes of the rows whose identity is taken by a row with another content.

    Stored rows are fetched one by one: they may be thousands of times as large.
    """
    shape, _, rows = part
    taken: set[int] = set()
    known: set[int] = set()
    for start in range(0, len(rows), _COMPARED_AT_ONCE):
        asked = range(start, min(start + _COMPARED_AT_ONCE, len(rows)))
        # Thousands of rows may share an identity: each is compared only with those in its place.
        in_place: dict[_Place, list[int]] = {}
        for index in asked:
            for place in _places(shape, rows[index]):
                in_place.setdefault(place, []).append(index)
        for found in connection.execute(_stored_under(shape, [rows[at] for at in asked])):
            for place in _places(shape, found):
                for index in in_place.get(place, ()):
                    taken.add(index)
                    if index not in known and _same(shape, found, rows[index]):
                        known.add(index)
    return sorted(taken - known)


def _places(shape: RowShape, row: Sequence[Any]) -> Iterator[_Place]:
    """Yield the unique keys that a row occupies, as (identity, time) and (identity, None)."""
    identity = row[shape.columns.index("message_id")]
    yield identity, row[shape.columns.index("timestamp")]
    if row[shape.columns.index("stamped")]:
        yield identity, None


def _stored_under(shape: RowShape, rows: Sequence[Row]) -> Executable:
    """Select the rows stored under the identities of others, values unconverted."""
    table = shape.table
    found = [
        tuple(row[shape.columns.index(name)] for name in ("timestamp", "message_id", "stamped"))
        for row in rows
    ]
    keys = [(timestamp, identity) for timestamp, identity, _ in found if identity]
    stamped = [identity for _, identity, is_stamped in found if is_stamped]
    raw = [type_coerce(table.c[name], NullType()) for name in shape.columns]
    time = type_coerce(table.c.timestamp, Integer())
    return select(*raw).where(
        or_(
            tuple_(time, table.c.message_id).in_(keys),
            and_(table.c.stamped, table.c.message_id.in_(stamped)),
        )
    )


def _same(shape: RowShape, stored: Sequence[Any], row: Row) -> bool:
    """Return whether two rows say the same; their times and `stamped` may differ."""
    return all(
        old == new or (name in _JSON_COLUMNS and _same_json(old, new))
        for name, old, new in zip(shape.columns, stored, row, strict=True)
        if name not in _NOT_COMPARED
    )


def _same_json(old: bytes | str | None, new: bytes | str | None) -> bool:
    if old is None or new is None:
        return False
    try:
        return same_json(old, new)
    except ValueError:  # written by another program
        return False
