"""The topology on a broker: declared, or only checked."""

from typing import Literal

import aio_pika

from jarvis_recorder.broker.connection import Link, refusals
from jarvis_recorder.broker.topology import EXCHANGES, QUEUES, Queue

TopologyMode = Literal["declare", "passive"]


async def declare(link: Link, mode: TopologyMode) -> None:
    """
    Declare all exchanges and queues, or only check that they are there.

    Raises:
        BrokerUnavailable: The connection went away.
        ConfigurationError: One is missing, or exists with other arguments.
    """
    passive = mode == "passive"
    with refusals("the topology cannot be declared"):
        await _declare_all(link.connection, passive=passive)


async def _declare_all(connection: aio_pika.Connection, *, passive: bool) -> None:
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
