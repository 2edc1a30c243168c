"""The SQLite repository: stores each record once."""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog
from sqlalchemy import Connection

from jarvis_recorder.errors import RecordRefused
from jarvis_recorder.ports import Appended, RefusedRecord
from jarvis_recorder.storage.batch import Rows, rows_of
from jarvis_recorder.storage.sqlite.bulk_insert import insert_all
from jarvis_recorder.storage.sqlite.writer import Writer
from jarvis_recorder.storage.turn import Place
from jarvis_recorder.wire.records import EventRow, Record, kind_of
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.topics import Kind

log = structlog.get_logger(__name__)


class SqliteRepository:
    """Implements `ports.Repository` on one SQLite file."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._newest: Place | None = None

    async def append(self, records: Sequence[Record | EventRow], recorded_at: int) -> Appended:
        """Store the records in one transaction; see `ports.Repository`."""
        place = self._newest = Place(self._newest)
        with place.kept():
            return await self._append(records, 0, recorded_at, place)

    async def _append(
        self, records: Sequence[Record | EventRow], first: int, recorded_at: int, place: Place
    ) -> Appended:
        """Store a slice of the batch that begins at the position `first`."""
        parts = await _rows_of(records, recorded_at)
        try:
            stored, collided = await self._writer.grow(partial(_insert, parts=parts), place)
        except RecordRefused as error:
            return await self._append_halves(records, first, recorded_at, error)
        collisions = [_collision(first + position) for position in collided]
        return Appended(stored, len(records) - stored - len(collisions), collisions)

    async def _append_halves(
        self,
        records: Sequence[Record | EventRow],
        first: int,
        recorded_at: int,
        error: RecordRefused,
    ) -> Appended:
        """Find each record that the database refuses by halving, and store the others."""
        if len(records) == 1:
            log.warning("record_refused", error=str(error))
            why = "the database refuses the record"
            return Appended(0, 0, [RefusedRecord(first, Reason.REFUSED_BY_STORAGE, why)])
        middle = len(records) // 2
        left = await self._append(records[:middle], first, recorded_at, Place())
        right = await self._append(records[middle:], first + middle, recorded_at, Place())
        known, refused = await self._judge_again(left.refused, records, first, recorded_at)
        return Appended(
            left.stored + right.stored,
            left.duplicates + known + right.duplicates,
            [*refused, *right.refused],
        )

    async def _judge_again(
        self,
        refused: Sequence[RefusedRecord],
        records: Sequence[Record | EventRow],
        first: int,
        recorded_at: int,
    ) -> tuple[int, list[RefusedRecord]]:
        """
        Try collisions again; return how many are duplicates now, and the records still refused.

        Needed for the result of one transaction: an equal record may have been stored later.
        """
        known = 0
        left: list[RefusedRecord] = []
        for one in refused:
            if one.reason is Reason.ID_COLLISION:
                record = records[one.position - first]
                again = await self._append([record], one.position, recorded_at, Place())
                known += again.duplicates
                left += again.refused
            else:
                left.append(one)
        return known, left


def _insert(connection: Connection, parts: list[Rows]) -> tuple[int, list[int]]:
    """Call `insert_all`, then clear the rows: SQLite's thread keeps its last call alive."""
    try:
        return insert_all(connection, parts)
    finally:
        parts.clear()


async def _rows_of(records: Sequence[Record | EventRow], recorded_at: int) -> list[Rows]:
    """
    Return the records as rows.

    This runs on the event loop: in SQLite's thread each row would have to win the GIL back from
    the receiving side. Not with snapshots: compressing one takes a good part of a second.
    """
    if any(kind_of(record) is Kind.SNAPSHOT for record in records):
        return await asyncio.to_thread(rows_of, records, recorded_at)
    return rows_of(records, recorded_at)


def _collision(index: int) -> RefusedRecord:
    why = "another message is stored under this identity"
    return RefusedRecord(index, Reason.ID_COLLISION, why)
