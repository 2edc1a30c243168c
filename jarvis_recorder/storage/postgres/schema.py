"""The upgrade of a database to the newest revision, by one recorder at a time."""

import asyncio

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.postgres import errors, partitions
from jarvis_recorder.storage.postgres.connections import Server
from jarvis_recorder.storage.postgres.locks import Lock

log = structlog.get_logger(__name__)


async def upgrade(engine: AsyncEngine, server: Server, *, by_month: bool = False) -> str | None:
    """
    Bring the database to the newest revision and return the one it had.

    With `by_month` the table of events is partitioned as long as it is empty.

    It is one transaction: on an error nothing is changed. Other recorders that start meanwhile
    wait for it, and find nothing left to do.

    Raises:
        ConfigurationError: See `revisions.current_revision`, `age_of` and `partitions.divide`; or
            the user may not create tables.
        StorageUnavailable: The server cannot be reached.
    """
    with errors.refusals_are_settings(server.name, server.hosts):
        async with engine.connect() as connection:
            revision = await connection.run_sync(revisions.current_revision)
        if revisions.age_of(revision) is not revisions.SchemaAge.CURRENT:
            # Off the event loop: Alembic alone takes a tenth of a second.
            await asyncio.to_thread(revisions.load_migrations)
        async with engine.begin() as connection:
            return await connection.run_sync(_upgrade, server.name, by_month)


def _upgrade(connection: Connection, server: str, by_month: bool) -> str | None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": Lock.MIGRATIONS})
    revision = revisions.current_revision(connection)
    if revisions.age_of(revision) is not revisions.SchemaAge.CURRENT:
        log.info("database_upgrade_begun", server=server, before=revision, now=revisions.HEAD)
        revisions.load_migrations()(connection)
        log.info("database_upgraded", server=server, before=revision, now=revisions.HEAD)
    if by_month:
        partitions.divide(connection, server)
    return revision
