"""Rows with their ids, put into an empty database and read again to be compared."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final, NamedTuple, Self

import psycopg
from psycopg.errors import UniqueViolation
from sqlalchemy import Boolean, Connection, Integer, Table, text
from sqlalchemy.ext.asyncio import AsyncEngine

from jarvis_recorder.errors import NoCopy
from jarvis_recorder.storage import series
from jarvis_recorder.storage.postgres import errors, measures, moved_measures
from jarvis_recorder.storage.postgres.arrays import array
from jarvis_recorder.storage.postgres.connections import Server, require_server
from jarvis_recorder.storage.postgres.insertion import Statement, advanced
from jarvis_recorder.storage.postgres.locks import Lock
from jarvis_recorder.storage.postgres.partitions import make_months
from jarvis_recorder.storage.postgres.schema import upgrade
from jarvis_recorder.storage.postgres.trusted_time import remember
from jarvis_recorder.storage.postgres.vectors import vector_of
from jarvis_recorder.storage.tables import (
    Decimals,
    Instant,
    JsonText,
    cluster_snapshots,
    conversations,
    events,
    incident_conditions,
    incident_signals,
    outbox,
    preferences,
    snapshot_measures,
)

_STAMPED: Final = (events, conversations, cluster_snapshots)

Row = tuple[Any, ...]

SAID: Final = ("timestamp", "effect", "severity", "by", "event_id", "problem_at")
ABOUT: Final = (
    "key", "kind", "node", "object", "cluster", "guessed", "evidence", "shown_as", "covers",
)  # fmt: skip
"""The columns of a signal and of its condition, as `Filling.keep_signals` takes them."""

_GIVEN: Final = "unnest({marks}) AS r (" + ", ".join((*SAID, *ABOUT)) + ")"
_KEEP_CONDITIONS: Final = (
    f"INSERT INTO incident_conditions ({', '.join(ABOUT)}, stale)"
    f" SELECT DISTINCT ON (key) {', '.join(ABOUT)}, true FROM {_GIVEN} WHERE key IS NOT NULL"
    " ON CONFLICT (key) DO UPDATE SET stale = true"
)
# The others have the condition `incident_pruning.FORGOTTEN`.
_KEEP_SIGNALS: Final = (
    f"INSERT INTO incident_signals (condition_id, {', '.join(SAID)})"
    f" SELECT coalesce(c.id, 0), {', '.join(f'r.{name}' for name in SAID)} FROM {_GIVEN}"
    " LEFT JOIN incident_conditions c ON c.key = r.key"
    " WHERE r.event_id IS NOT NULL OR NOT EXISTS (SELECT FROM incident_signals s"
    " WHERE s.condition_id = c.id AND s.timestamp = r.timestamp AND s.effect = r.effect"
    " AND s.event_id IS NULL) ON CONFLICT DO NOTHING"
)


class _Column(NamedTuple):
    """A column's type as an array, the cast of its elements, and the expression that reads it."""

    kind: str
    cast: str
    read: str


