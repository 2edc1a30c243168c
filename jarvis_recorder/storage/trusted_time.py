"""
The time that pruning trusts, from the database and the clock.

Rows pruned by a clock that was wrong once are lost. So after a jump ahead the trusted time
advances only as fast as time is measured to pass, until an operator confirms the clock.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import structlog
from sqlalchemy import Connection, select

from jarvis_recorder.ports import Clock
from jarvis_recorder.retention_policy import HOUR, UNSET
from jarvis_recorder.storage.engine import Writer
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.tables import cluster_snapshots, conversations, events
from jarvis_recorder.wire.times import to_datetime

log = structlog.get_logger(__name__)

_MINUTE: Final = 60 * 1_000_000
_SECOND: Final = 1_000_000
# Faster than real time, to make up for time without power; nothing is pruned much too early.
_SPEED: Final = 2
# A clock ahead by this much at most is believed: a machine that is on each evening only could
# never make up for the nights at that speed.
_DOUBT: Final = 36 * HOUR


class Memory(NamedTuple):
    """The last known good time, as a database stores it."""

    known_good: Callable[[Connection], int | None]
    """Returns it in microseconds; None if nothing is recorded."""
    remember: Callable[[int, Connection], None]
    """Stores it."""


class TrustedTime:
    """The time that pruning uses; never ahead of the clock."""

    def __init__(
        self,
        writer: Writer,
        memory: Memory,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._memory = memory
        self._clock = clock
        self._monotonic = monotonic
        self._known: int | None = None
        self._since = monotonic()

    async def now(self) -> int:
        """Return the trusted time in microseconds, and store it."""
        if self._known is None:
            self._known = await self._writer.run(self._recall)
        clock = self._clock()
        if self._known is None:
            return clock
        seen = self._monotonic()
        passed = int((seen - self._since) * _SPEED * _SECOND)
        likely = self._known + passed
        if clock - likely > _DOUBT:
            # On a server the operator, or another recorder, may have stored a later time by now.
            stored = await self._writer.run(self._memory.known_good)
            likely = max(likely, stored or likely)
        now = clock if clock - likely <= _DOUBT else likely
        if now // _MINUTE > self._known // _MINUTE:
            self._known, self._since = now, seen
            await self._writer.run(partial(self._memory.remember, now))
        return now

    def _recall(self, connection: Connection) -> int | None:
        """Return the last known good time, and store it, so that new rows do not change it."""
        known = self._memory.known_good(connection)
        if known is not None:
            self._memory.remember(known, connection)
        return known

    def is_doubted(self, trusted: int) -> bool:
        """Return whether the clock is so far ahead that nothing may be pruned by age."""
        return self._clock() - trusted > _DOUBT

    async def believed(self) -> int | None:
        """Return the trusted time; None, and log it, if the clock is too far ahead to prune by age."""
        trusted = await self.now()
        if not self.is_doubted(trusted):
            return trusted
        log.warning(
            "clock_not_believed",
            clock=to_datetime(self._clock()).isoformat(timespec="seconds"),
            last_known_good=to_datetime(trusted).isoformat(timespec="seconds"),
            so="nothing is pruned for its age",
            command="if the clock is right: stop the recorder, jarvis-recorder db prune --yes",
        )
        return None


def newest_recorded(connection: Connection) -> int | None:
    """Return when the newest rows were recorded, in microseconds; None if there are none."""
    newest = [
        connection.execute(
            select(micros(table.c.recorded_at)).order_by(table.c.id.desc()).limit(1)
        ).scalar()
        for table in (events, conversations, cluster_snapshots)
    ]
    return max((moment for moment in newest if moment and moment >= UNSET), default=None)
