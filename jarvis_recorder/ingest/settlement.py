"""The settlement of one consumer's deliveries."""

import asyncio
from typing import Final

from jarvis_recorder.ports import Consumer
from jarvis_recorder.wire.topics import Topic

# One in so many deliveries of the window may wait for the dead letter queue.
_WAITING_SHARE: Final = 4


class Settlement:
    """
    One topic's consumer and the settlement of its deliveries.

    A delivery that waits for its dead letter to be confirmed is held. It must not keep its
    successors from being acked: in a memory alarm the broker confirms nothing for hours.
    `window` limits the consumer's unsettled deliveries; 0 is no limit.
    """

    def __init__(self, topic: Topic, consumer: Consumer, window: int = 0) -> None:
        self.topic = topic
        self.waiting = 0
        """Held deliveries whose dead letters the broker has refused, or not confirmed in time."""
        self._consumer = consumer
        self._window = window
        self._held: set[int] = set()
        self._rejected: set[int] = set()
        self._settled_to = 0
        self._has_released = asyncio.Event()

    def hold(self, tag: int) -> None:
        """Leave this delivery unsettled until it is released."""
        self._held.add(tag)

    @property
    def may_wait(self) -> bool:
        """
        True where one more delivery may wait and leave the rest of the window to others.

        A window of fewer than four has no such part: no delivery may wait in it for long.
        """
        return not self._window or self.waiting < self._window // _WAITING_SHARE

    def unsettled(self, last: int) -> int:
        """Return how many deliveries `settle` would settle or leave held."""
        return last - self._settled_to

    async def settle(self, last: int) -> None:
        """
        Ack every delivery up to `last` but the held ones, in one frame if none is held.

        Acking a tag a second time, or one already covered by `multiple`, would close the
        channel and requeue everything on it, so each tag is named exactly once.
        """
        first = self._settled_to + 1
        self._settled_to = last
        left_out = self._held | self._rejected
        self._rejected = {tag for tag in self._rejected if tag > last}
        barrier = min(left_out, default=last + 1)
        if barrier > first:
            await self._consumer.ack(min(barrier - 1, last), multiple=True)
        for tag in range(max(first, barrier), last + 1):
            if tag not in left_out:
                await self._consumer.ack(tag)

    async def released(self) -> None:
        """Return once no delivery is held."""
        while self._held:
            self._has_released.clear()
            await self._has_released.wait()

    async def release(self, tag: int) -> None:
        """Settle a held delivery: its dead letters are confirmed."""
        if tag > self._settled_to:
            self._let_go(tag)
            return
        # Held until it is sent: of two calls that wait for room to write, the later may be the
        # first, and an ack of all before it would cover this one.
        try:
            await self._consumer.ack(tag)
        finally:
            self._let_go(tag)

    async def reject(self, tag: int) -> None:
        """Settle a held delivery by having the broker dead-letter it whole."""
        try:
            await self._consumer.reject(tag)
        finally:
            self._let_go(tag)
            if tag > self._settled_to:
                self._rejected.add(tag)

    def _let_go(self, tag: int) -> None:
        self._held.discard(tag)
        self._has_released.set()