class Filling:
    """One database on a server that is filled with the rows of another database."""

    def __init__(self, server: Server, connection: psycopg.AsyncConnection[Any]) -> None:
        self._server = server
        self._connection = connection

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        by_month: bool = False,
        months: Iterable[datetime] = (),
        known_good: int | None = None,
    ) -> Self:
        """
        Connect, and make the tables where there are none.

        Where the events are partitioned, the months of these times get a partition. A time that is
        known to be good is stored as such.

        Raises:
            ConfigurationError, StorageUnavailable: As `require_server` and `upgrade`.
        """
        server = Server(url)
        await require_server(server)
        engine: AsyncEngine = server.engine(1)
        try:
            await upgrade(engine, server, by_month=by_month)
            with errors.translated_errors(server.name):
                await make_months(engine, months)
                if known_good is not None:
                    async with engine.begin() as connection:
                        await connection.run_sync(partial(remember, known_good))
        finally:
            await engine.dispose()
        with errors.translated_errors(server.name):
            return cls(server, await server.connect())

    @property
    def name(self) -> str:
        return self._server.name

    async def close(self) -> None:
        await self._connection.close()

    async def begin(self, table: Table, highest: int) -> int:
        """
        Have new rows numbered from beyond `highest`; return the highest id that is filled already.

        So recorders may record while older rows are being filled in.
        """
        with errors.translated_errors(self.name):
            await self._connection.execute(advanced(table.name, "%s"), (max(highest, 1),) * 2)
            found = await self._connection.execute(
                f"SELECT coalesce(max(id), 0) FROM {table.name} WHERE id <= %s",
                (highest,),
            )
            (reached,) = await found.fetchone() or (0,)
            return int(reached)

    async def fold_again(self, highest: int) -> None:
        """
        Have incidents made of all events and actions, and no one told of events up to this id again.

        A recorder that runs there may have read events before what people did about them was copied.
        """
        with errors.translated_errors(self.name):
            async with self._changing():
                await self._connection.execute(
                    "UPDATE incident_progress SET reached = 0,"
                    " told_after = greatest(told_after, %s)",
                    (highest,),
                )
                await self._connection.execute(
                    "UPDATE incident_conditions SET stale = true"
                    " WHERE key IN (SELECT key FROM incident_actions)"
                )

    @contextlib.asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        """Begin a transaction that no change of a recorder there, nor a step of incidents, overlaps."""
        async with self._connection.transaction():
            await self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (int(Lock.CHANGES),))
            yield

    async def keep_signals(self, rows: Sequence[Row]) -> None:
        """
        Store what no event that is being copied says of a condition; a second time changes nothing.

        A row has the columns `SAID` and `ABOUT`, the latter NULL where the signal is forgotten. The
        conditions are folded again.
        """
        columns = [_column_of(incident_signals, name) for name in SAID]
        columns += [_column_of(incident_conditions, name) for name in ABOUT]
        values = zip(*rows, strict=True)
        given = [array(each.kind, held) for each, held in zip(columns, values, strict=True)]
        marks = ", ".join(f"%b::{each.kind}[]" for each in columns)
        with errors.translated_errors(self.name):
            # A recorder there makes conditions in another order.
            async with self._changing():
                for statement in (_KEEP_CONDITIONS, _KEEP_SIGNALS):
                    await self._connection.execute(statement.format(marks=marks), given)

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """
        Insert rows, their values as SQLite has them, in one transaction.

        Raises:
            NoCopy: The database holds other rows in their place.
        """
        names = [column.name for column in table.columns]
        with errors.translated_errors(self.name):
            try:
                async with self._connection.transaction():
                    for statement in _insertion(table, names, rows):
                        await self._connection.execute(*statement)
                    if table in _STAMPED:
                        await self._connection.execute(
                            "INSERT INTO stamped_identities SELECT %s, message_id, timestamp"
                            f" FROM {table.name} WHERE id BETWEEN %s AND %s AND stamped"
                            " AND message_id IS NOT NULL ON CONFLICT DO NOTHING",
                            (table.name, rows[0][0], rows[-1][0]),
                        )
            except UniqueViolation:
                raise NoCopy(
                    f"{self.name}: its table {table.name} holds other rows already: fill an empty "
                    "database"
                ) from None

    async def insert_measures(self, rows: Sequence[Row], highest: int) -> None:
        """
        Insert rows of the measures, next to what later snapshots than this id have added there.

        A second time it changes nothing. A row that an earlier copy left with less is made whole.
        """
        with errors.translated_errors(self.name):
            async with self._connection.transaction():
                await moved_measures.insert(self._connection, rows, highest)

    async def require_measures(self, rows: Sequence[Row]) -> None:
        """
        Compare rows of the measures with the stored ones, to which a recorder there may have added.

        Raises:
            NoCopy: They differ.
        """
        with errors.translated_errors(self.name):
            key = await moved_measures.first_lost(self._connection, rows)
        if key is not None:
            raise NoCopy(
                f"{self.name}: its table {snapshot_measures.name} differs at {key}: empty it and "
                "copy again"
            )

    async def require_same(self, table: Table, rows: Sequence[Row]) -> None:
        """
        Compare rows, all that there are between the first id and the last, with the stored ones.

        Raises:
            NoCopy: They differ.
        """
        names = [column.name for column in table.columns]
        columns = [_column_of(table, name) for name in names]
        key = names[0]
        query = (
            f"SELECT {', '.join(each.read for each in columns)} FROM {table.name}"
            f" WHERE {key} BETWEEN %s AND %s ORDER BY {key}"
        )
        with errors.translated_errors(self.name):
            async with self._connection.cursor(binary=True) as cursor:
                await cursor.execute(query, (rows[0][0], rows[-1][0]))
                found = [_comparable(table, names, row) for row in await cursor.fetchall()]
        if found != [_comparable(table, names, row) for row in rows]:
            raise NoCopy(
                f"{self.name}: its table {table.name} differs between {key} {rows[0][0]} and "
                f"{rows[-1][0]}: empty it and copy again"
            )


