"""Changes: one transaction after the other, of all recorders of the database."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, cast

import psycopg
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jarvis_recorder.errors import (
    OutcomeUnknown,
    RecorderError,
    StorageUnavailable,
)
from jarvis_recorder.storage.engine import Work
from jarvis_recorder.storage.postgres import errors
from jarvis_recorder.storage.postgres.locks import Lock
from jarvis_recorder.storage.postgres.standbys import AWAIT_STANDBYS, noted_commits

log = structlog.get_logger(__name__)

T = TypeVar("T")

_TRIES: Final = 6
_ASKS: Final = 20
_ASK_AGAIN_SECONDS: Final = 0.25
# The lock makes the changes of all recorders one queue, as BEGIN IMMEDIATE does in SQLite: what
# one has read is true until it has written. The number tells later whether it was committed.
# It does so in one era only: a server that was promoted, or that a crash has ended, gives the
# numbers of lost transactions to others. The former has another timeline; the latter has reset
# its statistics, which a restart without a crash keeps.
_ERA: Final = (
    "left(pg_walfile_name(pg_current_wal_lsn()), 8) || ' '"
    " || pg_stat_get_bgwriter_stat_reset_time()"
)
_BEGIN: Final = text(
    "SELECT set_config('lock_timeout', '5s', true), pg_advisory_xact_lock(:key),"
    f" pg_current_xact_id()::text AS number, {_ERA} AS era,"
    " current_setting('synchronous_standby_names') <> '' AS has_standbys"
)
_FOUND: Final = "pg_xact_status(CAST(:number AS xid8))"
# The era comes first: a standby has none, and may not know the number yet.
_STATUS: Final = text(
    f"SELECT CASE WHEN {_ERA} = :era THEN {_FOUND}"
    f" ELSE coalesce(nullif({_FOUND}, 'committed'), 'lost') END"
)
_IN_THE_FUTURE: Final = "22023"


class PostgresWriter:
    """
    The implementation of `engine.Writer`.

    A transaction whose COMMIT was lost on the way is looked up by its number, so that its caller
    hears what has become of it.
    """

    def __init__(self, engine: AsyncEngine, server: str) -> None:
        self._engine = engine
        self._server = server
        self._turn = asyncio.Lock()
        self.crowded = asyncio.Event()
        """Never set: the room of the server's disk is its administrator's."""

    def require_room(self) -> None:
        """Do nothing: the room of the server's disk is its administrator's."""

    def require_bounds(self, connection: Connection) -> None:
        """Do nothing, as `require_room`."""

    @contextlib.contextmanager
    def attempt(self, connection: Connection) -> Iterator[None]:
        """Undo what was written inside if it fails, and raise the recorder's error."""
        with errors.translated_errors(self._server), connection.begin_nested():
            yield

    async def forget_deleted(self) -> None:
        """Do nothing: the space of deleted rows is used again after VACUUM, by the server itself."""

    async def run(self, work: Work[T]) -> T:
        """Run `work` in a transaction; see `engine.Writer`."""
        return await self.run_gathered(lambda: work)

    async def run_with_room(self, work: Work[T], begin: Callable[[], None] = lambda: None) -> T:
        """Do as `run` does; `begin` is called at the beginning of its turn."""

        def gather() -> Work[T]:
            begin()
            return work

        return await self.run_gathered(gather)

    async def run_gathered(self, gather: Callable[[], Work[T]]) -> T:
        """
        Do as `run` does, with the work that `gather` returns at the beginning of its turn.

        Raises:
            OutcomeUnknown: The connection was lost during COMMIT, and the server cannot be asked;
                or the change is made, and no standby has it.
        """
        await self._turn.acquire()
        # Cancelled, it would be unknown what has become of it.
        return await asyncio.shield(asyncio.ensure_future(self._in_turn(gather())))

    async def _in_turn(self, work: Work[T]) -> T:
        try:
            return await self._tried(work)
        finally:
            self._turn.release()

    async def _tried(self, work: Work[T]) -> T:
        for _ in range(_TRIES):
            try:
                with errors.translated_errors(self._server):
                    return await self._transaction(work)
            except StorageUnavailable as error:
                # Nothing is changed. Not a retry for ever: the server may be gone.
                if not errors.is_at_once(error):
                    raise
        raise StorageUnavailable(f"{self._server}: others change the same rows")

    async def _transaction(self, work: Work[T]) -> T:
        async with self._engine.connect() as connection:
            begun = (await connection.execute(_BEGIN, {"key": Lock.CHANGES})).one()
            result = await connection.run_sync(work)
            try:
                await self._commit(connection, with_standbys=begun.has_standbys)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                await self._require_committed(begun.number, begun.era, error)
            return result

    async def _commit(self, connection: AsyncConnection, *, with_standbys: bool) -> None:
        if with_standbys:
            # A change that has written nothing says what others have: they may lack it.
            await connection.execute(text(AWAIT_STANDBYS))
        driver = (await connection.get_raw_connection()).driver_connection
        with noted_commits(cast("psycopg.AsyncConnection[Any]", driver)) as doubt:
            await connection.commit()
        if doubt.reason is not None:
            raise OutcomeUnknown(f"{self._server}: the change is made here only: {doubt.reason}")

    async def _require_committed(self, number: str, era: str, lost: DBAPIError) -> None:
        """
        Return if the transaction of this number was committed, though its connection is lost.

        Raises:
            StorageUnavailable: It was not: nothing is changed.
            OutcomeUnknown: The server cannot be asked; or it has crashed, or another was promoted
                in its place, and the number is that of a committed transaction.
        """
        status = None
        for _ in range(_ASKS):
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
            with contextlib.suppress(DBAPIError, psycopg.Error, OSError, RecorderError):
                async with self._engine.connect() as connection:
                    status = await _status(connection, number, era)
                    if status == "committed":
                        await self._commit(connection, with_standbys=True)
                log.warning("commit_looked_up", status=status)
                if status == "committed":
                    return
                if status in {"aborted", "lost"}:
                    break
        if status == "aborted":
            raise StorageUnavailable(
                f"{self._server}: the connection was lost before COMMIT"
            ) from None
        raise OutcomeUnknown(
            f"{self._server}: the connection was lost during COMMIT: read whether it was made"
        ) from lost


async def _status(connection: AsyncConnection, number: str, era: str) -> str | None:
    try:
        found = (await connection.execute(_STATUS, {"number": number, "era": era})).scalar()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _IN_THE_FUTURE:
            raise
        # A crash has undone the transaction, and no other has its number so far.
        return "aborted"
    return None if found is None else str(found)
