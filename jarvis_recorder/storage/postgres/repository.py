"""The PostgreSQL repository: stores each record once, however many recorders store it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Final

import psycopg
import structlog
from psycopg import capabilities
from psycopg.pq import TransactionStatus

from jarvis_recorder.errors import RecordRefused, StorageUnavailable
from jarvis_recorder.ports import Appended
from jarvis_recorder.storage.batch import Comparison, Rows, rows_of, slices
from jarvis_recorder.storage.halves import Records, append_halves, outcome
from jarvis_recorder.storage.postgres import errors
from jarvis_recorder.storage.postgres.connections import Server
from jarvis_recorder.storage.postgres.insertion import (
    Insertion,
    advanced,
    insertion_of,
    looked_up,
)
from jarvis_recorder.storage.postgres.standbys import AWAIT_STANDBYS, noted_commits
from jarvis_recorder.storage.tables import cluster_snapshots, conversations, events
from jarvis_recorder.storage.write_queue import Ticket
from jarvis_recorder.wire.records import Record, Snapshot, Turn

log = structlog.get_logger(__name__)

_TRIES: Final = 6
_NUMBERED: Final = frozenset(table.name for table in (events, conversations, cluster_snapshots))
# What takes the event loop some milliseconds: more is left to a thread.
_MOST_CHARACTERS: Final = 65_536
# Stored rows that are held at once; they may be thousands of times as large as those that came.
_ROWS_AT_ONCE: Final = 10


class PostgresRepository:
    """
    The implementation of `ports.Repository`, on a connection of its own.

    A transaction is one round trip, so the next batch is made ready while the server works on
    this one; it is sent when this one has ended. Any failure of the connection, also during
    COMMIT, is a reason to try again: what was stored all the same is found as a duplicate.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._queue = asyncio.Lock()
        self._newest: Ticket | None = None

    async def append(self, records: Records, recorded_at: int) -> Appended:
        """Store the records in one transaction; see `ports.Repository`."""
        ticket = self._newest = Ticket(self._newest)
        with ticket.kept():
            return await self._append(records, 0, recorded_at, ticket)

    def release_memory(self) -> None:
        """Do nothing: psycopg keeps no values of a statement that has ended."""

    async def close(self) -> None:
        """Return once no transaction is under way and the connection is closed."""
        async with self._queue:
            await self._drop()

    async def _append(
        self, records: Records, first: int, recorded_at: int, ticket: Ticket
    ) -> Appended:
        """Store a slice of the batch that begins at the position `first`."""
        try:
            made = await _made(records, recorded_at)
            if ticket.before is not None:
                await ticket.before.handed_over.wait()
            with ticket.trying():
                ticket.before = None
                stored, collided = await self._shielded(made)
        except RecordRefused as error:
            if ticket.before is not None:
                await ticket.before.handed_over.wait()
            with ticket.trying():
                ticket.before = None

            def append(part: Records, at: int) -> Awaitable[Appended]:
                return self._append(part, at, recorded_at, Ticket())

            return await append_halves(append, records, first, error)
        return outcome(records, first, stored, collided)

    async def _shielded(self, made: list[Insertion]) -> tuple[int, list[int]]:
        # Cancelled, psycopg would ask the server to cancel; and COMMIT, while it waits for a
        # standby, then succeeds without it.
        return await asyncio.shield(asyncio.ensure_future(self._transaction(made)))

    async def _transaction(self, made: list[Insertion]) -> tuple[int, list[int]]:
        async with self._queue:
            with errors.translated_errors(self._server.name):
                for _ in range(_TRIES):
                    try:
                        return await self._store(made)
                    except psycopg.Error as error:
                        await self._recover()
                        if error.sqlstate not in errors.AT_ONCE and not await self._renumbered(
                            error
                        ):
                            raise
                    except BaseException:
                        await self._drop()
                        raise
            raise StorageUnavailable(f"{self._server.name}: others write the same rows")

    async def _renumbered(self, error: psycopg.Error) -> bool:
        """
        Return whether rows were refused for their ids, which are taken, and get others from now on.

        So it is where a table was filled without its sequence: by logical replication, or from a
        dump of the table alone.
        """
        name = error.diag.table_name or ""
        if (error.sqlstate, error.diag.constraint_name) != (errors.TAKEN, f"{name}_pkey"):
            return False
        if name.startswith(f"{events.name}_"):
            # A partition.
            name = events.name
        if name not in _NUMBERED:
            return False
        connection = await self._open()
        await connection.execute(advanced(name))
        log.warning("ids_were_taken", table=name)
        return True

    async def _store(self, made: list[Insertion]) -> tuple[int, list[int]]:
        """Insert the rows, and compare those that are not new with the stored ones."""
        stored = await self._insert(made)
        collisions: list[int] = []
        for part, inserted in stored:
            if inserted < len(part.rows):
                collided, missing = await self._compared(part)
                if missing:
                    # Pruned between the two statements: not stored, and no duplicate either.
                    raise StorageUnavailable(f"{self._server.name}: rows were deleted meanwhile")
                collisions += (part.positions[at] for at in collided)
        count = sum(inserted for _, inserted in stored)
        if count == 0:
            # All of them are acknowledged, and nothing was written that waited for a standby.
            async with self._committing() as connection:
                await connection.execute(AWAIT_STANDBYS)
        return count, collisions

    async def _insert(self, made: list[Insertion]) -> list[tuple[Rows, int]]:
        cursors = []
        async with self._committing() as connection:
            for part, statements in made:
                for query, parameters in statements:
                    cursor = await connection.execute(query, parameters)
                cursors.append((part, cursor))
        return [(part, cursor.rowcount) for part, cursor in cursors]

    @contextlib.asynccontextmanager
    async def _committing(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Commit what is executed inside, in one round trip, with the standbys."""
        connection = await self._open()
        with noted_commits(connection) as doubt:
            async with connection.pipeline(), connection.transaction():
                yield connection
        if doubt.reason is not None:
            await self._drop()
            raise StorageUnavailable(f"{self._server.name}: {doubt.reason}")

    async def _compared(self, part: Rows) -> tuple[list[int], list[int]]:
        """Return the indexes of collisions, and of rows that are not found."""
        connection = await self._open()
        taken: list[int] = []
        missing: list[int] = []
        # An older libpq gives them one by one only.
        at_once = _ROWS_AT_ONCE if capabilities.has_stream_chunked() else 1
        for asked in slices(part.rows):
            query, parameters = looked_up(part.shape, [part.rows[at] for at in asked])
            # Binary: contents of snapshots would come as hexadecimal text.
            async with connection.cursor(binary=True) as cursor:
                comparison = Comparison(part.shape, part.rows, asked)
                async for stored in cursor.stream(query, parameters, size=at_once):
                    if _is_heavy(part, stored):
                        await asyncio.to_thread(comparison.take, stored)
                    else:
                        comparison.take(stored)
            found = comparison.outcome()
            taken += found.taken
            missing += found.missing
        return taken, missing

    async def _open(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await self._server.connect()
        return self._connection

    async def _recover(self) -> None:
        """Keep the connection if it is sound and outside any transaction."""
        connection = self._connection
        if connection is not None and (
            connection.broken or connection.info.transaction_status != TransactionStatus.IDLE
        ):
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()


async def _made(records: Records, recorded_at: int) -> list[Insertion]:
    """
    Return the statements for the records, in the order of their tables.

    To compress a snapshot, or to find the words of a long text, takes a good part of a second, so
    that is left to a thread.
    """
    if _are_heavy(records):
        return await asyncio.to_thread(_make, records, recorded_at)
    return _make(records, recorded_at)


def _are_heavy(records: Records) -> bool:
    characters = 0
    for record in records:
        if not isinstance(record, Record):
            continue
        if isinstance(record.body, Turn):
            characters += len(record.body.content)
        if isinstance(record.body, Snapshot) or characters > _MOST_CHARACTERS:
            return True
    return False


def _is_heavy(part: Rows, stored: Sequence[Any]) -> bool:
    """Return whether a stored row takes long to compare."""
    if part.shape.table is cluster_snapshots:
        return True
    return sum(len(one) for one in stored if isinstance(one, str | bytes)) > _MOST_CHARACTERS


def _make(records: Records, recorded_at: int) -> list[Insertion]:
    parts = [part for part in rows_of(records, recorded_at) if part.rows]
    parts.sort(key=lambda part: part.shape.table.name)
    return [insertion_of(part) for part in parts]
