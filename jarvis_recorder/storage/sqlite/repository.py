"""The SQLite repository: stores each record once."""

import asyncio
from collections.abc import Awaitable
from functools import partial

from sqlalchemy import Connection

from jarvis_recorder.errors import RecordRefused
from jarvis_recorder.ports import Appended
from jarvis_recorder.storage.batch import Rows, rows_of
from jarvis_recorder.storage.halves import Records, append_halves, outcome
from jarvis_recorder.storage.sqlite.bulk_insert import insert_all
from jarvis_recorder.storage.sqlite.writer import SqliteWriter
from jarvis_recorder.storage.write_queue import Ticket
from jarvis_recorder.wire.records import kind_of
from jarvis_recorder.wire.topics import Kind


class SqliteRepository:
    """The implementation of `ports.Repository` on one SQLite file."""

    def __init__(self, writer: SqliteWriter) -> None:
        self._writer = writer
        self._newest: Ticket | None = None

    async def append(self, records: Records, recorded_at: int) -> Appended:
        """Store the records in one transaction; see `ports.Repository`."""
        ticket = self._newest = Ticket(self._newest)
        with ticket.kept():
            return await self._append(records, 0, recorded_at, ticket)

    def release_memory(self) -> None:
        """See `ports.Repository`, and `connections.release_memory`."""
        self._writer.release_memory()

    async def _append(
        self, records: Records, first: int, recorded_at: int, ticket: Ticket
    ) -> Appended:
        """Store a slice of the batch that begins at the position `first`."""
        parts = await _rows_of(records, recorded_at)
        try:
            stored, collided = await self._writer.grow(partial(_insert, parts=parts), ticket)
        except RecordRefused as error:

            def append(part: Records, at: int) -> Awaitable[Appended]:
                return self._append(part, at, recorded_at, Ticket())

            return await append_halves(append, records, first, error)
        return outcome(records, first, stored, collided)


def _insert(connection: Connection, parts: list[Rows]) -> tuple[int, list[int]]:
    """Call `insert_all`, then clear the rows: SQLite's thread keeps its last call alive."""
    try:
        return insert_all(connection, parts)
    finally:
        parts.clear()


async def _rows_of(records: Records, recorded_at: int) -> list[Rows]:
    """
    Return the records as rows.

    This runs on the event loop: in SQLite's thread each row would have to win the GIL back from
    the receiving side. Not with snapshots: compressing one takes a good part of a second.
    """
    if any(kind_of(record) is Kind.SNAPSHOT for record in records):
        return await asyncio.to_thread(rows_of, records, recorded_at)
    return rows_of(records, recorded_at)
