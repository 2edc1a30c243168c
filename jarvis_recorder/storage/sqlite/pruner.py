"""The deletion of expired rows in small steps, alongside the recording."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Connection,
    Integer,
    Table,
    and_,
    delete,
    not_,
    select,
    text,
    tuple_,
    type_coerce,
)

from jarvis_recorder.retention_policy import (
    EventFacts,
    RetentionPolicy,
    SnapshotFacts,
    events_to_go,
    snapshots_to_go,
)
from jarvis_recorder.storage.sqlite.connections import PageCounts, driver_of, page_counts
from jarvis_recorder.storage.sqlite.search import take_words_out
from jarvis_recorder.storage.sqlite.writer import Writer
from jarvis_recorder.storage.tables import cluster_snapshots, conversations, events

# Rows read in one transaction: some milliseconds in which no one else writes.
_AT_ONCE: Final = 500
# After each step pruning pauses this many times as long as the step took.
_YIELD: Final = 2.0
_SHORTEST_PAUSE: Final = 0.002

_PAGES_AT_ONCE: Final = 256
FEW_FREE_PAGES: Final = 1_024
_MERGE_PAGES: Final = 64
_MERGE_STEPS: Final = 10_000


class _Position(NamedTuple):
    """The last row that was read of a table."""

    timestamp: int
    id: int


_NEVER: Final = 2**62
_BEGINNING: Final = _Position(-_NEVER, 0)


class Step(NamedTuple):
    """The ids to delete among the rows read, and the next position, None at the end."""

    to_go: list[int]
    looked_at: int
    following: _Position | None


Look = Callable[[Connection, _Position], Step]


class Walk(NamedTuple):
    """One pass through a table, oldest rows first."""

    table: Table
    look: Look


def walks(connection: Connection, keeping: RetentionPolicy, now: int) -> list[Walk]:
    """Return the passes that together find every row the policy does not keep."""
    found = []
    if (horizon := keeping.event_horizon(now)) is not None:
        found.append(Walk(events, partial(_look_at_events, keeping, now, horizon)))
    if (horizon := keeping.snapshot_horizon(now)) is not None:
        clusters = connection.execute(select(cluster_snapshots.c.cluster).distinct()).scalars()
        for cluster in clusters.all():
            look = _snapshots_of(cluster, keeping, now, horizon)
            found.append(Walk(cluster_snapshots, look))
    if (horizon := keeping.turn_horizon(now)) is not None:
        found.append(Walk(conversations, partial(_look_at_turns, horizon)))
    return found


def count(connection: Connection, keeping: RetentionPolicy, now: int) -> Counter[str]:
    """Return how many rows of each table `prune` would delete."""
    counts: Counter[str] = Counter()
    for table, look in walks(connection, keeping, now):
        for step in _steps(connection, look):
            counts[table.name] += len(step.to_go)
    return counts


def _steps(connection: Connection, look: Look) -> Iterator[Step]:
    position: _Position | None = _BEGINNING
    while position is not None:
        step = look(connection, position)
        yield step
        position = step.following


async def prune(
    writer: Writer,
    keeping: RetentionPolicy,
    now: int,
    *,
    enough: Callable[[PageCounts], bool] = lambda _: False,
    progress: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """
    Delete the rows the policy does not keep, and return how many of each table.

    It works in small transactions with pauses, until all is done or `enough` returns True
    after one of them. Deleted rows are overwritten, and so are the words of deleted turns in
    the search index.
    """
    gone: Counter[str] = Counter()
    ways = await writer.run(partial(walks, keeping=keeping, now=now))
    room = await writer.run(page_counts)
    for table, look in ways:
        position: _Position | None = _BEGINNING
        while position is not None and not enough(room):
            await writer.make_room_in_log()
            step, room = await _in_turns(writer, partial(_prune_step, table, look, position))
            gone[table.name] += len(step.to_go)
            position = step.following
            progress(gone.total())
    if gone[conversations.name]:
        await _forget_words(writer)
    return +gone


def _prune_step(
    table: Table, look: Look, position: _Position, connection: Connection
) -> tuple[Step, PageCounts]:
    step = look(connection, position)
    if step.to_go:
        to_go = table.c.id.in_(step.to_go)
        if table is conversations:
            take_words_out(connection, to_go)
        connection.execute(delete(table).where(to_go))
    return step, page_counts(connection)


async def give_back(writer: Writer, *, least: int = FEW_FREE_PAGES) -> int:
    """
    Return free pages to the file system in small steps, except for `least`; return how many.

    Does nothing in a file without incremental vacuum; `db vacuum` turns that on.
    """
    given = 0
    while (room := await writer.run(page_counts)).free > least:
        most = min(_PAGES_AT_ONCE, room.free - least)
        await writer.make_room_in_log()
        await _in_turns(writer, partial(_vacuum, most))
        left = (await writer.run(page_counts)).free
        if left >= room.free:
            break
        given += room.free - left
    return given


def _vacuum(pages: int, connection: Connection) -> None:
    driver = driver_of(connection)
    for _ in range(pages):
        # Python's driver takes one step of a statement without columns, which is one page.
        driver.execute("PRAGMA incremental_vacuum(1)").close()


async def _forget_words(writer: Writer) -> None:
    """
    Merge the search index until nothing is left of the words deleted from it.

    Source: SQLite's documentation of FTS5, section 6.8 (`merge`).
    """
    await _in_turns(writer, partial(_merge, -_MERGE_PAGES))
    for _ in range(_MERGE_STEPS):
        if not await _in_turns(writer, partial(_merge, _MERGE_PAGES)):
            return


def _merge(pages: int, connection: Connection) -> bool:
    """Merge about `pages` pages; return whether there was anything to do."""
    driver = driver_of(connection)
    before = driver.total_changes
    connection.execute(
        text("INSERT INTO conversations_fts(conversations_fts, rank) VALUES ('merge', :pages)"),
        {"pages": pages},
    )
    return driver.total_changes - before >= 2


async def _in_turns(writer: Writer, work: Callable[[Connection], Any]) -> Any:
    """Do a step, then leave the writer to others for longer than the step took."""
    began = time.monotonic()
    answer = await writer.run(work)
    await asyncio.sleep(max(_SHORTEST_PAUSE, _YIELD * (time.monotonic() - began)))
    return answer


def _rows_from(table: Table, position: _Position, horizon: int, *columns: Any) -> Any:
    at = type_coerce(table.c.timestamp, Integer())
    return (
        select(table.c.id, at, *columns)
        .where(
            at >= position.timestamp,
            tuple_(at, table.c.id) > (position.timestamp, position.id),
            at < horizon,
        )
        .order_by(table.c.timestamp, table.c.id)
        .limit(_AT_ONCE)
    )


def _following(rows: Sequence[Any]) -> _Position | None:
    return _Position(rows[-1][1], rows[-1][0]) if len(rows) == _AT_ONCE else None


def _look_at_events(
    keeping: RetentionPolicy, now: int, horizon: int, connection: Connection, position: _Position
) -> Step:
    columns = events.c
    is_open_alert = and_(columns.type == "alert", not_(columns.resolved))
    query = _rows_from(events, position, horizon, columns.severity, is_open_alert)
    rows = [EventFacts(*row) for row in connection.execute(query)]
    return Step(events_to_go(rows, keeping, now), len(rows), _following(rows))


def _look_at_turns(horizon: int, connection: Connection, position: _Position) -> Step:
    rows = connection.execute(_rows_from(conversations, position, horizon)).all()
    return Step([row[0] for row in rows], len(rows), _following(rows))


def _snapshots_of(cluster: str, keeping: RetentionPolicy, now: int, horizon: int) -> Look:
    table = cluster_snapshots

    def look(connection: Connection, position: _Position) -> Step:
        query = _rows_from(table, position, horizon).where(table.c.cluster == cluster)
        rows = [SnapshotFacts(*row) for row in connection.execute(query)]
        if not rows:
            return Step([], 0, None)
        # The last of them can be judged only with its successor.
        beyond = _rows_from(table, _Position(rows[-1].timestamp, rows[-1].id), _NEVER)
        following = connection.execute(beyond.where(table.c.cluster == cluster).limit(1)).first()
        known = [*rows, SnapshotFacts(*following)] if following else rows
        return Step(snapshots_to_go(known, keeping, now), len(rows), _following(rows))

    return look
