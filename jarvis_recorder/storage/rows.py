"""Records as rows, ready to bind."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy import Table

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
