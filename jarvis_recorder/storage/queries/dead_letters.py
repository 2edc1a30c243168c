"""Queries for the index of the dead letters."""

from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Select, func, select

from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.cursors import Beyond, read_cursor
from jarvis_recorder.storage.queries.json_rows import Line, write_page
from jarvis_recorder.storage.queries.reading import Queries, Query, Reading
from jarvis_recorder.storage.tables import dead_letters
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import ListDeadFaults, ListDeadLetters, ReadDeadLetters
from jarvis_recorder.wire.rpc.results import DeadLetterFault, DeadLetterFaults, IndexedDeadLetter
from jarvis_recorder.wire.times import to_datetime

_columns: Final = dead_letters.c
_PLACE: Final = (_columns.timestamp, _columns.id)


def read_dead_letters(reading: Reading, params: ReadDeadLetters) -> bytes:
    """Return a page of dead letters, or their faults, and how far the index is complete."""
    indexed = int(
        reading.connection.execute(select(func.coalesce(func.sum(_columns.copies), 0))).scalar_one()
    )
    extent = {
        "waiting": params.waiting,
        "indexed": indexed,
        "complete": params.waiting == indexed,
    }
    if isinstance(params.asked, ListDeadFaults):
        return _faults(reading, params.asked, extent)
    return _letters(reading, params.asked, extent)


def _letters(reading: Reading, asked: ListDeadLetters, extent: dict[str, Any]) -> bytes:
    newest_first = (
        select(
            _columns.letter, _columns.reason, _columns.error, _columns.fault, _columns.queue,
            _columns.exchange, _columns.routing_key, _columns.received_at, _columns.message_id,
            _columns.size_bytes, _columns.replays, _columns.copies,
            micros(_columns.timestamp), _columns.id,
        )
        .where(*_conditions(asked), *Beyond(read_cursor(asked, int, int)).only(*_PLACE))
        .order_by(_columns.timestamp.desc(), _columns.id.desc())
        .limit(asked.limit + 1)
    )  # fmt: skip
    if asked.fault is not None:
        newest_first = newest_first.where(_columns.fault == asked.fault)
    shape = adapter(IndexedDeadLetter)
    lines = (
        Line(shape.dump_json(IndexedDeadLetter(*row[:-2])), tuple(row[-2:]))
        for row in reading.rows(newest_first)
    )
    return write_page(reading, asked, "letters", lines, more=b"," + to_json(extent)[1:-1])


def _faults(reading: Reading, asked: ListDeadFaults, extent: dict[str, Any]) -> bytes:
    faults = [
        DeadLetterFault(
            reason, queue, fault, int(count), to_datetime(first), to_datetime(last), letter
        )
        for reason, queue, fault, count, first, last, letter in reading.rows(_counted(asked))
    ]
    shown = faults[: asked.limit]
    return adapter(DeadLetterFaults).dump_json(
        DeadLetterFaults(shown, **extent, truncated=len(faults) > len(shown))
    )


def _counted(asked: ListDeadFaults) -> Select[Any]:
    """Select the faults, those with the most letters first, each with the letter indexed last."""
    kind = (_columns.reason, _columns.queue, _columns.fault)
    counted = (
        select(
            *kind,
            func.sum(_columns.copies).label("count"),
            func.min(micros(_columns.timestamp)).label("first_at"),
            func.max(micros(_columns.timestamp)).label("last_at"),
            func.max(_columns.id).label("newest"),
        )
        .where(*_conditions(asked))
        .group_by(*kind)
        .subquery()
    )
    of = counted.c
    return (
        select(of.reason, of.queue, of.fault, of.count, of.first_at, of.last_at, _columns.letter)
        .join(dead_letters, _columns.id == of.newest)
        .order_by(of.count.desc(), of.last_at.desc(), of.newest.desc())
        .limit(asked.limit + 1)
    )


def _conditions(asked: ListDeadFaults | ListDeadLetters) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if asked.reason is not None:
        conditions.append(_columns.reason == asked.reason)
    if asked.queue is not None:
        conditions.append(_columns.queue == asked.queue)
    if asked.since is not None:
        conditions.append(_columns.timestamp >= asked.since)
    if asked.until is not None:
        conditions.append(_columns.timestamp < asked.until)
    return conditions


QUERIES: Final[Queries] = {ReadDeadLetters: Query(read_dead_letters)}
