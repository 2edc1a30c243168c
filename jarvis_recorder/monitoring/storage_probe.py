"""Asking the storage, again and again, whether it would take something."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from jarvis_recorder.errors import StorageDamaged, StorageUnavailable, StorageUncertain
from jarvis_recorder.ports import StorageHealth

_PAUSE_SECONDS: Final = 1.0


class StorageProbe:
    """
    What the storage last said; also where there is nothing to record it is known to refuse.

    `refusal` is None while it takes something, `answered_at` a time of the event loop's clock.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[StorageHealth]], pause_seconds: float = _PAUSE_SECONDS
    ) -> None:
        self._probe = probe
        self._pause_seconds = pause_seconds
        self._loop = asyncio.get_running_loop()
        self.condition: StorageHealth | None = None
        self.refusal: str | None = None
        self.answered_at = self._loop.time()

    @property
    def silent_seconds(self) -> float:
        """For how long it has said nothing: each answer is followed by a question."""
        return max(0.0, self._loop.time() - self.answered_at - self._pause_seconds)

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            try:
                self.condition = await self._probe()
                self.refusal = None
            except (StorageUnavailable, StorageUncertain, StorageDamaged) as error:
                self.refusal = str(error)
            self.answered_at = self._loop.time()
            await asyncio.sleep(self._pause_seconds)
