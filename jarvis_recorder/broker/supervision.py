"""What keeps a session up: one attempt after another, with a pause between."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from jarvis_recorder.errors import BrokerUnavailable

log = structlog.get_logger(__name__)

_FIRST_DELAY_SECONDS: Final = 0.2
_LONGEST_DELAY_SECONDS: Final = 4.0
_HELD_SECONDS: Final = 60.0


async def supervise(
    attempt: Callable[[], Awaitable[None]],
    *,
    part: str,
    address: str,
    origin: str,
    stop: asyncio.Event,
) -> None:
    """
    Run `attempt` until `stop` is set, again after every loss, and pause between failures.

    The pause is full jitter (a random part of a delay that doubles from 0.2 s to 4 s), so
    that many clients do not come back to a broker at the same moment. After an attempt that
    held for a minute it begins again at the shortest.

    Raises:
        RecorderError: Whatever an attempt raises besides BrokerUnavailable.
    """
    loop = asyncio.get_running_loop()
    delay = _FIRST_DELAY_SECONDS
    while not stop.is_set():
        began = loop.time()
        try:
            await attempt()
        except BrokerUnavailable as error:
            if loop.time() - began > _HELD_SECONDS:
                delay = _FIRST_DELAY_SECONDS
            pause = random.uniform(0, delay)  # noqa: S311 - jitter, no secret
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
            delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
