"""The databases that rows of the original system are brought into."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, bindparam, func, insert, select
from sqlalchemy.dialects.sqlite import dialect

from jarvis_recorder.storage import series
from jarvis_recorder.storage.engine import Writer
from jarvis_recorder.storage.sqlite import connections, errors, lock, trusted_time, upgrade
from jarvis_recorder.storage.sqlite.search import add_words
from jarvis_recorder.storage.sqlite.writer import open_writer
from jarvis_recorder.storage.tables import cluster_snapshots, conversations
from jarvis_recorder.storage.trusted_time import Memory

Values = dict[str, Any]
"""A row by column, its values as SQLite has them: they are past SQLAlchemy's types."""


class Target(NamedTuple):
    """A database with all tables, which rows can be brought into."""

    writer: Writer
    insert: Callable[[Connection, Table, Sequence[Values]], None]
    """Inserts rows of the same columns, with all that follows from them."""
    begin: Callable[[Connection, Table, int], None]
    """Has rows that are recorded from now on numbered beyond an id; no other is on its way then."""
    free_numbers: Callable[[Connection, Table, int, int], Sequence[int]]
    """Returns so many ids that no row has, beyond an id that is not to be used either."""


Opening = contextlib.AbstractAsyncContextManager[Target]


@contextlib.asynccontextmanager
async def in_file(path: Path) -> AsyncIterator[Target]:
    """
    Open a database file, for this process alone.

    Raises:
        AnotherRecorder: A recorder holds it.
    """
    with errors.readable_errors(path):
        path = lock.create_file(path)
    with lock.locked(path):
        async with open_writer(path) as writer:
            await upgrade.upgrade(writer, path)
            await _note_time(writer, Memory(trusted_time.known_good, trusted_time.remember))
            yield Target(writer, _insert_into_file, _begin_alone, _numbers_of_file)


@contextlib.asynccontextmanager
async def on_server(url: str, *, by_month: bool = False) -> AsyncIterator[Target]:
    """
    Open a database on a server; recorders may be using it.

    Raises:
        ConfigurationError, StorageUnavailable: As `postgres.store.open_store`.
    """
    # With a file the process needs no driver of a server.
    from jarvis_recorder.storage.postgres import filling
    from jarvis_recorder.storage.postgres import trusted_time as server_time
    from jarvis_recorder.storage.postgres.connections import Server, require_server
    from jarvis_recorder.storage.postgres.schema import upgrade as upgrade_server
    from jarvis_recorder.storage.postgres.writer import PostgresWriter

    server = Server(url)
    await require_server(server)
    engine = server.engine(1)
    try:
        await upgrade_server(engine, server, by_month=by_month)
        writer = PostgresWriter(engine, server.name)
        await _note_time(writer, Memory(server_time.known_good, server_time.remember))
        yield Target(writer, filling.insert_numbered, filling.number_beyond, filling.free_numbers)
    finally:
        await engine.dispose()


async def _note_time(writer: Writer, memory: Memory) -> None:
    """Note the time where none is known: else it would be that of the newest imported row."""

    def note(connection: Connection) -> None:
        if memory.known_good(connection) is None:
            memory.remember(time.time_ns() // 1_000, connection)

    await writer.run(note)


def _insert_into_file(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
    statement = _insert_statement(table, tuple(rows[0]))
    connections.driver_of(connection).executemany(statement, rows).close()
    if table is cluster_snapshots:
        for row in rows:
            added = series.values_of(*(row[name] for name in series.NEEDED))
            series.add_to_file(connection, added)
    if table is conversations:
        add_words(connection, ((row["id"], row["content"]) for row in rows))


@cache
def _insert_statement(table: Table, columns: tuple[str, ...]) -> str:
    marked = insert(table).values({name: bindparam(name) for name in columns})
    return str(marked.compile(dialect=_SQLITE))


_SQLITE: Final = dialect(paramstyle="named")


def _begin_alone(_: Connection, __: Table, ___: int) -> None:
    """Do nothing: no one else records into the file."""


def _numbers_of_file(connection: Connection, table: Table, highest: int, count: int) -> range:
    newest = connection.execute(select(func.max(table.c.id))).scalar() or 0
    first = max(highest, newest) + 1
    return range(first, first + count)