def insert_numbered(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows with an id and a time of their own, by column, their values as SQLite has them."""
    names = [*rows[0]]
    values = [tuple(row[name] for name in names) for row in rows]
    for query, parameters in _insertion(table, names, values):
        connection.exec_driver_sql(query, tuple(parameters))
    if table is cluster_snapshots:
        for row in rows:
            added = series.values_of(*(row[name] for name in series.NEEDED))
            measures.add_to_server(connection, added)


def number_beyond(connection: Connection, table: Table, highest: int) -> None:
    """
    Have later rows numbered from beyond `highest`, and those that have their numbers committed.

    The lock waits for the latter, and lets no one take a number meanwhile.
    """
    connection.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE MODE")
    connection.execute(text(advanced(table.name, ":highest")), {"highest": max(highest, 1)})


def free_numbers(connection: Connection, table: Table, _: int, count: int) -> Sequence[int]:
    """Return ids for new rows, beyond those that `number_beyond` was told of."""
    numbers = text(f"SELECT nextval('{table.name}_id_seq') FROM generate_series(1, :count)")
    return connection.execute(numbers, {"count": count}).scalars().all()


def _insertion(table: Table, names: Sequence[str], rows: Sequence[Row]) -> Iterator[Statement]:
    columns = [_column_of(table, name) for name in names]
    values = list(zip(*rows, strict=True))
    parameters = [array(each.kind, held) for each, held in zip(columns, values, strict=True)]
    selected = [f"r.{name}{each.cast}" for name, each in zip(names, columns, strict=True)]
    marks = [f"%b::{each.kind}[]" for each in columns]
    filled = [*names]
    if table is conversations:
        contents = values[names.index("content")]
        parameters.append(array("text", [vector_of(content) for content in contents]))
        filled.append("words")
        selected.append("r.words::tsvector")
        marks.append("%b::text[]")
    again = " ON CONFLICT DO NOTHING" if table in (preferences, outbox) else ""
    yield Statement(
        f"INSERT INTO {table.name} ({', '.join(filled)}) SELECT {', '.join(selected)}"
        f" FROM unnest({', '.join(marks)}) AS r ({', '.join(filled)}){again}",
        parameters,
    )


def _column_of(table: Table, name: str) -> _Column:
    column = table.c[name]
    if isinstance(column.type, Instant):
        return _Column("timestamptz", "", f"(extract(epoch FROM {name}) * 1000000)::int8")
    if isinstance(column.type, Boolean):
        return _Column("bool", "", name)
    if name == "snapshot":
        return _Column("bytea", "", name)
    if isinstance(column.type, Integer):
        return _Column("int8", "", name)
    if column.type is Decimals:
        return _Column("text", "::numeric", f"{name}::text")
    if column.type is JsonText:
        return _Column("text", "::json", f"{name}::text")
    return _Column("text", "", name)


def _comparable(table: Table, names: Sequence[str], row: Row) -> Row:
    """Return a row with its values as both databases have them."""
    return tuple(
        Decimal(value)
        if name == "cost_usd" and value is not None
        else bool(value)
        if isinstance(table.c[name].type, Boolean)
        else value
        for name, value in zip(names, row, strict=True)
    )
