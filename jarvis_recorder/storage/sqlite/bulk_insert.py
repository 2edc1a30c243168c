"""Bulk inserts of many rows in few statements, and the search for collisions among them."""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from operator import itemgetter
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Integer,
    Table,
    and_,
    func,
    or_,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.types import NullType

from jarvis_recorder.storage import series
from jarvis_recorder.storage.batch import COMPARED_AT_ONCE, Rows, compare, slices
from jarvis_recorder.storage.rows import Row, RowShape
from jarvis_recorder.storage.sqlite.connections import driver_of
from jarvis_recorder.storage.sqlite.row_inserts import flat, insert_statement
from jarvis_recorder.storage.sqlite.search import add_words
from jarvis_recorder.storage.tables import cluster_snapshots, conversations

# Python's module binds None ten times as slowly as a number, as it first looks for an adapter.
_SELDOM_FILLED: Final = frozenset(("cluster", "extra"))

# Rows in one INSERT, largest first: few statements for many rows, and only these to prepare.
# After each statement SQLite's thread has to win the GIL back from the receiving side.
_CHUNKS: Final = (2_000, 500, 100, 20, 1)

# Time and identity, and identity once more where the message named no time.
_VARIABLES_OF_A_PLACE: Final = 3

_insert: Final = cache(insert_statement)


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


def newest_id(connection: Connection, _: Table) -> int:
    """Return the id of the row inserted last."""
    row = driver_of(connection).execute("SELECT last_insert_rowid()").fetchone()
    return int(row[0])


def is_stamped_as(table: Table, identity: str) -> ColumnElement[bool]:
    """Return the condition for the row that is stored under an identity without a time."""
    return and_(table.c.message_id == identity, table.c.stamped)


def _insert_rows(connection: Connection, part: Rows) -> int:
    if part.shape.table is cluster_snapshots:
        return _insert_snapshots(connection, part)
    if part.shape.table is conversations:
        content = part.shape.columns.index("content")
        if not all(row[content].isascii() for row in part.rows):
            return _insert_turns(connection, part, content)
    return _insert_many(connection, part)


def _insert_snapshots(connection: Connection, part: Rows) -> int:
    """Insert snapshots one by one, and add the measures of each one that is new."""
    at = [part.shape.columns.index(name) for name in series.NEEDED]
    inserted = 0
    for row in part.rows:
        if _insert_many(connection, part._replace(rows=[row])):
            series.add_to_file(connection, series.values_of(*(row[place] for place in at)))
            inserted += 1
    return inserted


def _insert_turns(connection: Connection, part: Rows, content: int) -> int:
    """Insert turns under ids chosen here, so that the search index gets the same ids."""
    highest = connection.execute(select(func.max(conversations.c.id))).scalar() or 0
    rows = [(number, *row) for number, row in enumerate(part.rows, highest + 1)]
    shape = part.shape._replace(columns=("id", *part.shape.columns))
    inserted = _insert_many(connection, part._replace(shape=shape, rows=rows))
    add_words(connection, ((row[0], row[content + 1]) for row in rows))
    return inserted


def _insert_many(connection: Connection, part: Rows) -> int:
    driver = driver_of(connection)
    shape, _, rows, recorded_at = _without_empty_columns(part)
    inserted = 0
    most = (_most_variables(connection) - 1) // len(shape.columns)
    for size, chunks in _chunks(rows, most):
        statement = _insert(shape, size)
        bound = [flat(recorded_at, chunk) for chunk in chunks]
        inserted += driver.executemany(statement, bound).rowcount
    return inserted


def _most_variables(connection: Connection) -> int:
    """Return 32,766 unless SQLite was built otherwise, and 999 before 3.32."""
    return driver_of(connection).getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)


def _without_empty_columns(part: Rows) -> Rows:
    """Leave out the last columns as far as they are seldom filled, and empty in all rows."""
    columns, rows = part.shape.columns, part.rows
    kept = len(columns)
    while columns[kept - 1] in _SELDOM_FILLED:
        if [*map(itemgetter(kept - 1), rows)].count(None) < len(rows):
            break
        kept -= 1
    if kept == len(columns):
        return part
    shape = part.shape._replace(columns=columns[:kept])
    return part._replace(shape=shape, rows=[row[:kept] for row in rows])


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
    """Return the indexes of the rows whose identity is taken by a row with another content."""
    taken: list[int] = []
    most = min(COMPARED_AT_ONCE, _most_variables(connection) // _VARIABLES_OF_A_PLACE)
    for asked in slices(part.rows, most):
        found = connection.execute(_stored_under(part.shape, [part.rows[at] for at in asked]))
        taken += compare(part.shape, part.rows, asked, found).taken
    return taken


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
