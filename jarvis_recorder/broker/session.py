"""
A session with the broker: two connections, the topology, the consumers.

Opened and dropped as a whole. After any loss nothing is restored; everything is opened again,
so no delivery tag, subscription or confirm can outlive the channel it belongs to.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from jarvis_recorder.broker.connection import HEARTBEAT_SECONDS, SYSTEM_TLS, Link, open_link
from jarvis_recorder.broker.consumer import QueueConsumer
from jarvis_recorder.broker.declaration import TopologyMode, declare_recording
from jarvis_recorder.broker.publisher import open_publisher
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.ports import Consumer, Flow, Publisher


class BrokerSession:
    """The open connections and channels; `lost` is done, with the cause, when any is gone."""

    def __init__(self, consuming: Link, publishing: Link, publisher: Publisher) -> None:
        self._consuming = consuming
        self.report_alarm = publishing.reader.report_alarm
        self.lost = consuming.lost
        self.flow: Flow = consuming.reader
        self.publisher = publisher

    async def consumer(self, queue: str, prefetch: int, priority: int = 0) -> Consumer:
        """
        Open a channel to consume a queue on, at most `prefetch` deliveries unsettled.

        While consumers with a higher priority have room, the broker gives it none.

        Raises:
            BrokerUnavailable: The connection went away.
        """
        channel = await self._consuming.channel(prefetch=prefetch)
        return QueueConsumer(queue, self._consuming, channel, priority)


@contextlib.asynccontextmanager
async def open_session(
    addresses: Addresses,
    topology: TopologyMode,
    *,
    tls: Tls = SYSTEM_TLS,
    heartbeat: int = HEARTBEAT_SECONDS,
) -> AsyncIterator[BrokerSession]:
    """
    Open two connections, declare or check what is recorded, and close all of it at the end.

    Raises:
        BrokerUnavailable: The broker cannot be reached; try again later.
        ConfigurationError: The broker refuses this configuration, and will again.
    """
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with (
        open_link(addresses, "consume", tls=tls, heartbeat=heartbeat, lost=lost) as consuming,
        open_link(addresses, "publish", tls=tls, heartbeat=heartbeat, lost=lost) as publishing,
    ):
        await declare_recording(consuming, topology)
        publisher = await open_publisher(publishing)
        yield BrokerSession(consuming, publishing, publisher)
