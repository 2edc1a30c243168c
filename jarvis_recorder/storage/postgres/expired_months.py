"""
The deletion of whole months of events, of which nothing is kept, where they are partitioned.

To delete row by row costs the server a look at each, and a VACUUM of them afterwards.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.retention_policy import RetentionPolicy, event_horizons
from jarvis_recorder.storage.incidents.pruning import forget_events, tell_after_another
from jarvis_recorder.storage.pauses import followed_by_pause
from jarvis_recorder.storage.postgres import errors
from jarvis_recorder.storage.postgres.locks import Lock, may_prune, take
from jarvis_recorder.storage.postgres.partitions import BRIEFLY, partitions
from jarvis_recorder.storage.postgres.search_turns import forget_identities
from jarvis_recorder.storage.tables import events
from jarvis_recorder.wire.times import to_datetime, to_micros

log = structlog.get_logger(__name__)

_LOCK_TIMEOUT: Final = "55P03"
_KEPT: Final = (
    "(type = 'alert' AND (NOT resolved OR coalesce(resolved_at >= :since, false)))"
    " OR severity <> ALL(CAST(:expired AS text[]))"
)

_SIGNALLED: Final = (
    "SELECT DISTINCT s.event_id FROM incident_signals s"
    " WHERE s.event_id > greatest(:after, (SELECT min(id) FROM {month}) - 1)"
    " AND s.event_id <= (SELECT max(id) FROM {month})"
    " AND EXISTS (SELECT FROM {month} e WHERE e.id = s.event_id)"
    " ORDER BY s.event_id LIMIT :most"
)
_STAMPED: Final = (
    "SELECT id FROM {month} WHERE id > :after AND stamped AND message_id IS NOT NULL"
    " ORDER BY id LIMIT :most"
)
_TOLD_AFTER: Final = "SELECT id FROM {month} WHERE id = (SELECT told_after FROM incident_progress)"
_NAMED: Final = (_SIGNALLED, _STAMPED)
"""The events that another table names: a signal, or an identity without a time."""

_AT_ONCE: Final = 500
_TRIES: Final = 10
_AGAIN_SECONDS: Final = 1.0


class _Expired(NamedTuple):
    """A partition, and the severities whose events are expired in all of it, as before a time."""

    name: str
    severities: list[str]
    since: int

    def values(self) -> dict[str, Any]:
        """Return the values that tell which of its events are kept."""
        return {"expired": self.severities, "since": to_datetime(self.since)}


class _Part(NamedTuple):
    """The events that a step has deleted, and the id after which the next one begins."""

    gone: int
    following: int | None


async def drop_expired_months(
    engine: AsyncEngine,
    server: str,
    policy: RetentionPolicy,
    now: int,
    enough: Callable[[], bool],
    *,
    waits: bool = False,
) -> int:
    """
    Drop the months of which the policy keeps nothing; return how many events they had, counted.

    A month that others use all the time, or that is too large to be looked through in seconds, is
    left: then its rows are deleted as others are. So are, first of all, those that another table
    names: if the month is not dropped after all, no event is left that has lost its signals.
    """
    gone = 0
    async with engine.begin() as connection:
        months = await connection.run_sync(partial(_expired, policy=policy, now=now, waits=waits))
    for month in months:
        deleted = await _delete_named(engine, month, enough, waits=waits)
        gone += deleted
        if enough():
            break
        gone += await _dropped(engine, server, month, deleted, waits=waits)
    return gone


async def _delete_named(
    engine: AsyncEngine, month: _Expired, enough: Callable[[], bool], *, waits: bool
) -> int:
    """Delete the events that another table names; return how many."""
    gone = 0
    for named in _NAMED:
        position: int | None = 0
        while position is not None and not enough():
            step = partial(_delete_some, month=month, named=named, after=position, waits=waits)
            async with followed_by_pause(), engine.begin() as connection:
                part = await connection.run_sync(step)
            gone += part.gone
            position = part.following
    return gone


def _expired(
    connection: Connection, *, policy: RetentionPolicy, now: int, waits: bool
) -> Sequence[_Expired]:
    """Return the months without a row to keep, oldest first; none if another recorder prunes."""
    if not may_prune(connection, waits=waits):
        return []
    horizons = event_horizons(policy, now)
    found = []
    for part in partitions(connection):
        if part.is_rest or not part.is_leaf:
            continue
        end = to_micros(part.ends)
        expired = {severity: at for severity, at in horizons.items() if end <= at}
        if not expired:
            continue
        month = _Expired(part.name, [*expired], min(expired.values()))
        kept = text(f"SELECT EXISTS (SELECT FROM {part.name} WHERE {_KEPT})")
        if not connection.execute(kept, month.values()).scalar_one():
            found.append(month)
    return found


def _delete_some(
    connection: Connection, *, month: _Expired, named: str, after: int, waits: bool
) -> _Part:
    """Delete some of the named events, unless another recorder prunes."""
    if not may_prune(connection, waits=waits):
        return _Part(0, None)
    # The keeper of incidents changes the same signals.
    take(connection, Lock.CHANGES)
    ids = _ids(connection, month, named, after, _AT_ONCE)
    gone = _delete(connection, month, ids)
    return _Part(gone, ids[-1] if len(ids) == _AT_ONCE else None)


def _ids(
    connection: Connection, month: _Expired, named: str, after: int, most: int
) -> Sequence[int]:
    query = text(named.format(month=month.name))
    return connection.execute(query, {"after": after, "most": most}).scalars().all()


def _delete(connection: Connection, month: _Expired, ids: Sequence[int]) -> int:
    """Delete those of the events that are expired, with what names them; return how many."""
    expired = text(
        f"DELETE FROM {month.name} WHERE id = ANY(:ids) AND NOT ({_KEPT})"
        " RETURNING id, message_id, stamped"
    )
    found = connection.execute(expired, {"ids": [*ids], **month.values()}).all()
    forget_events(connection, [row.id for row in found])
    forget_identities(connection, events.name, [row.message_id for row in found if row.stamped])
    return len(found)


async def _dropped(
    engine: AsyncEngine, server: str, month: _Expired, deleted: int, *, waits: bool
) -> int:
    """Drop a month of which so many events are deleted; return how many it had left."""
    why = ""
    for _ in range(_TRIES):
        try:
            with errors.translated_errors(server):
                async with engine.begin() as connection:
                    rows = await connection.run_sync(partial(_drop, month=month, waits=waits))
        except StorageUnavailable as error:
            why = str(error)
            state = errors.state_of(error)
            if state == errors.CANCELED:
                break
            if state != _LOCK_TIMEOUT:
                raise
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            if rows is not None:
                log.info("month_dropped", partition=month.name, events=deleted + rows)
            return rows or 0
    log.warning("month_not_dropped", partition=month.name, error=why)
    return 0


def _drop(connection: Connection, *, month: _Expired, waits: bool) -> int | None:
    """Drop a month and return how many rows it had, None if it stays."""
    connection.execute(BRIEFLY)
    if not may_prune(connection, waits=waits):
        return None
    there = connection.execute(text("SELECT to_regclass(:name)"), {"name": month.name})
    if there.scalar() is None:
        return None
    # Those who write to this month wait from here on, and find it gone: what they bring goes to
    # the DEFAULT partition.
    connection.exec_driver_sql(f"LOCK TABLE {month.name} IN SHARE ROW EXCLUSIVE MODE")
    counts = text(f"SELECT count(*), count(*) FILTER (WHERE {_KEPT}) FROM {month.name}")
    rows, kept = connection.execute(counts, month.values()).one()
    if kept:
        return None
    # From here on its events get no signal either.
    take(connection, Lock.CHANGES)
    named = [_ids(connection, month, query, 0, _AT_ONCE + 1) for query in _NAMED]
    if any(len(ids) > _AT_ONCE for ids in named):
        return None
    for ids in named:
        _delete(connection, month, ids)
    told_after = connection.execute(text(_TOLD_AFTER.format(month=month.name))).scalars().all()
    connection.exec_driver_sql(f"DROP TABLE {month.name}")
    tell_after_another(connection, told_after)
    return int(rows)
