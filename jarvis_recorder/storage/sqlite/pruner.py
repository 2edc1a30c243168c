"""The deletion of expired rows in small steps, alongside the recording."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Table, delete

from jarvis_recorder.retention_policy import RetentionPolicy
from jarvis_recorder.storage.expired_rows import ClusterPosition, Position, PruneStep, Walk, walks
from jarvis_recorder.storage.incidents.pruning import clamp_progress, forget_events
from jarvis_recorder.storage.leftovers import Leftover, leftovers
from jarvis_recorder.storage.pauses import followed_by_pause
from jarvis_recorder.storage.sqlite.connections import PageCounts, driver_of, page_counts
from jarvis_recorder.storage.sqlite.search import take_words_out
from jarvis_recorder.storage.sqlite.writer import GoOn, SqliteWriter, always
from jarvis_recorder.storage.tables import conversations, events

_PAGES_AT_ONCE: Final = 256
FEW_FREE_PAGES: Final = 1_024


async def prune(
    writer: SqliteWriter,
    policy: RetentionPolicy,
    now: int,
    *,
    enough: Callable[[PageCounts], bool] = lambda _: False,
    go_on: GoOn = always,
    progress: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """
    Delete the rows the policy does not keep, and return how many of each table.

    It works in small transactions with pauses, until all is done, `enough` returns True after one
    of them, or `go_on` returns False before one. Deleted rows are overwritten, and so are the words
    of deleted turns in the search index, as long as `go_on` returns True.
    """
    gone: Counter[str] = Counter()
    room = await writer.run(page_counts)
    for walk in walks(policy, now):
        position: Position | ClusterPosition | None = walk.beginning
        while position is not None and not enough(room) and await go_on():
            step, room = await _in_turns(writer, partial(_prune_step, walk, position))
            gone[walk.table.name] += len(step.to_go)
            position = step.following
            progress(gone.total())
    for leftover in leftovers(policy, now, gone):
        place = leftover.beginning
        while place is not None and not enough(room) and await go_on():
            place, room = await _in_turns(writer, partial(_leftover_step, leftover, place))
    if gone[conversations.name]:
        await writer.forget_words(go_on)
    return +gone


def _prune_step(
    walk: Walk, position: Position | ClusterPosition, connection: Connection
) -> tuple[PruneStep, PageCounts]:
    step = walk.step(connection, position)
    if step.to_go:
        _delete(walk.table, step.to_go, connection)
    return step, page_counts(connection)


def _leftover_step(
    leftover: Leftover, place: Any, connection: Connection
) -> tuple[Any, PageCounts]:
    return leftover.step(connection, place), page_counts(connection)


def _delete(table: Table, ids: list[int], connection: Connection) -> None:
    to_go = table.c.id.in_(ids)
    if table is conversations:
        take_words_out(connection, to_go)
    if table is events:
        forget_events(connection, ids)
    connection.execute(delete(table).where(to_go))
    if table is events:
        clamp_progress(connection)


async def give_back(
    writer: SqliteWriter, *, least: int = FEW_FREE_PAGES, go_on: GoOn = always
) -> int:
    """
    Return free pages to the file system in small steps, except for `least`; return how many.

    It ends early if `go_on` returns False before a step. It does nothing in a file without
    incremental vacuum; `db vacuum` turns that on.
    """
    given = 0
    while await go_on() and (room := await writer.run(page_counts)).free > least:
        most = min(_PAGES_AT_ONCE, room.free - least)
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


async def _in_turns(writer: SqliteWriter, work: Callable[[Connection], Any]) -> Any:
    """Do a step, then leave the writer to others for longer than the step took."""
    async with followed_by_pause():
        return await writer.run_with_room(work)
