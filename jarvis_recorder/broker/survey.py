"""What stands in the recorder's queues, seen from outside, before anything is taken."""

from typing import NamedTuple

import aio_pika
import aiormq

from jarvis_recorder.broker.connection import open_link, refusals
from jarvis_recorder.broker.topology import QUEUES
from jarvis_recorder.errors import BrokerUnavailable


class Standing(NamedTuple):
    """Messages that wait in a queue, and consumers that take them."""

    queue: str
    messages: int
    consumers: int


async def survey(url: str) -> list[Standing]:
    """
    Return how each of the recorder's queues stands that is there, without declaring any.

    Raises:
        BrokerUnavailable: The broker cannot be reached.
        ConfigurationError: It refuses the user.
    """
    try:
        async with open_link(url, "survey") as link:
            with refusals("the queues cannot be looked at"):
                found = [await _look(link.connection, queue.name) for queue in QUEUES]
    except BrokerUnavailable as error:
        raise BrokerUnavailable(f"the broker cannot be reached: {error}") from error
    return [standing for standing in found if standing is not None]


async def _look(connection: aio_pika.abc.AbstractConnection, queue: str) -> Standing | None:
    """Look at one queue on a channel of its own, which a queue that is not there closes."""
    channel = await connection.channel()
    try:
        found = await channel.get_queue(queue, ensure=True)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return None
    result = found.declaration_result
    await channel.close()
    return Standing(queue, result.message_count or 0, result.consumer_count or 0)
