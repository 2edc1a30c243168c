"""
The deletion of whole months of events, of which nothing is kept, where they are partitioned.

To delete row by row costs the server a look at each, and a VACUUM of them afterwards.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.retention_policy import RetentionPolicy, event_horizons
from jarvis_recorder.storage.incident_pruning import forget_events
from jarvis_recorder.storage.pauses import followed_by_pause
from jarvis_recorder.storage.postgres import errors
from jarvis_recorder.storage.postgres.locks import Lock
from jarvis_recorder.storage.postgres.partitions import BRIEFLY, partitions
from jarvis_recorder.storage.postgres.search_turns import forget_identities
from jarvis_recorder.storage.tables import events
from jarvis_recorder.wire.times import to_micros

log = structlog.get_logger(__name__)

_LOCK_TIMEOUT: Final = "55P03"
_TRY: Final = text("SELECT pg_try_advisory_xact_lock(:key)")
_KEPT: Final = "(type = 'alert' AND NOT resolved) OR severity <> ALL(CAST(:expired AS text[]))"

_AT_ONCE: Final = 500
_TRIES: Final = 10
_AGAIN_SECONDS: Final = 1.0


class _Expired(NamedTuple):
    """A partition, and the severities whose events are expired in all of it."""

    name: str
    severities: list[str]


async def drop_expired_months(
    engine: AsyncEngine,
    server: str,
    keeping: RetentionPolicy,
    now: int,
    enough: Callable[[], bool],
) -> int:
    """
    Drop the months of which the policy keeps nothing; return how many events they had, counted.

    A month that others use all the time, or that is too large to be looked through in seconds, is
    left: then its rows are deleted as others are.
    """
    gone = 0
    async with engine.begin() as connection:
        months = await connection.run_sync(partial(_expired, keeping=keeping, now=now))
    for month in months:
        for forget in (_forget_signals, _forget_identities):
            position: int | None = 0
            while position is not None and not enough():
                async with followed_by_pause(), engine.begin() as connection:
                    position = await connection.run_sync(forget, month.name, position)
        if enough():
            break
        gone += await _dropped(engine, server, month)
    return gone


def _expired(connection: Connection, keeping: RetentionPolicy, now: int) -> Sequence[_Expired]:
    """Return the months without a row to keep, oldest first; none while another recorder prunes."""
    if not connection.execute(_TRY, {"key": Lock.RETENTION}).scalar_one():
        return []
    horizons = event_horizons(keeping, now)
    found = []
    for part in partitions(connection):
        if part.is_rest or not part.is_leaf:
            continue
        end = to_micros(part.ends)
        expired = [severity for severity, horizon in horizons.items() if end <= horizon]
        kept = text(f"SELECT EXISTS (SELECT FROM {part.name} WHERE {_KEPT})")
        if expired and not connection.execute(kept, {"expired": expired}).scalar_one():
            found.append(_Expired(part.name, [*expired]))
    return found


def _forget_signals(connection: Connection, month: str, position: int) -> int | None:
    """Have some signals name none of its events any more; return the next position."""
    named = text(
        "SELECT DISTINCT s.event_id FROM incident_signals s"
        f" WHERE s.event_id > greatest(:position, (SELECT min(id) FROM {month}) - 1)"
        f" AND s.event_id <= (SELECT max(id) FROM {month})"
        f" AND EXISTS (SELECT FROM {month} e WHERE e.id = s.event_id)"
        " ORDER BY s.event_id LIMIT :most"
    )
    ids = connection.execute(named, {"position": position, "most": _AT_ONCE}).scalars().all()
    forget_events(connection, ids)
    return ids[-1] if len(ids) == _AT_ONCE else None


def _forget_identities(connection: Connection, month: str, position: int) -> int | None:
    """Forget some identities of its events without a time; return the next position."""
    stamped = text(
        f"SELECT id, message_id FROM {month} WHERE id > :position AND stamped"
        " AND message_id IS NOT NULL ORDER BY id LIMIT :most"
    )
    rows = connection.execute(stamped, {"position": position, "most": _AT_ONCE}).all()
    forget_identities(connection, events.name, [row.message_id for row in rows])
    return rows[-1].id if len(rows) == _AT_ONCE else None


async def _dropped(engine: AsyncEngine, server: str, month: _Expired) -> int:
    why = ""
    for _ in range(_TRIES):
        try:
            with errors.translated_errors(server):
                async with engine.begin() as connection:
                    rows = await connection.run_sync(_drop, month)
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
                log.info("month_dropped", partition=month.name, events=rows)
            return rows or 0
    log.warning("month_not_dropped", partition=month.name, error=why)
    return 0


def _drop(connection: Connection, month: _Expired) -> int | None:
    """Drop a month and return how many rows it had, None if it stays."""
    connection.execute(BRIEFLY)
    if not connection.execute(_TRY, {"key": Lock.RETENTION}).scalar_one():
        return None
    there = connection.execute(text("SELECT to_regclass(:name)"), {"name": month.name})
    if there.scalar() is None:
        return None
    # Those who write to this month wait from here on, and find it gone: what they bring goes to
    # the DEFAULT partition.
    connection.exec_driver_sql(f"LOCK TABLE {month.name} IN SHARE ROW EXCLUSIVE MODE")
    counts = text(f"SELECT count(*), count(*) FILTER (WHERE {_KEPT}) FROM {month.name}")
    rows, kept = connection.execute(counts, {"expired": month.severities}).one()
    if kept:
        return None
    position: int | None = 0
    while position is not None:
        position = _forget_signals(connection, month.name, position)
    connection.exec_driver_sql(f"DROP TABLE {month.name}")
    return int(rows)
