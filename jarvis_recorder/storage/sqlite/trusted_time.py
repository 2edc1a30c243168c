"""
How late it is by what the database knows, whatever the clock says.

What is pruned by a clock that is wrong once cannot be had again. So a clock that has jumped ahead is
believed no faster than time is seen to pass, or when somebody says that it is right.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection, Integer, select, type_coerce

from jarvis_recorder.ports import Clock
from jarvis_recorder.retention_policy import HOUR, UNSET
from jarvis_recorder.storage.sqlite.connections import driver_of
from jarvis_recorder.storage.sqlite.writer import Writer
from jarvis_recorder.storage.tables import cluster_snapshots, conversations, events
from jarvis_recorder.wire.times import to_datetime

log = structlog.get_logger(__name__)

# Kept in the header of the file, where an application has 31 bits of its own: it goes with every
# copy, and needs no table.
_MINUTE: Final = 60 * 1_000_000
_SECOND: Final = 1_000_000
# What a time without power has left out is made up for, while nothing goes too early by much.
_SPEED: Final = 2
# A machine that is on each evening makes up for no night at that speed, nor needs to: a clock that is
# ahead by the time from one evening to the next, at most, is believed.
_DOUBT: Final = 36 * HOUR


class TrustedTime:
    """The time that pruning goes by; never ahead of the clock."""

    def __init__(
        self, writer: Writer, clock: Clock, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._monotonic = monotonic
        self._known: int | None = None
        self._since = monotonic()

    async def now(self) -> int:
        """Return how late it is at least, in microseconds, and remember it."""
        if self._known is None:
            self._known = await self._writer.run(_recall)
        clock = self._clock()
        if self._known is None:
            return clock
        seen = self._monotonic()
        passed = int((seen - self._since) * _SPEED * _SECOND)
        likely = self._known + passed
        now = clock if clock - likely <= _DOUBT else likely
        if now // _MINUTE > self._known // _MINUTE:
            self._known, self._since = now, seen
            await self._writer.run(partial(remember, now))
        return now

    def is_doubted(self, trusted: int) -> bool:
        """Whether the clock is so far ahead that nothing is to go for its age."""
        return self._clock() - trusted > _DOUBT

    def say_doubted(self, trusted: int) -> None:
        log.warning(
            "clock_not_believed",
            clock=to_datetime(self._clock()).isoformat(timespec="seconds"),
            last_known_good=to_datetime(trusted).isoformat(timespec="seconds"),
            so="nothing is pruned for its age",
            command="if the clock is right: stop the recorder, jarvis-recorder db prune --yes",
        )


def _recall(connection: Connection) -> int | None:
    """Return the last moment known to be one; what is recorded from now on does not change it."""
    known = known_good(connection)
    if known is not None:
        remember(known, connection)
    return known


def known_good(connection: Connection) -> int | None:
    """Return the last moment known to be one, in microseconds; None where nothing is recorded."""
    (minutes,) = driver_of(connection).execute("PRAGMA user_version").fetchone()
    if minutes * _MINUTE >= UNSET:
        return int(minutes) * _MINUTE
    newest = [
        connection.execute(
            select(type_coerce(table.c.recorded_at, Integer())).order_by(table.c.id.desc()).limit(1)
        ).scalar()
        for table in (events, conversations, cluster_snapshots)
    ]
    return max((moment for moment in newest if moment and moment >= UNSET), default=None)


def remember(moment: int, connection: Connection) -> None:
    """Take a moment for one that has been."""
    minutes = min(max(moment // _MINUTE, 0), 2**31 - 1)
    driver_of(connection).execute(f"PRAGMA user_version = {minutes}").close()
