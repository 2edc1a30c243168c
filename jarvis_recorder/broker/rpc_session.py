"""
The connection for requests and replies.

It is separate: on the consuming connection a request would wait in the socket behind thousands
of deliveries and behind a paused flow, and it must not end when recording gives its session up
because the storage is unavailable.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import aiormq

from jarvis_recorder.broker.connection import HEARTBEAT_SECONDS, SYSTEM_TLS, Link, open_link
from jarvis_recorder.broker.consumer import QueueConsumer
from jarvis_recorder.broker.declaration import TopologyMode, declare_answering
from jarvis_recorder.broker.frame_writer import FrameWriter
from jarvis_recorder.broker.publisher import open_publisher
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.ports import Publisher, Requests
from jarvis_recorder.wire.amqp import frames
from jarvis_recorder.wire.rpc.jsonrpc import MAX_REQUEST_BYTES
from jarvis_recorder.wire.topics import RPC_QUEUE

_SMALL_REPLY_BYTES: Final = 4_096
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

    Replies go out on the consuming channel: there the broker reads a reply before its ack.
    Replies and acks of one turn, such as thousands of refusals, are sent together.
    """

    most_bytes = MAX_REQUEST_BYTES

    def __init__(self, queue: str, link: Link, channel: aiormq.abc.AbstractChannel) -> None:
        super().__init__(queue, link, channel)
        self._writer = FrameWriter(link, channel)

    async def reply(self, to: str, properties: bytes, body: bytes) -> None:
        number, most = self._channel.number, self._link.frame_max
        # Not mandatory: the broker would return what goes to a direct reply-to.
        self._writer.send(*frames.publication(number, to.encode(), properties, body, most))
        if len(body) > _SMALL_REPLY_BYTES:
            # Otherwise replies would pile up in memory while the broker takes none.
            await self._writer.drained()

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        self._writer.send(frames.ack(self._channel.number, tag, multiple=multiple))

    async def close(self) -> None:
        await self._writer.finish()
        await super().close()

    def stop(self) -> None:
        """Stop writing: the rest is for a connection that is gone."""
        self._writer.stop()
