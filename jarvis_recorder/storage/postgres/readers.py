"""Reads next to the writing connections, each on one snapshot of the database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import await_only

from jarvis_recorder.errors import DeadlineExceeded, RecorderError, StorageUnavailable
from jarvis_recorder.runtime.process import read_error
from jarvis_recorder.storage.engine import Read
from jarvis_recorder.storage.postgres import errors
from jarvis_recorder.storage.queries.reading import Pace, Reading

T = TypeVar("T")

READERS: Final = 4
UNBOUNDED: Final = 2**62
_TOO_LATE: Final = "the answer was not found in time"
_LIMIT: Final = text("SELECT set_config('statement_timeout', :milliseconds, true)")


class PostgresReaders:
    """
    A pool of connections; each read is a transaction that cannot write.

    Reads that scan many rows have half of the connections at most. However many of them wait, a
    read served by an index starts at once. A connection that takes longer to open than a read may
    wait, as where the first of several hosts is away, is there for the reads after it.
    """

    def __init__(self, engine: AsyncEngine, server: str) -> None:
        self._engine = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._server = server
        self._free = asyncio.Semaphore(READERS)
        self._scanning = asyncio.Semaphore(READERS // 2)
        self._opening: set[asyncio.Task[AsyncConnection]] = set()
        self._ending: set[asyncio.Task[object]] = set()

    async def run(
        self, read: Read[T], until: float, room: int = UNBOUNDED, *, pace: Pace = Pace.QUICK
    ) -> T:
        """
        Return the result of `read` on one consistent snapshot, in `room` bytes.

        It returns by `until`, a time of the event loop's clock, and leaves nothing running on the
        server.

        Raises:
            DeadlineExceeded: It was not done by `until`.
            StorageUnavailable, StorageDamaged: The database cannot be read.
        """
        task = asyncio.ensure_future(self._run(read, until, room, pace))
        try:
            async with asyncio.timeout_at(until):
                return await asyncio.shield(task)
        except TimeoutError:
            raise DeadlineExceeded(_TOO_LATE) from None
        except RecorderError as error:
            # The frames of the read hold what it has read, and this frame holds the task that holds
            # the error: together they would stay until the garbage is collected.
            raise error.with_traceback(None) from error.__cause__
        finally:
            if not task.done():
                # psycopg asks the server to cancel. That takes a while, for which no one waits.
                task.cancel()
                self._ending.add(task)
                task.add_done_callback(self._ended)
            del task

    async def close(self) -> None:
        """Return once no read is under way, and no connection is being opened."""
        for opening in self._opening:
            opening.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[object]") -> None:
        self._ending.discard(task)
        read_error(task)

    async def _run(self, read: Read[T], until: float, room: int, pace: Pace) -> T:
        if pace is not Pace.SCAN:
            return await self._read(read, until, room)
        async with self._scanning:
            return await self._read(read, until, room)

    async def _read(self, read: Read[T], until: float, room: int) -> T:
        try:
            with errors.translated_errors(self._server):
                try:
                    return await self._attempt(read, until, room)
                except DBAPIError as error:
                    # The server was restarted since this connection was last used.
                    if not error.connection_invalidated:
                        raise
                return await self._attempt(read, until, room)
        except StorageUnavailable as error:
            if errors.state_of(error) == errors.CANCELED:
                raise DeadlineExceeded(_TOO_LATE) from None
            raise

    async def _attempt(self, read: Read[T], until: float, room: int) -> T:
        async with self._connection() as connection:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                raise DeadlineExceeded(_TOO_LATE)
            milliseconds = str(max(1, round(min(left, 86_400.0) * 1_000)))
            await connection.execute(_LIMIT, {"milliseconds": milliseconds})
            return await _read_on(connection, read, room)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection. If this is cancelled while it is being opened, the pool gets it."""
        async with self._free:
            opening = asyncio.create_task(_opened(self._engine))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
            try:
                connection = await asyncio.shield(opening)
            except asyncio.CancelledError:
                await asyncio.wait((opening,))
                if not opening.cancelled() and opening.exception() is None:
                    await opening.result().close()
                raise
            async with contextlib.aclosing(connection):
                yield connection


async def _opened(engine: AsyncEngine) -> AsyncConnection:
    return await engine.connect()


async def _read_on(connection: AsyncConnection, read: Read[T], room: int) -> T:
    def at_once(sync: Connection) -> T:
        with contextlib.closing(Reading(sync, room, _in_a_thread)) as reading:
            return read(reading)

    return await connection.run_sync(at_once)


def _in_a_thread(work: Callable[[], T]) -> T:
    # A read is on the event loop while it does not wait for the server.
    return await_only(asyncio.to_thread(work))
