"""Supervision of a session: one attempt after another, with a pause between."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from jarvis_recorder.errors import BrokerUnavailable, LostAtStart

log = structlog.get_logger(__name__)

_FIRST_DELAY_SECONDS: Final = 0.2
_LONGEST_DELAY_SECONDS: Final = 4.0
_HELD_SECONDS: Final = 60.0
# The delivery limit of our queues is below this.
_MOST_AT_ONCE: Final = 60


class Backoff:
    """
    The pauses between attempts to connect: full jitter, a random part of a growing delay.

    The delay doubles from 0.2 s to 4 s; many clients then do not reconnect to a broker at the
    same time. After an attempt that held for a minute it begins again at the shortest.
    """

    def __init__(self) -> None:
        self._delay = _FIRST_DELAY_SECONDS
        self._lost_at_start = 0

    def seconds(self, held: float = 0.0) -> float:
        """Return the pause after an attempt that held for so many seconds."""
        if held > _HELD_SECONDS:
            self._delay = _FIRST_DELAY_SECONDS
        pause = _jitter(self._delay)
        self._delay = min(self._delay * 2, _LONGEST_DELAY_SECONDS)
        return pause

    def seconds_after(self, error: BrokerUnavailable, held: float) -> float:
        """Return the pause after an attempt that ended in `error`; see `errors.LostAtStart`."""
        if not isinstance(error, LostAtStart):
            self._lost_at_start = 0
        elif self._lost_at_start < _MOST_AT_ONCE:
            self._lost_at_start += 1
            return _jitter(_FIRST_DELAY_SECONDS)
        return self.seconds(held)


def _jitter(delay: float) -> float:
    return random.uniform(0, delay)  # noqa: S311 - no secret


async def supervise(
    attempt: Callable[[], Awaitable[None]],
    *,
    part: str,
    address: str,
    origin: str,
    stop: asyncio.Event,
) -> None:
    """
    Run `attempt` until `stop` is set, again after every loss, with a `Backoff` between.

    Raises:
        RecorderError: An attempt raised any other than BrokerUnavailable.
    """
    loop = asyncio.get_running_loop()
    backoff = Backoff()
    while not stop.is_set():
        began = loop.time()
        try:
            await attempt()
        except BrokerUnavailable as error:
            pause = backoff.seconds_after(error, loop.time() - began)
            log.warning(
                "broker_unavailable",
                part=part,
                url=address,
                configured_in=origin,
                error=str(error),
                retry_seconds=round(pause, 2),
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
