"""Supervision of a session: one attempt after another, with a pause between."""

import asyncio
import random
from typing import Final, Protocol

import structlog

from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError, LostAtStart, RecorderError
from jarvis_recorder.runtime.process import set_within

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

    def seconds_after(self, error: RecorderError, held: float) -> float:
        """Return the pause after an attempt that ended in `error`; see `errors.LostAtStart`."""
        if not isinstance(error, LostAtStart):
            self._lost_at_start = 0
        elif self._lost_at_start < _MOST_AT_ONCE:
            self._lost_at_start += 1
            return _jitter(_FIRST_DELAY_SECONDS)
        return self.seconds(held)


def _jitter(delay: float) -> float:
    return random.uniform(0, delay)  # noqa: S311 - no secret


class Part(Protocol):
    """A part that works on one session after another."""

    @property
    def has_worked(self) -> bool:
        """True from the first session on that worked."""

    async def attempt(self) -> None:
        """
        Work on a session until the process is to stop.

        Raises:
            BrokerUnavailable: The session is lost; try again.
            ConfigurationError: The broker refuses it.
            RecorderError: An error that ends the process.
        """


async def supervise(
    part: Part, *, name: str, address: str, origin: str, stop: asyncio.Event
) -> None:
    """
    Have a part work until `stop` is set, again after every loss, with a `Backoff` between.

    A refusal of the broker ends it only if the part has never worked: a setting is wrong then.
    Later the broker itself has changed, perhaps for a moment: its users are imported again, its
    virtual host is made again, the service behind its logins is away.

    Raises:
        RecorderError: Any other error of an attempt.
    """
    loop = asyncio.get_running_loop()
    backoff = Backoff()
    while not stop.is_set():
        began = loop.time()
        try:
            await part.attempt()
        except (BrokerUnavailable, ConfigurationError) as error:
            if isinstance(error, ConfigurationError) and not part.has_worked:
                raise
            pause = backoff.seconds_after(error, loop.time() - began)
            log.warning(
                "broker_unavailable",
                part=name,
                url=address,
                configured_in=origin,
                error=str(error),
                retry_seconds=round(pause, 2),
            )
            await set_within(stop, pause)
