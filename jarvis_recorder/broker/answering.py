"""
The connection that questions are answered on.

One of its own: on the consuming connection a question would wait in the socket behind
thousands of deliveries and behind a flow that is paused, and it must not end when recording
gives its session up because the storage is away.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from jarvis_recorder.broker.connection import HEARTBEAT_SECONDS, SYSTEM_TLS, Link, open_link
from jarvis_recorder.broker.consumer import QueueConsumer
from jarvis_recorder.broker.declaration import TopologyMode, declare
from jarvis_recorder.broker.publisher import open_publisher, post
from jarvis_recorder.ports import Publisher, Requests
from jarvis_recorder.tls import Tls
from jarvis_recorder.wire.topics import RPC_QUEUE

_SMALL_REPLY_BYTES: Final = 4_096
# As many as the queue holds: a question waits here, where its time is known, and not there.
_PREFETCH: Final = 10_000


class Answering(NamedTuple):
    """What it takes to answer and to announce; gone, with the cause, when `link.lost` is done."""

    link: Link
    requests: Requests
    publisher: Publisher


@contextlib.asynccontextmanager
async def open_answering(
    url: str,
    topology: TopologyMode,
    *,
    tls: Tls = SYSTEM_TLS,
    heartbeat: int = HEARTBEAT_SECONDS,
) -> AsyncIterator[Answering]:
    """
    Open the connection, and close it at the end.

    Raises:
        BrokerUnavailable: The broker cannot be reached; try again later.
        ConfigurationError: It refuses what is asked of it, and will again.
    """
    async with open_link(url, "answer", tls=tls, heartbeat=heartbeat) as link:
        await declare(link, topology)
        channel = await link.channel(prefetch=_PREFETCH)
        requests = _RequestConsumer(RPC_QUEUE, link, channel)
        yield Answering(link, requests, await open_publisher(link))


class _RequestConsumer(QueueConsumer):
    """
    The queue of requests, and the way back to who asked; implements `ports.Requests`.

    Replies go out on the channel that the requests came in by: the broker works through a
    channel in order, so it never sees the ack of a request before its reply.
    """

    async def reply(self, to: str, properties: bytes, body: bytes) -> None:
        # Not mandatory: the broker would return what goes to a direct reply-to.
        await post(
            self._channel,
            "",
            to,
            properties,
            body,
            mandatory=False,
            # Or replies would gather in memory while the broker takes none.
            wait=len(body) > _SMALL_REPLY_BYTES,
        )
