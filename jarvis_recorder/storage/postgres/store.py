"""The PostgreSQL store: one database, which other recorders may use at the same time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Final, NamedTuple

import structlog
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.incidents.rules import Rules, shipped_rules
from jarvis_recorder.net.database_url import redacted
from jarvis_recorder.ports import Clock, StorageHealth
from jarvis_recorder.retention_policy import UNBOUNDED, Bounds
from jarvis_recorder.storage.archive import EngineArchive
from jarvis_recorder.storage.dead_letters import EngineDeadLetterIndex
from jarvis_recorder.storage.engine import EngineStatements
from jarvis_recorder.storage.incidents.keeper import IncidentKeeper
from jarvis_recorder.storage.postgres.connections import Server, require_server
from jarvis_recorder.storage.postgres.health import HealthProbe
from jarvis_recorder.storage.postgres.horizon import Horizon
from jarvis_recorder.storage.postgres.insertion import insert_all, is_stamped_as, newest_id
from jarvis_recorder.storage.postgres.outbox import PostgresOutbox
from jarvis_recorder.storage.postgres.pruner import PostgresMaintenance
from jarvis_recorder.storage.postgres.readers import READERS, PostgresReaders
from jarvis_recorder.storage.postgres.repository import PostgresRepository
from jarvis_recorder.storage.postgres.schema import upgrade
from jarvis_recorder.storage.postgres.search_turns import QUERIES, erase_turns, newest_turn
from jarvis_recorder.storage.postgres.sizes import DATABASE_BYTES, estimated_rows
from jarvis_recorder.storage.postgres.trusted_time import known_good
from jarvis_recorder.storage.postgres.writer import PostgresWriter
from jarvis_recorder.storage.queries.reading import Query, Reading
from jarvis_recorder.storage.queries.totals import count_rows, holdings
from jarvis_recorder.wire.rpc.params import ReadHoldings

log = structlog.get_logger(__name__)

# Changes, the outbox, retention, the probe; records have a connection of their own.
_WRITERS: Final = 4
_TRIES: Final = 15
_AGAIN_SECONDS: Final = 2.0
# More rows than this are estimated: to count them would take as long as to read them.
_MOST_COUNTED: Final = 1_000_000


class PostgresStore(NamedTuple):
    """The implementation of `ports.Store` on one PostgreSQL database."""

    repository: PostgresRepository
    archive: EngineArchive
    outbox: PostgresOutbox
    dead_letters: EngineDeadLetterIndex
    incidents: IncidentKeeper
    horizon: Horizon
    writer: PostgresWriter
    retention: PostgresMaintenance
    probe: HealthProbe

    async def health(self) -> StorageHealth:
        """Return the state of a database that can store a record; see `ports.Store`."""
        failure = self.incidents.failure or self.horizon.failure
        return (await self.probe.look())._replace(incidents_failure=failure)

    async def respond(self) -> None:
        """Return once the event loop has had a turn: a server that hangs is no fault of this process."""
        await asyncio.sleep(0)

    async def maintain(self, stop: asyncio.Event) -> None:
        """Prune, index dead letters and keep incidents until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.dead_letters.run(stop))
            tasks.create_task(self.incidents.run(stop))
            tasks.create_task(self.retention.run(stop))


@contextlib.asynccontextmanager
async def open_store(
    url: str,
    clock: Clock,
    bounds: Bounds = UNBOUNDED,
    rules: Rules | None = None,
    *,
    by_month: bool = False,
) -> AsyncIterator[PostgresStore]:
    """
    Open the database, and create or migrate its tables where needed.

    Raises:
        ConfigurationError: The server refuses the user or the database, or it holds other tables,
            or belongs to a newer version; or as `partitions.divide`.
        StorageUnavailable: The server cannot be reached for half a minute.
    """
    server = Server(url)
    if server.is_exposed:
        log.warning("database_connection_not_encrypted", url=redacted(url), use="sslmode=require")
    async with contextlib.AsyncExitStack() as stack:
        reading, writing = server.engine(READERS), server.engine(_WRITERS)
        stack.push_async_callback(reading.dispose)
        stack.push_async_callback(writing.dispose)
        await _made_ready(server, writing, by_month=by_month)
        retention = PostgresMaintenance(bounds.policy, writing, server.name, clock)
        await retention.make_months()
        writer = PostgresWriter(writing, server.name)
        readers = PostgresReaders(reading, server.name)
        stack.push_async_callback(readers.close)
        rules = rules or shipped_rules()
        archive = EngineArchive(writer, readers, _STATEMENTS, clock, rules)
        stack.push_async_callback(archive.aclose)
        outbox = PostgresOutbox(writing, server.name, archive.changed)
        stack.push_async_callback(outbox.release)
        repository = PostgresRepository(server)
        stack.push_async_callback(repository.close)
        dead_letters = EngineDeadLetterIndex(writer, clock)
        horizon = Horizon()
        yield PostgresStore(
            repository,
            archive,
            outbox,
            dead_letters,
            IncidentKeeper(
                writer,
                readers,
                horizon,
                known_good,
                rules=rules,
                clock=clock,
                changed=archive.changed,
            ),
            horizon,
            writer,
            retention,
            HealthProbe(writing, server.name),
        )
        await dead_letters.finish()


async def _made_ready(server: Server, engine: AsyncEngine, *, by_month: bool) -> None:
    """Upgrade the database; a server that is about to start, or to be promoted, is waited for."""
    for left in reversed(range(_TRIES)):
        try:
            await require_server(server)
            await upgrade(engine, server, by_month=by_month)
        except StorageUnavailable as error:
            if not left:
                raise
            log.warning("database_awaited", error=str(error))
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            return


def _count(reading: Reading, table: Table) -> int:
    rows = estimated_rows(reading.connection, table.name)
    return rows if rows > _MOST_COUNTED else count_rows(reading, table)


def _sizes(reading: Reading) -> tuple[int, int]:
    # The write-ahead log is the server's, and of all its databases.
    return int(reading.connection.execute(DATABASE_BYTES).scalar_one()), 0


_STATEMENTS: Final = EngineStatements(
    insert_all=insert_all,
    newest_id=newest_id,
    is_stamped_as=is_stamped_as,
    newest_turn=newest_turn,
    erase_turns=erase_turns,
    queries=QUERIES | {ReadHoldings: Query(partial(holdings, _sizes, _count))},
)
