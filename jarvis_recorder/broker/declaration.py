"""The topology on a broker: declared, or only checked."""

from typing import Literal

import aio_pika
import aiormq

from jarvis_recorder.broker.connection import Link, is_away, refusals
from jarvis_recorder.broker.topology import RECORDING, Queue, Topology, answering

TopologyMode = Literal["declare", "passive"]


async def declare_recording(link: Link, mode: TopologyMode) -> None:
    """
    Declare all that recording needs, or only check that it is there.

    Raises:
        BrokerUnavailable: The connection went away.
        ConfigurationError: One is missing, or exists with other arguments.
    """
    with refusals("the topology cannot be declared"):
        async with link.connection.channel() as channel:
            await _declare_exchanges(channel, RECORDING, mode)
            for queue in RECORDING.queues:
                await _declare_queue(channel, queue, mode)


async def declare_answering(link: Link, mode: TopologyMode, *, in_a_cluster: bool) -> None:
    """
    Declare all that replies and notifications need, or only check that it is there.

    Before that, all that recording needs: callers may publish as soon as they get replies. A queue
    of requests that exists is taken as it is, of either type.

    Raises:
        BrokerUnavailable: The connection went away, or the node that holds the queue.
        ConfigurationError: One is missing, or an exchange is of another type.
    """
    await declare_recording(link, mode)
    topology = answering(in_a_cluster=in_a_cluster)
    with refusals("the topology cannot be declared"):
        async with link.connection.channel() as channel:
            await _declare_exchanges(channel, topology, mode)
        for queue in topology.queues:
            await _take_or_declare(link, queue, mode)


async def _take_or_declare(link: Link, queue: Queue, mode: TopologyMode) -> None:
    try:
        async with link.connection.channel() as channel:
            taken = await channel.declare_queue(queue.name, passive=True)
            if mode == "declare":
                await taken.bind(queue.exchange, queue.routing_key)
    except aiormq.exceptions.ChannelNotFoundEntity as error:
        if mode == "passive" or is_away(error):
            raise
        async with link.connection.channel() as channel:
            await _declare_queue(channel, queue, mode)


async def _declare_exchanges(
    channel: aio_pika.abc.AbstractChannel, topology: Topology, mode: TopologyMode
) -> None:
    for exchange in topology.exchanges:
        await channel.declare_exchange(
            exchange.name, exchange.type, durable=True, passive=mode == "passive"
        )


async def _declare_queue(
    channel: aio_pika.abc.AbstractChannel, queue: Queue, mode: TopologyMode
) -> None:
    declared = await channel.declare_queue(
        queue.name, durable=True, passive=mode == "passive", arguments=dict(queue.arguments)
    )
    if mode == "declare":
        await declared.bind(queue.exchange, queue.routing_key)
