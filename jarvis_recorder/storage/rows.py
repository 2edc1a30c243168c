"""Records as rows, ready to bind."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from sqlalchemy import Table, bindparam
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from jarvis_recorder.storage.tables import cluster_snapshots, compress, conversations, events
from jarvis_recorder.wire.records import (
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


def completed(rows: Sequence[EventRow], recorded_at: int) -> list[Row]:
    """Return events with their `recorded_at`, in a loop without calls: they are nearly all."""
    at = _RECORDED_AT
    return [(*row[:at], recorded_at, *row[at:]) for row in rows]


def _event_row(record: Record | EventRow, recorded_at: int) -> Row:
    row = event_row(record) if isinstance(record, Record) else record
    return completed((row,), recorded_at)[0]


def _turn_row(record: Record, recorded_at: int) -> Row:
    turn = record.body
    assert isinstance(turn, Turn)
    return (
        record.message_id,
        turn.session_id,
        record.timestamp,
        record.stamped,
        turn.role,
        turn.content,
        turn.model,
        turn.tokens_used,
        turn.input_tokens,
        turn.output_tokens,
        None if turn.cost_usd is None else format(turn.cost_usd, "f"),
        json_text(turn.tool_calls),
        json_text(record.extra),
        recorded_at,
    )


def _snapshot_row(record: Record, recorded_at: int) -> Row:
    body = record.body
    assert isinstance(body, Snapshot)
    text = body.snapshot if isinstance(body.snapshot, bytes) else dump(body.snapshot).encode()
    return (
        record.message_id,
        body.cluster,
        record.timestamp,
        record.stamped,
        compress(text),
        len(text),
        json_text(record.extra),
        recorded_at,
    )


class RowShape(NamedTuple):
    """The table for records of one kind, and the columns that `make` fills, in its order."""

    table: Table
    columns: tuple[str, ...]
    make: Callable[[Any, int], Row]


def _columns(table: Table, left_out: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the columns in the table's order, the order in which an INSERT is compiled."""
    return tuple(column.name for column in table.columns if column.name not in ("id", *left_out))


_EVENT_COLUMNS: Final = _columns(events, ("resolved", "resolved_at", "resolved_by"))
_RECORDED_AT: Final = _EVENT_COLUMNS.index("recorded_at")

SHAPES: Final = {
    Kind.EVENT: RowShape(events, _EVENT_COLUMNS, _event_row),
    Kind.TURN: RowShape(conversations, _columns(conversations), _turn_row),
    Kind.SNAPSHOT: RowShape(cluster_snapshots, _columns(cluster_snapshots), _snapshot_row),
}


def insert_statement(shape: RowShape, rows: int) -> str:
    """
    Return SQLite's statement that inserts `rows` rows and skips those already stored.

    With many rows in one statement SQLite works through them without the interpreter; one
    by one, each row would have to win the GIL back from the receiving thread.
    """
    values: dict[str, Any] = {column: bindparam(column) for column in shape.columns}
    statement = insert(shape.table).values([values]).on_conflict_do_nothing()
    one_row = str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))
    # Compiled for thousands of rows it would keep the event loop waiting for half a second.
    places = f"({', '.join('?' * len(shape.columns))})"
    return one_row.replace(places, ", ".join([places] * rows))


def flat(rows: list[Row]) -> Row:
    """Concatenate the parameters of many rows."""
    return tuple(chain.from_iterable(rows))
