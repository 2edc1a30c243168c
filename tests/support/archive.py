"""Calls to an archive as the dispatcher makes them, and what its store does by itself."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Engine, Executable, FromClause, Table, event, func, select, text

from jarvis_recorder.ports import Clock, Store
from jarvis_recorder.retention_policy import Bounds, RetentionPolicy
from jarvis_recorder.storage.postgres import pruner as postgres_pruner
from jarvis_recorder.storage.postgres import pruner as server_pruner
from jarvis_recorder.storage.postgres.store import PostgresStore
from jarvis_recorder.storage.sqlite import pruner as file_pruner
from jarvis_recorder.storage.sqlite.maintenance import SqliteMaintenance
from jarvis_recorder.storage.sqlite.store import SqliteStore
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.methods import BY_PARAMS, adapter
from jarvis_recorder.wire.rpc.params import Params, ReadHoldings, ResultT
from jarvis_recorder.wire.rpc.results import Holdings

NOW = 1_795_420_000_000_000


def clock() -> int:
    return NOW


async def ask(
    store: Store,
    question: Params[ResultT],
    seconds: float = 10.0,
    room: int = jsonrpc.MAX_REPLY_BYTES,
) -> Any:
    """Execute a request, and return its result as an object of its class."""
    until = asyncio.get_running_loop().time() + seconds
    answer = await store.archive.answer(question, until, room)
    assert len(answer) <= room
    kind = type(question)
    shape = Holdings if kind is ReadHoldings else BY_PARAMS[kind].result
    return adapter(shape).validate_json(answer)


async def rows(store: SqliteStore | PostgresStore, query: str | Executable) -> list[Any]:
    """Execute a statement in a transaction of its own, and return its rows as tuples."""
    statement = text(query) if isinstance(query, str) else query

    def execute(connection: Any) -> list[Any]:
        found = connection.execute(statement)
        return [tuple(row) for row in found] if found.returns_rows else []

    return await store.writer.run(execute)


async def prune(
    store: SqliteStore | PostgresStore,
    policy: RetentionPolicy,
    now: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """Delete what the policy does not keep."""
    if isinstance(store, SqliteStore):
        return await file_pruner.prune(store.writer, policy, now, progress=progress)
    engine, server = store.writer._engine, store.writer._server
    return await server_pruner.prune(engine, server, policy, now, progress=progress)


def steps_of_pruning(monkeypatch: Any, table: FromClause) -> list[int]:
    """Return a list that gets how many rows of a table each transaction of pruning deletes."""
    found: list[int] = []
    rows = select(func.count()).select_from(table)

    def watched(in_turns: Any) -> Any:
        async def watching(target: Any, work: Callable[[Connection], Any]) -> Any:
            def counted(connection: Connection) -> Any:
                before = connection.execute(rows).scalar_one()
                answer = work(connection)
                found.append(before - connection.execute(rows).scalar_one())
                return answer

            return await in_turns(target, counted)

        return watching

    for pruner in (file_pruner, server_pruner):
        monkeypatch.setattr(pruner, "_in_turns", watched(pruner._in_turns))
    return found


@contextlib.contextmanager
def reads_of_transactions(table: Table) -> Iterator[list[int]]:
    """Yield a list that gets how often each transaction that reads a table selects from it."""
    found: list[int] = []

    def count(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if not statement.startswith("SELECT") or f"FROM {table.name}" not in statement:
            return
        transaction = connection.get_transaction()
        if connection.info.get("transaction") is not transaction:
            connection.info["transaction"] = transaction
            found.append(0)
        found[-1] += 1

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", count)


def retention(
    store: SqliteStore | PostgresStore,
    clock: Clock,
    bounds: Bounds,
    monotonic: Callable[[], float] = time.monotonic,
) -> SqliteMaintenance | postgres_pruner.PostgresMaintenance:
    """Return the retention of a recorder that has just been started on the store's database."""
    if isinstance(store, SqliteStore):
        return SqliteMaintenance(bounds, store.path, store.writer, clock, monotonic=monotonic)
    engine, server = store.writer._engine, store.writer._server
    return postgres_pruner.PostgresMaintenance(
        bounds.policy, engine, server, clock, monotonic=monotonic
    )
