"""The repository: records in, each stored once."""

import asyncio
from collections.abc import Iterator, Sequence

import structlog

from jarvis_recorder.errors import RecordRefused
from jarvis_recorder.ports import Appended, RefusedRecord
from jarvis_recorder.storage.insertion import insert_all
from jarvis_recorder.storage.rows import SHAPES, RowShape
from jarvis_recorder.storage.writer import Writer
from jarvis_recorder.wire.records import Record
from jarvis_recorder.wire.refusal import Reason

log = structlog.get_logger(__name__)


class SqliteRepository:
    """Implements `ports.Repository` on one SQLite file."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def append(self, records: Sequence[Record], recorded_at: int) -> Appended:
        """Store the records in one transaction; see `ports.Repository`."""
        # A cancelled await would not stop SQLite's thread, only lose the answer.
        return await asyncio.shield(self._append(records, 0, recorded_at))

    async def _append(self, records: Sequence[Record], first: int, recorded_at: int) -> Appended:
        """Store records whose indexes begin at `first`."""
        stored = 0
        collisions: list[RefusedRecord] = []
        try:
            async with self._writer.transaction() as connection:
                for shape, positions in _by_shape(records):
                    inserted, collided = await insert_all(
                        connection, shape, [records[at] for at in positions], recorded_at
                    )
                    stored += inserted
                    collisions += (_collision(first + positions[at]) for at in collided)
        except RecordRefused as error:
            return await self._append_halves(records, first, recorded_at, error)
        return Appended(stored, len(records) - stored - len(collisions), collisions)

    async def _append_halves(
        self, records: Sequence[Record], first: int, recorded_at: int, error: RecordRefused
    ) -> Appended:
        """Find the record that the database refuses, and store all but that one."""
        if len(records) == 1:
            log.warning("record_refused", error=str(error))
            why = "the database refuses the record"
            return Appended(0, 0, [RefusedRecord(first, Reason.REFUSED_BY_STORAGE, why)])
        middle = len(records) // 2
        left = await self._append(records[:middle], first, recorded_at)
        right = await self._append(records[middle:], first + middle, recorded_at)
        return Appended(
            left.stored + right.stored,
            left.duplicates + right.duplicates,
            [*left.refused, *right.refused],
        )


def _by_shape(records: Sequence[Record]) -> Iterator[tuple[RowShape, Sequence[int]]]:
    """Yield each shape that is needed with the positions of its records."""
    kinds = {record.kind for record in records}
    for kind in kinds:
        if len(kinds) == 1:
            yield SHAPES[kind], range(len(records))
        else:
            yield SHAPES[kind], [at for at, record in enumerate(records) if record.kind is kind]


def _collision(index: int) -> RefusedRecord:
    why = "another message is stored under this identity"
    return RefusedRecord(index, Reason.ID_COLLISION, why)
