"""The deletion of expired rows, by one recorder at a time, alongside the recording of all."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import Connection, delete
from sqlalchemy.ext.asyncio import AsyncEngine

from jarvis_recorder.errors import (
    DeadlineExceeded,
    OutcomeUnknown,
    RecorderError,
    StorageUnavailable,
)
from jarvis_recorder.ports import Clock
from jarvis_recorder.retention_policy import RetentionPolicy
from jarvis_recorder.runtime.process import set_within
from jarvis_recorder.storage.expired_rows import ClusterPosition, Position, PruneStep, Walk, walks
from jarvis_recorder.storage.incidents.pruning import forget_events
from jarvis_recorder.storage.leftovers import Leftover, leftovers
from jarvis_recorder.storage.pauses import followed_by_pause
from jarvis_recorder.storage.postgres import errors
from jarvis_recorder.storage.postgres.expired_months import drop_expired_months
from jarvis_recorder.storage.postgres.locks import Lock, may_prune, take
from jarvis_recorder.storage.postgres.partitions import make_ahead
from jarvis_recorder.storage.postgres.search_turns import forget_identities
from jarvis_recorder.storage.postgres.trusted_time import known_good, remember
from jarvis_recorder.storage.postgres.writer import PostgresWriter
from jarvis_recorder.storage.tables import events
from jarvis_recorder.storage.trusted_time import Memory, TrustedTime

log = structlog.get_logger(__name__)

_FIRST_AFTER_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 3_600.0


class PostgresMaintenance:
    """
    The deletion, every hour, of what the policy does not keep.

    Each step takes the lock for its own transaction. If another recorder has it, that one prunes,
    and this one lets the hour pass: two at once would do the same work twice, and no harm.
    """

    def __init__(
        self,
        policy: RetentionPolicy,
        engine: AsyncEngine,
        server: str,
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._engine = engine
        self._server = server
        writer = PostgresWriter(engine, server)
        self._left: set[str] = set()
        self._time = TrustedTime(writer, Memory(known_good, remember), clock, monotonic)

    async def run(self, stop: asyncio.Event) -> None:
        """Prune until `stop` is set; a failed attempt is logged and tried again."""
        pause = _FIRST_AFTER_SECONDS
        while not await set_within(stop, pause):
            pause = _AGAIN_SECONDS
            await self.make_months()
            try:
                await self._prune(stop)
            except (StorageUnavailable, DeadlineExceeded, OutcomeUnknown) as error:
                log.warning("not_pruned", error=str(error))

    async def make_months(self) -> None:
        """Make the partitions of this month and the next, where events have them; see `make_ahead`."""
        try:
            with errors.translated_errors(self._server):
                async with self._engine.begin() as connection:
                    left = await connection.run_sync(make_ahead)
        except RecorderError as error:
            log.warning("months_not_made", error=str(error))
            return
        for month in set(left) - self._left:
            log.warning("month_not_made", partition=month, error="the DEFAULT partition has it")
        self._left |= {*left}

    async def _prune(self, stop: asyncio.Event) -> None:
        if self._policy.keeps_everything:
            # So that the time is known once the policy changes.
            await self._time.now()
            return
        now = await self._time.believed()
        if now is None:
            return
        gone = await prune(self._engine, self._server, self._policy, now, enough=stop.is_set)
        if gone:
            log.info("pruned", reason="retention", **gone)


async def prune(
    engine: AsyncEngine,
    server: str,
    policy: RetentionPolicy,
    now: int,
    *,
    enough: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda _: None,
    waits: bool = False,
) -> Counter[str]:
    """
    Delete the rows the policy does not keep, and return how many of each table.

    It works in small transactions with pauses, until all is done, `enough` returns True, or
    another recorder is found at it; if it `waits`, it takes turns with that one.
    """
    gone: Counter[str] = Counter()
    with errors.translated_errors(server):
        gone[events.name] = await drop_expired_months(
            engine, server, policy, now, enough, waits=waits
        )
        if gone.total():
            progress(gone.total())
        for walk in walks(policy, now):
            position: Position | ClusterPosition | None = walk.beginning
            while position is not None and not enough():
                step = await _in_turns(engine, partial(_step, walk, position, waits))
                if step is None:
                    log.info("pruning_left_to_another")
                    return +gone
                gone[walk.table.name] += len(step.to_go)
                position = step.following
                progress(gone.total())
        for leftover in leftovers(policy, now, gone):
            place = leftover.beginning
            while place is not None and not enough():
                place = await _in_turns(engine, partial(_leftover_step, leftover, place))
    return +gone


async def _in_turns(engine: AsyncEngine, work: Callable[[Connection], Any]) -> Any:
    """Do a step, then leave the server to others for longer than the step took."""
    async with followed_by_pause(), engine.begin() as connection:
        return await connection.run_sync(work)


def _leftover_step(leftover: Leftover, place: Any, connection: Connection) -> Any:
    # The keeper of incidents changes the same rows.
    take(connection, Lock.CHANGES)
    return leftover.step(connection, place)


def _step(
    walk: Walk, position: Position | ClusterPosition, waits: bool, connection: Connection
) -> PruneStep | None:
    """Delete what is expired of the next rows; return None if another recorder prunes."""
    if not may_prune(connection, waits=waits):
        return None
    table = walk.table
    if table is events:
        # The keeper of incidents may be storing signals that name them.
        take(connection, Lock.CHANGES)
    step = walk.step(connection, position)
    if step.to_go:
        if table is events:
            forget_events(connection, step.to_go)
        gone = connection.execute(
            delete(table)
            .where(table.c.id.in_(step.to_go))
            .returning(table.c.message_id, table.c.stamped)
        )
        forget_identities(connection, table.name, [one for one, stamped in gone if stamped])
    return step
