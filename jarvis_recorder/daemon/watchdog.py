"""Notifications to the service manager: ready, alive, status, stopping."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, Self

from jarvis_recorder.errors import RecorderError
from jarvis_recorder.ports import Clock
from jarvis_recorder.runtime.systemd import ServiceManager
from jarvis_recorder.telemetry.status import RecorderStatus, State

Answers = Callable[[], Coroutine[Any, Any, object]]
"""Returns once the database writer has responded."""

_BEAT_SECONDS: Final = 2.0
_BEATS_IN_WATCHDOG: Final = 4
# Until it is ready someone waits for it, perhaps at a terminal.
_STARTING_SECONDS: Final = 0.5
# Only a hang blocks the event loop for so long.
_EXTENSION_MICROSECONDS: Final = 60_000_000

_WAITING: Final = {
    State.CONNECTING: "waiting for the broker",
    State.STORAGE_UNAVAILABLE: "waiting for the storage; the broker holds the messages",
    State.STOPPING: "stopping",
}


class Watchdog:
    """
    A sender of the recorder's state to the service manager while entered.

    `READY=1` once it records and replies to requests; until then, however long a migration or an
    outage of the broker takes, `EXTEND_TIMEOUT_USEC`. `WATCHDOG=1` only while the event loop runs
    and the database writer responds: a hang stops it. A refusal of the storage is a response, and
    an outage of the broker does not matter here.
    """

    def __init__(
        self, manager: ServiceManager, status: RecorderStatus, clock: Clock, stop: asyncio.Event
    ) -> None:
        self._manager = manager
        self._status = status
        self._clock = clock
        self._stop = stop
        self._ready = False
        self._ask: Answers | None = None
        self._answer: asyncio.Task[object] | None = None
        self._answered_at = self._beat_at = 0.0
        self._stored = 0
        self._beat_seconds = _BEAT_SECONDS
        if manager.watchdog_seconds is not None:
            self._beat_seconds = min(_BEAT_SECONDS, manager.watchdog_seconds / _BEATS_IN_WATCHDOG)

    async def __aenter__(self) -> Self:
        self._beating = asyncio.create_task(self._beat_until_stopped())
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        if isinstance(error, RecorderError):
            self._manager.tell(STATUS=f"failed: {error}")

    @contextlib.contextmanager
    def watching(self, ask: Answers) -> Iterator[None]:
        """Require a response of the database writer for each `WATCHDOG=1` while entered."""
        self._ask = ask
        try:
            yield
        finally:
            self._ask = None

    async def _beat_until_stopped(self) -> None:
        if not self._manager.listens:
            return
        while not self._stop.is_set():
            self._beat(asyncio.get_running_loop().time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    self._beat_seconds if self._ready else _STARTING_SECONDS
                ):
                    await self._stop.wait()
        self._manager.tell(STOPPING=1, STATUS=_WAITING[State.STOPPING])

    def _beat(self, now: float) -> None:
        if not self._has_answered(now):
            silent = now - self._answered_at
            self._manager.tell(STATUS=f"the database has not answered for {silent:.0f} s")
            return
        facts: dict[str, object] = {"STATUS": self._status_line(now)}
        if not self._ready and self._is_ready():
            self._ready = self._manager.tell(READY=1)
        if not self._ready:
            facts["EXTEND_TIMEOUT_USEC"] = _EXTENSION_MICROSECONDS
        if self._manager.watchdog_seconds is not None:
            facts["WATCHDOG"] = 1
        self._manager.tell(**facts)

    def _has_answered(self, now: float) -> bool:
        """Return whether the writer has responded since the last call; if so, probe it again."""
        if self._answer is not None and not self._answer.done():
            return False
        if self._answer is not None:
            self._answer.result()
        self._answered_at = now
        self._answer = asyncio.create_task(self._ask()) if self._ask else None
        return True

    def _is_ready(self) -> bool:
        return self._status.state is State.RECORDING and self._status.answering

    def _status_line(self, now: float) -> str:
        status = self._status
        rate = (status.stored - self._stored) / (now - self._beat_at)
        self._beat_at, self._stored = now, status.stored
        if self._ask is None:
            return "opening the database"
        if status.state in _WAITING:
            return _WAITING[status.state]
        dead = status.dead_letters.total()
        answering = "" if status.answering else "; not answering"
        return (
            f"recording: {rate:.1f}/s, lag {status.lag_seconds(self._clock()):.1f} s; "
            f"{status.stored} stored, {dead} dead-lettered{answering}"
        )
