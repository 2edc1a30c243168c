"""
A session with the broker: two connections, what is declared, what is consumed.

Built whole and dropped whole. After any loss nothing is restored but everything opened anew,
so no delivery tag, subscription or confirm can outlive the channel it belongs to.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Literal

import aio_pika
import aiormq

from jarvis_recorder.broker.connection import (
    CLOSE_SECONDS,
    CONNECT_SECONDS,
    HEARTBEAT_SECONDS,
    Link,
    broker_errors,
    open_link,
    refusals,
)
from jarvis_recorder.broker.publisher import ConfirmingPublisher, RawProperties
from jarvis_recorder.broker.topology import EXCHANGES, QUEUES, Queue
from jarvis_recorder.ports import Consumer, Flow, Publisher, Requests, Sink
from jarvis_recorder.wire.delivery import Delivery
from jarvis_recorder.wire.topics import RPC_QUEUE

TopologyMode = Literal["declare", "passive"]


class _QueueConsumer:
    """A queue consumed on a channel of its own; implements `ports.Consumer`."""

    def __init__(
        self,
        queue: str,
        link: Link,
        channel: aiormq.abc.AbstractChannel,
    ) -> None:
        self._queue = queue
        self._link = link
        self._channel = channel
        # A new tag each time: quorum queues confuse one that is used again.
        self._consumer_tag = f"jarvis-recorder.{uuid.uuid4().hex}"

    async def start(self, sink: Sink) -> None:
        self._link.reader.deliver_to(self._channel.number, sink)
        with refusals(f"queue {self._queue} cannot be consumed"):
            await self._channel.basic_consume(
                self._queue, _unreachable, consumer_tag=self._consumer_tag
            )

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        with broker_errors():
            await self._channel.basic_ack(tag, multiple=multiple, wait=False)

    async def reject(self, tag: int) -> None:
        with broker_errors():
            await self._channel.basic_reject(tag, requeue=False, wait=False)

    async def cancel(self) -> None:
        with broker_errors():
            await self._channel.basic_cancel(self._consumer_tag, timeout=CONNECT_SECONDS)

    async def sweep(self, sink: Sink) -> None:
        with broker_errors():
            redelivered = True
            while redelivered:
                message = await self._channel.basic_get(self._queue, timeout=CLOSE_SECONDS)
                got = message.delivery
                if not isinstance(got, aiormq.spec.Basic.GetOk):
                    return
                redelivered = bool(got.redelivered)
                sink(_delivery(got, message))

    async def close(self) -> None:
        with broker_errors():
            # Acks have no answer; one to a call behind them proves that they were read.
            await self._channel.basic_qos(prefetch_count=1, timeout=CLOSE_SECONDS)
            await self._channel.close()


class _RequestConsumer(_QueueConsumer):
    """
    The queue of requests, and the way back to who asked; implements `ports.Requests`.

    Replies go out on the channel that the requests came in by: the broker works through a
    channel in order, so it never sees the ack of a request before its reply.
    """

    async def reply(self, to: str, properties: bytes, body: bytes) -> None:
        with broker_errors():
            # Not mandatory: the broker would return what goes to a direct reply-to.
            await self._channel.basic_publish(
                body, routing_key=to, properties=RawProperties(properties), mandatory=False
            )


class Session:
    """What is open on the broker; `lost` is done, with the cause, when any of it is gone."""

    def __init__(self, consuming: Link, publishing: Link, publisher: Publisher) -> None:
        self._consuming = consuming
        self._publishing = publishing
        self.lost = consuming.lost
        self.flow: Flow = consuming.reader
        self.publisher = publisher

    async def consumer(self, queue: str, prefetch: int) -> Consumer:
        """
        Open a channel to consume a queue on, at most `prefetch` deliveries unsettled.

        Raises:
            BrokerUnavailable: The connection went away.
        """
        channel = await self._consuming.channel(prefetch=prefetch)
        return _QueueConsumer(queue, self._consuming, channel)

    async def requests(self, prefetch: int) -> Requests:
        """
        Open a channel to take requests and to reply; raises as `consumer` does.

        On the publishing connection: in the socket of the other one a question would wait
        behind thousands of deliveries, and behind a flow that is paused.
        """
        channel = await self._publishing.channel(prefetch=prefetch)
        return _RequestConsumer(RPC_QUEUE, self._publishing, channel)


def _delivery(got: aiormq.spec.Basic.GetOk, message: aiormq.abc.DeliveredMessage) -> Delivery:
    return Delivery(
        got.delivery_tag or 0,
        bool(got.redelivered),
        (got.exchange or "").encode(),
        (got.routing_key or "").encode(),
        message.header.marshal(),
        message.body,
    )


async def _unreachable(message: aiormq.abc.DeliveredMessage) -> None:
    raise AssertionError("the reader keeps every delivery of a consumed channel")


@contextlib.asynccontextmanager
async def open_session(
    url: str, topology: TopologyMode, *, heartbeat: int = HEARTBEAT_SECONDS
) -> AsyncIterator[Session]:
    """
    Open two connections, declare or check the topology, and close all of it at the end.

    Raises:
        BrokerUnavailable: The broker cannot be reached; try again later.
        ConfigurationError: It refuses what is asked of it, and will again.
    """
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with (
        open_link(url, "consume", heartbeat=heartbeat, lost=lost) as consuming,
        open_link(url, "publish", heartbeat=heartbeat, lost=lost) as publishing,
    ):
        with refusals("the topology cannot be declared"):
            await _declare(consuming.connection, passive=topology == "passive")
        channel = await publishing.channel(confirms=True)
        publisher = ConfirmingPublisher(channel, publishing.frame_max)
        publishing.reader.return_to(channel.number, publisher.note_return)
        yield Session(consuming, publishing, publisher)


async def _declare(connection: aio_pika.Connection, *, passive: bool) -> None:
    async with connection.channel() as channel:
        for exchange in EXCHANGES:
            await channel.declare_exchange(
                exchange.name, exchange.type, durable=True, passive=passive
            )
        for queue in QUEUES:
            await _declare_queue(channel, queue, passive=passive)


async def _declare_queue(
    channel: aio_pika.abc.AbstractChannel, queue: Queue, *, passive: bool
) -> None:
    declared = await channel.declare_queue(
        queue.name, durable=True, passive=passive, arguments=dict(queue.arguments)
    )
    if not passive:
        await declared.bind(queue.exchange, queue.routing_key)
