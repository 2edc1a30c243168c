"""The repository: one connection that writes, a few that read."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import aiosqlite
import structlog
from sqlalchemy import Executable, Integer, and_, func, or_, select, tuple_, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import NullType

from jarvis_recorder.errors import RecordRefused
from jarvis_recorder.ports import Appended, RefusedRecord
from jarvis_recorder.storage import schema, sqlite
from jarvis_recorder.storage.rows import SHAPES, Row, RowShape, flat, insert_statement
from jarvis_recorder.storage.tables import cluster_snapshots, decompress, metadata
from jarvis_recorder.wire.records import Record
from jarvis_recorder.wire.refusal import Reason

log = structlog.get_logger(__name__)

# Rows in one INSERT, largest first: few statements for many rows, none compiled for each count.
_CHUNKS: Final = (500, 100, 20, 1)

_insert = cache(insert_statement)


class SqliteRepository:
    """Implements `ports.Repository` on one SQLite file."""

    def __init__(self, path: Path, writer: AsyncEngine, reader: AsyncEngine) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        # Held through a whole transaction: a caller that was cancelled has left it running.
        self._writing = asyncio.Lock()

    async def append(self, records: Sequence[Record], recorded_at: int) -> Appended:
        """Store the records in one transaction; see `ports.Repository`."""
        # A cancelled await would not stop SQLite's thread, only lose the answer.
        return await asyncio.shield(self._append(records, 0, recorded_at))

    async def _append(self, records: Sequence[Record], first: int, recorded_at: int) -> Appended:
        """Store records whose indexes begin at `first`."""
        stored = 0
        collisions: list[RefusedRecord] = []
        try:
            async with self._transaction() as connection:
                for shape, positions in _by_shape(records):
                    inserted, collided = await _insert_all(
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

    async def counts(self) -> dict[str, int]:
        """Return the number of rows of each table."""
        with sqlite.translated_errors(self._path):
            async with self._reader.begin() as connection:
                return {
                    table.name: (
                        await connection.execute(select(func.count()).select_from(table))
                    ).scalar_one()
                    for table in metadata.sorted_tables
                }

    async def latest_snapshot(self, cluster: str = "") -> str | None:
        """Return the newest snapshot of a cluster as JSON text, None where there is none."""
        newest = (
            select(cluster_snapshots.c.snapshot)
            .where(cluster_snapshots.c.cluster == cluster)
            .order_by(cluster_snapshots.c.timestamp.desc(), cluster_snapshots.c.id.desc())
            .limit(1)
        )
        with sqlite.translated_errors(self._path):
            async with self._reader.begin() as connection:
                return (await connection.execute(newest)).scalar_one_or_none()

    async def drain(self) -> None:
        """Return once no transaction is under way."""
        async with self._writing:
            pass

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        with sqlite.translated_errors(self._path):
            async with self._writing, self._writer.connect() as connection:
                try:
                    async with connection.begin():
                        yield connection
                except BaseException:
                    # What state the connection is in is not known: the next begins with a new one.
                    await connection.invalidate()
                    raise


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


async def _insert_all(
    connection: AsyncConnection, shape: RowShape, records: Sequence[Record], recorded_at: int
) -> tuple[int, list[int]]:
    """Insert in chunks; return how many rows were new, and the positions of collisions."""
    rows = [shape.make(record, recorded_at) for record in records]
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


@contextlib.asynccontextmanager
async def open_repository(path: Path) -> AsyncIterator[SqliteRepository]:
    """
    Open the database file for this process alone, made and migrated where needed.

    Raises:
        AnotherRecorder: Another process holds it.
        ConfigurationError: It is no database of the recorder's, or a newer one.
        StorageUnavailable: It is locked, or cannot be read or written.
    """
    with sqlite.readable_errors(path):
        sqlite.create_file(path)
    with sqlite.locked(path):
        if sqlite3.sqlite_version_info < sqlite.FIRST_SAFE_VERSION:
            log.warning("sqlite_version_has_wal_bug", version=sqlite3.sqlite_version)
        async with (
            sqlite.writer_engine(path) as writer,
            sqlite.reader_engine(path) as reader,
        ):
            await schema.upgrade(writer, path)
            repository = SqliteRepository(path, writer, reader)
            yield repository
            await repository.drain()
