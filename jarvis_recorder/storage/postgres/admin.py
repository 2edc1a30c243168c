"""The work of the `db` commands on a database on a server; recorders may be running."""

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from jarvis_recorder.retention_policy import RetentionPolicy
from jarvis_recorder.storage import expired_rows, revisions
from jarvis_recorder.storage.postgres import errors, pruner, trusted_time
from jarvis_recorder.storage.postgres.connections import Server, require_server
from jarvis_recorder.storage.postgres.schema import upgrade
from jarvis_recorder.storage.postgres.sizes import DATABASE_BYTES, estimated_rows, size_bytes
from jarvis_recorder.storage.table_stats import TableStats
from jarvis_recorder.storage.tables import cluster_snapshots, conversations, events

_TABLES: Final = (events, conversations, cluster_snapshots)


class ServerStats(NamedTuple):
    """The content of a database on a server; the rows are estimates unless `exact_rows`."""

    server: str
    size_bytes: int
    revision: str | None
    exact_rows: bool
    tables: list[TableStats]


async def upgrade_now(url: str, *, by_month: bool) -> tuple[str, str | None]:
    """Do as `schema.upgrade` does; return the server's name and the revision before."""
    async with _opened(url) as (server, engine):
        return server.name, await upgrade(engine, server, by_month=by_month)


async def state(url: str) -> tuple[str, str | None, int]:
    """Return the server's name, the schema revision, and the bytes of the database."""
    async with _opened(url) as (server, engine), engine.connect() as connection:
        revision = await connection.run_sync(revisions.current_revision)
        size = int((await connection.execute(DATABASE_BYTES)).scalar_one())
        return server.name, revision, size


async def stats(url: str, *, exact: bool) -> ServerStats:
    """Return what the tables hold; with `exact` the rows are counted."""
    async with _opened(url) as (server, engine), engine.connect() as connection:
        revision = await connection.run_sync(revisions.current_revision)
        size = int((await connection.execute(DATABASE_BYTES)).scalar_one())
        found = [] if revision is None else await connection.run_sync(partial(_tables, exact=exact))
        return ServerStats(server.name, size, revision, exact, found)


async def count_now(url: str, policy: RetentionPolicy) -> Counter[str]:
    """Return how many rows of each table `prune_now` would delete; nothing is changed."""
    now = time.time_ns() // 1_000
    async with _opened(url) as (server, engine), engine.connect() as connection:
        await connection.run_sync(revisions.require_current, server.name)
        return +await connection.run_sync(partial(expired_rows.count, policy=policy, now=now))


async def prune_now(
    url: str, policy: RetentionPolicy, progress: Callable[[int], None]
) -> Counter[str]:
    """Delete what the policy does not keep, in turn with recorders; return how many of each table."""
    now = time.time_ns() // 1_000
    async with _opened(url) as (server, engine):
        async with engine.begin() as connection:
            await connection.run_sync(revisions.require_current, server.name)
            # An operator who runs this confirms that the clock is right.
            await connection.run_sync(partial(trusted_time.remember, now))
        return await pruner.prune(engine, server.name, policy, now, progress=progress, waits=True)


@contextlib.asynccontextmanager
async def _opened(url: str) -> AsyncIterator[tuple[Server, AsyncEngine]]:
    server = Server(url)
    await require_server(server)
    engine = server.engine(2)
    try:
        with errors.translated_errors(server.name):
            yield server, engine
    finally:
        await engine.dispose()


def _tables(connection: Connection, *, exact: bool) -> list[TableStats]:
    return [_stats_of(connection, table, exact=exact) for table in _TABLES]


def _stats_of(connection: Connection, table: Table, *, exact: bool) -> TableStats:
    if exact:
        rows = connection.execute(select(func.count()).select_from(table)).scalar_one()
    else:
        rows = estimated_rows(connection, table.name)
    oldest, newest = (
        connection.execute(select(end(table.c.timestamp))).scalar() for end in (func.min, func.max)
    )
    return TableStats(table.name, rows, size_bytes(connection, table.name), oldest, newest)
