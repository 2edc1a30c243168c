"""A channel that can be replaced by another while it is in use."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

from aiormq.abc import AbstractChannel

from jarvis_recorder.broker.connection import GONE, Link


class RenewableChannel:
    """
    A channel of a link; after `renew` the next user gets another.

    RabbitMQ keeps a channel whose first message to a quorum queue came while the queue had no
    leader from ever publishing to it: each message is refused as if the queue were full, and
    without confirms it is dropped (seen with 3.10). Only another channel helps.
    """

    def __init__(self, link: Link, open_one: Callable[[], Awaitable[AbstractChannel]]) -> None:
        self._link = link
        self._open_one = open_one
        self._opening = asyncio.Lock()
        self._users: Counter[AbstractChannel] = Counter()
        self._is_due = False
        self.current: AbstractChannel

    async def open(self) -> Self:
        """Open the first one; raises as `open_one` does."""
        self.current = await self._open_one()
        return self

    def renew(self, channel: AbstractChannel) -> None:
        """Have this channel replaced, unless it already is; its users keep it to their end."""
        self._is_due = self._is_due or channel is self.current

    @contextlib.asynccontextmanager
    async def used(self) -> AsyncIterator[AbstractChannel]:
        """Yield the channel, another if it was to be renewed; raises as `open_one` does."""
        if self._is_due:
            await self._replace()
        channel = self.current
        self._users[channel] += 1
        try:
            yield channel
        finally:
            self._users[channel] -= 1
            await self._close_if_left(channel)

    async def _replace(self) -> None:
        async with self._opening:
            if self._is_due:
                left, self.current = self.current, await self._open_one()
                self._is_due = False
                await self._close_if_left(left)

    async def _close_if_left(self, channel: AbstractChannel) -> None:
        if channel is self.current or self._users[channel]:
            return
        del self._users[channel]
        with contextlib.suppress(*GONE):
            await self._link.close_channel(channel)
