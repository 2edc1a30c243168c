"""Records as rows, ready to bind."""

from collections.abc import Callable
from itertools import chain
from typing import Any, Final, NamedTuple

from sqlalchemy import Table, bindparam, column, literal_column, table
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from jarvis_recorder.storage.tables import cluster_snapshots, compress, conversations, events
from jarvis_recorder.wire.records import (
    EVENT_COLUMNS,
    EventRow,
    Record,
    Snapshot,
    Turn,
    event_row,
    json_text,
)
from jarvis_recorder.wire.strict_json import dump
from jarvis_recorder.wire.topics import Kind

Row = tuple[Any, ...]


def _event_row(record: Record | EventRow) -> Row:
    return event_row(record) if isinstance(record, Record) else record


def _turn_row(record: Record) -> Row:
    turn = record.body
    assert isinstance(turn, Turn)
    return (
        record.message_id,
        turn.session_id,
        record.timestamp,
        int(record.stamped),
        turn.role,
        turn.content,
        turn.model,
        turn.tokens_used,
        turn.input_tokens,
        turn.output_tokens,
        None if turn.cost_usd is None else format(turn.cost_usd, "f"),
        json_text(turn.tool_calls),
        json_text(record.extra),
    )


def _snapshot_row(record: Record) -> Row:
    body = record.body
    assert isinstance(body, Snapshot)
    text = body.snapshot if isinstance(body.snapshot, bytes) else dump(body.snapshot).encode()
    return (
        record.message_id,
        body.cluster,
        record.timestamp,
        int(record.stamped),
        compress(text),
        len(text),
        json_text(record.extra),
    )


class RowShape(NamedTuple):
    """
    The table for records of one kind, and the columns that `make` fills, in its order.

    `recorded_at` is none of them: it is the same for all rows of a transaction.
    """

    table: Table
    columns: tuple[str, ...]
    make: Callable[[Any], Row]


def _columns(table: Table) -> tuple[str, ...]:
    return tuple(
        column.name for column in table.columns if column.name not in ("id", "recorded_at")
    )


SHAPES: Final = {
    Kind.EVENT: RowShape(events, EVENT_COLUMNS, _event_row),
    Kind.TURN: RowShape(conversations, _columns(conversations), _turn_row),
    Kind.SNAPSHOT: RowShape(cluster_snapshots, _columns(cluster_snapshots), _snapshot_row),
}


def insert_statement(shape: RowShape, rows: int) -> str:
    """
    Return SQLite's statement that inserts `rows` rows and skips those already stored.

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
