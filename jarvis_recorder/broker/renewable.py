"""A channel that can be replaced by another while it is in use."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

from aiormq.abc import AbstractChannel

from jarvis_recorder.broker.connection import GONE, Link
from jarvis_recorder.runtime.process import read_error


class RenewableChannel:
    """
    A channel of a link; after `renew` the next user gets another.

    RabbitMQ keeps a channel whose first message to a quorum queue came while the queue had no
    leader from ever publishing to it: each message is refused as if the queue were full, and
    without confirms it is dropped (seen with 3.10). Only another channel helps.

    Another is opened, and the one before closed, in tasks of their own: aiormq closes a channel
    whose call is cancelled, and with a channel its link is lost. So one user that gives up takes
    nothing from the others, and none waits for a channel to close. The tasks end with the link.
    """

    def __init__(self, link: Link, open_one: Callable[[], Awaitable[AbstractChannel]]) -> None:
        self._link = link
        self._open_one = open_one
        self._replacing: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
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
            await self._replaced()
        channel = self.current
        self._users[channel] += 1
        try:
            yield channel
        finally:
            self._users[channel] -= 1
            self._close_if_left(channel)

    async def _replaced(self) -> None:
        """Return once there is another; one that is being opened is waited for by all."""
        if self._replacing is None:
            self._replacing = asyncio.create_task(self._replace())
            self._replacing.add_done_callback(read_error)
        await asyncio.shield(self._replacing)

    async def _replace(self) -> None:
        try:
            left, self.current = self.current, await self._open_one()
            self._is_due = False
            self._close_if_left(left)
        finally:
            self._replacing = None

    def _close_if_left(self, channel: AbstractChannel) -> None:
        if channel is self.current or self._users[channel]:
            return
        del self._users[channel]
        closing = asyncio.create_task(self._close(channel))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close(self, channel: AbstractChannel) -> None:
        with contextlib.suppress(*GONE):
            await self._link.close_channel(channel)
