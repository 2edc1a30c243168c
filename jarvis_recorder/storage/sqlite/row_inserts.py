"""Statements that insert many rows at once."""

from itertools import chain
from typing import Any

from sqlalchemy import bindparam, column, literal_column, table
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from jarvis_recorder.storage.rows import Row, RowShape


def insert_statement(shape: RowShape, rows: int) -> str:
    """
    Return the statement that inserts `rows` rows and skips those already stored.

    Its first parameter is the `recorded_at` of all of them; see `flat`. With many rows in one
    statement SQLite works through them without the interpreter; one by one, each row would have
    to win the GIL back from the receiving thread.
    """
    # The columns of a `Table` would be compiled in that one's order.
    table_ = table(shape.table.name, column("recorded_at"), *map(column, shape.columns))
    values: dict[str, Any] = {name: bindparam(name) for name in shape.columns}
    values["recorded_at"] = literal_column("?1")
    statement = insert(table_).values([values]).on_conflict_do_nothing()
    one_row = str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))
    # Compiled for thousands of rows it would keep the event loop waiting for half a second.
    places = f"({', '.join(('?1', *'?' * len(shape.columns)))})"
    return one_row.replace(places, ", ".join([places] * rows))


def flat(recorded_at: int, rows: list[Row]) -> Row:
    """Concatenate the parameters of many rows."""
    return (recorded_at, *chain.from_iterable(rows))
