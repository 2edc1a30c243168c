"""Frames out on a channel, those of one turn of the event loop in one write."""

import asyncio
from collections import deque
from typing import Final

import aiormq
from aiormq.abc import ChannelFrame

from jarvis_recorder.broker.connection import Link
from jarvis_recorder.errors import BrokerUnavailable

# The socket takes a large message in writes of about this size: as a whole it would be in memory
# twice, and keep the other channels of the connection waiting.
_WRITTEN_AT_ONCE_BYTES: Final = 512 * 1024


class FrameWriter:
    """
    A writer of a channel's frames, in their order.

    It bypasses aiormq's publishing, which lets one large message keep all others waiting until
    the socket has taken it, and takes some turns of the event loop for each.
    """

    def __init__(self, link: Link, channel: aiormq.abc.AbstractChannel) -> None:
        self._link = link
        self._channel = channel
        self._outgoing: deque[bytes | memoryview] = deque()
        self._drained: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    def send(self, *frames: bytes | memoryview) -> None:
        """
        Have frames, or parts of them, written in this turn, or in the next.

        Raises:
            BrokerUnavailable: The channel is gone.
        """
        if self._channel.is_closed or self._link.lost.done():
            raise BrokerUnavailable("the channel is gone")
        self._outgoing += frames
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def drained(self) -> None:
        """Return when the socket has taken what was sent until now."""
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._drained)

    async def finish(self) -> None:
        """Return when all is handed to the connection."""
        if self._writing is not None:
            await self._writing

    def stop(self) -> None:
        """Stop writing: the rest is for a connection that is gone."""
        if self._writing is not None:
            self._writing.cancel()

    async def _write(self) -> None:
        while self._outgoing and not self._link.lost.done():
            payload = self._next_write()
            if self._outgoing:
                await self._put(payload, taken := asyncio.get_running_loop().create_future())
                await asyncio.wait({taken, self._link.lost}, return_when=asyncio.FIRST_COMPLETED)
            else:
                drained, self._drained = self._drained, None
                await self._put(payload, drained)

    def _next_write(self) -> bytes:
        parts: list[bytes | memoryview] = []
        size = 0
        while self._outgoing and size < _WRITTEN_AT_ONCE_BYTES:
            parts.append(self._outgoing.popleft())
            size += len(parts[-1])
        return b"".join(parts)

    async def _put(self, payload: bytes, drained: asyncio.Future[None] | None) -> None:
        await self._channel.write_queue.put(  # type: ignore[attr-defined]
            ChannelFrame(payload, should_close=False, drain_future=drained)
        )
