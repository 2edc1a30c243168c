"""A periodic probe of the storage."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from jarvis_recorder.errors import StorageDamaged, StorageUnavailable, StorageUncertain
from jarvis_recorder.ports import StorageHealth

_PAUSE_SECONDS: Final = 1.0


class StorageProbe:
    """
    The storage's latest answer. Polled, so an outage shows even when no messages arrive.

    `refusal` is None while the storage is writable; `answered_at` is on the event loop's clock.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[StorageHealth]], pause_seconds: float = _PAUSE_SECONDS
    ) -> None:
        self._probe = probe
        self._pause_seconds = pause_seconds
        self._loop = asyncio.get_running_loop()
        self.health: StorageHealth | None = None
        self.refusal: str | None = None
        self.answered_at = self._loop.time()

    @property
    def silent_seconds(self) -> float:
        """Seconds that the current probe has gone unanswered; the pause between probes is not counted."""
        return max(0.0, self._loop.time() - self.answered_at - self._pause_seconds)

    async def run(self) -> None:
        """Probe the storage until cancelled."""
        while True:
            try:
                self.health = await self._probe()
                self.refusal = None
            except (StorageUnavailable, StorageUncertain, StorageDamaged) as error:
                self.refusal = str(error)
            self.answered_at = self._loop.time()
            await asyncio.sleep(self._pause_seconds)
