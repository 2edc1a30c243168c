"""The SQLite store: one database file with its writer, its readers and its maintenance."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from jarvis_recorder.incidents.rules import Rules, shipped_rules
from jarvis_recorder.ports import Clock, StorageHealth
from jarvis_recorder.retention_policy import UNBOUNDED, Bounds
from jarvis_recorder.storage.archive import EngineArchive
from jarvis_recorder.storage.dead_letters import EngineDeadLetterIndex
from jarvis_recorder.storage.engine import EngineStatements
from jarvis_recorder.storage.incidents.keeper import IncidentKeeper
from jarvis_recorder.storage.incidents.pruning import newest_event
from jarvis_recorder.storage.queries.reading import Query, Reading
from jarvis_recorder.storage.queries.totals import count_rows, holdings
from jarvis_recorder.storage.sqlite import (
    connections,
    damage,
    errors,
    files,
    lock,
    search_turns,
    upgrade,
)
from jarvis_recorder.storage.sqlite.bulk_insert import insert_all, is_stamped_as, newest_id
from jarvis_recorder.storage.sqlite.health import storage_health
from jarvis_recorder.storage.sqlite.maintenance import SqliteMaintenance, require_disk
from jarvis_recorder.storage.sqlite.outbox import SqliteOutbox
from jarvis_recorder.storage.sqlite.readers import open_readers
from jarvis_recorder.storage.sqlite.repository import SqliteRepository
from jarvis_recorder.storage.sqlite.search import erase_turns, newest_turn
from jarvis_recorder.storage.sqlite.trusted_time import known_good
from jarvis_recorder.storage.sqlite.upkeep import Gate, Upkeep
from jarvis_recorder.storage.sqlite.writer import SqliteWriter, open_writer
from jarvis_recorder.wire.rpc.params import ReadHoldings

log = structlog.get_logger(__name__)


class SqliteStore(NamedTuple):
    """The implementation of `ports.Store` on one SQLite file."""

    repository: SqliteRepository
    archive: EngineArchive
    outbox: SqliteOutbox
    dead_letters: EngineDeadLetterIndex
    incidents: IncidentKeeper
    writer: SqliteWriter
    upkeep: Upkeep
    maintenance: SqliteMaintenance
    path: Path

    async def health(self) -> StorageHealth:
        """Return the state of a database that can store a record; see `ports.Store`."""
        self.writer.require_room()
        found = await self.writer.run(partial(storage_health, self.path))
        return found._replace(incidents_failure=self.incidents.failure)

    async def respond(self) -> None:
        """Return once the writer's thread has had a turn."""
        await self.writer.answers()

    async def maintain(self, stop: asyncio.Event) -> None:
        """Prune, index dead letters, keep incidents, watch over the files until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.dead_letters.run(stop))
            tasks.create_task(self.incidents.run(stop))
            tasks.create_task(self.maintenance.run(stop))
            tasks.create_task(self.upkeep.run(stop))


@contextlib.asynccontextmanager
async def open_store(
    path: Path, clock: Clock, bounds: Bounds = UNBOUNDED, rules: Rules | None = None
) -> AsyncIterator[SqliteStore]:
    """
    Open the database file for this process alone; create or migrate it where needed.

    Raises:
        AnotherRecorder: Another process holds it.
        ConfigurationError: The file is not a recorder database, or belongs to a newer version; or
            its disk has less than is to be kept free.
        StorageUnavailable: It is locked, or cannot be read or written.
        StorageDamaged: It is corrupt; every later call raises this too, until another file is in
            its place or `damage.acknowledge` is called.
    """
    with errors.readable_errors(path):
        path = lock.create_file(path)
        require_disk(path.parent, bounds)
    with lock.locked(path), damage.remembered(path):
        if sqlite3.sqlite_version_info < connections.FIRST_SAFE_VERSION:
            log.warning("sqlite_version_has_wal_bug", version=sqlite3.sqlite_version)
        await asyncio.to_thread(damage.look, path)
        gate = Gate()
        async with open_writer(path) as writer, open_readers(path, gate) as readers:
            await upgrade.upgrade(writer, path)
            rules = rules or shipped_rules()
            archive = EngineArchive(writer, readers, _statements(path), clock, rules)
            async with contextlib.aclosing(archive):
                outbox = SqliteOutbox(writer, readers, archive.changed)
                upkeep = Upkeep(writer, gate)
                maintenance = SqliteMaintenance(bounds, path, writer, clock)
                repository = SqliteRepository(writer)
                dead_letters = EngineDeadLetterIndex(writer, clock)
                incidents = IncidentKeeper(
                    writer,
                    readers,
                    newest_event,
                    known_good,
                    rules=rules,
                    clock=clock,
                    changed=archive.changed,
                )
                yield SqliteStore(
                    repository, archive, outbox, dead_letters, incidents, writer, upkeep, maintenance,
                    path,
                )  # fmt: skip
                await dead_letters.finish()


def _statements(path: Path) -> EngineStatements:
    return EngineStatements(
        insert_all=insert_all,
        newest_id=newest_id,
        is_stamped_as=is_stamped_as,
        newest_turn=newest_turn,
        erase_turns=erase_turns,
        queries=search_turns.QUERIES
        | {ReadHoldings: Query(partial(holdings, partial(_sizes, path), count_rows))},
    )


def _sizes(path: Path, _: Reading) -> tuple[int, int]:
    return files.size(path), files.size(files.companions(path)[0])
