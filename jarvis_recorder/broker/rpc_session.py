"""
The connection for requests and replies.

It is separate: on the consuming connection a request would wait in the socket behind thousands
of deliveries and behind a paused flow, and it must not end when recording gives its session up
because the storage is unavailable.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import aiormq
from aiormq.abc import ChannelFrame
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from jarvis_recorder.broker.connection import HEARTBEAT_SECONDS, SYSTEM_TLS, Link, open_link
from jarvis_recorder.broker.consumer import QueueConsumer
from jarvis_recorder.broker.declaration import TopologyMode, declare_answering
from jarvis_recorder.broker.publisher import RawProperties, open_publisher
from jarvis_recorder.errors import BrokerUnavailable
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.ports import Publisher, Requests
from jarvis_recorder.wire.rpc.jsonrpc import MAX_REQUEST_BYTES
from jarvis_recorder.wire.topics import RPC_QUEUE

_SMALL_REPLY_BYTES: Final = 4_096
# The header of a frame, and the octet at its end.
_FRAME_OVERHEAD: Final = 8
# As many as the queue holds: a request waits here, where its deadline is known, not there.
_PREFETCH: Final = 10_000


class RpcSession(NamedTuple):
    """Channels for replies and notifications; gone, with the cause, when `link.lost` is done."""

    link: Link
    requests: Requests
    publisher: Publisher


@contextlib.asynccontextmanager
async def open_rpc_session(
    addresses: Addresses,
    topology: TopologyMode,
    *,
    tls: Tls = SYSTEM_TLS,
    heartbeat: int = HEARTBEAT_SECONDS,
) -> AsyncIterator[RpcSession]:
    """
    Open the connection, and close it at the end.

    Raises:
        BrokerUnavailable: The broker cannot be reached; try again later.
        ConfigurationError: The broker refuses this configuration, and will again.
    """
    async with open_link(addresses, "answer", tls=tls, heartbeat=heartbeat) as link:
        await declare_answering(link, topology, in_a_cluster=addresses.are_several)
        channel = await link.channel(prefetch=_PREFETCH)
        requests = _RequestConsumer(RPC_QUEUE, link, channel)
        try:
            yield RpcSession(link, requests, await open_publisher(link))
        finally:
            requests.stop()


class _RequestConsumer(QueueConsumer):
    """
    The queue of requests; implements `ports.Requests`.

    Replies go out on the consuming channel: there the broker reads a reply before its ack. They
    bypass aiormq's publishing, which lets one large reply keep all others waiting until the
    socket has taken it, and takes some turns of the event loop for each: thousands of refusals
    made together are sent together here.
    """

    most_bytes = MAX_REQUEST_BYTES

    def __init__(self, queue: str, link: Link, channel: aiormq.abc.AbstractChannel) -> None:
        super().__init__(queue, link, channel)
        self._most_in_a_frame = link.frame_max - _FRAME_OVERHEAD
        self._outgoing: list[bytes] = []
        self._drained: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def reply(self, to: str, properties: bytes, body: bytes) -> None:
        pieces = range(0, len(body), self._most_in_a_frame)
        self._send(
            # Not mandatory: the broker would return what goes to a direct reply-to.
            commands.Basic.Publish(exchange="", routing_key=to),
            ContentHeader(properties=RawProperties(properties), body_size=len(body)),
            *(ContentBody(body[at : at + self._most_in_a_frame]) for at in pieces),
        )
        if len(body) > _SMALL_REPLY_BYTES:
            # Otherwise replies would pile up in memory while the broker takes none.
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        self._send(commands.Basic.Ack(tag, multiple))

    async def close(self) -> None:
        if self._writing is not None:
            await self._writing
        await super().close()

    def stop(self) -> None:
        """Stop writing: the rest is for a connection that is gone."""
        if self._writing is not None:
            self._writing.cancel()

    def _send(self, *frames: Any) -> None:
        if self._channel.is_closed or self._link.lost.done():
            raise BrokerUnavailable("the channel is gone")
        self._outgoing += [marshal(frame, self._channel.number) for frame in frames]
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._outgoing:
            payload, drained = b"".join(self._outgoing), self._drained
            self._outgoing, self._drained = [], None
            await self._channel.write_queue.put(  # type: ignore[attr-defined]
                ChannelFrame(payload, should_close=False, drain_future=drained)
            )
