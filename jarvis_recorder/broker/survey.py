"""What stands in the recorder's queues, seen from outside, before anything is taken."""

from typing import NamedTuple

import aio_pika
import aiormq

from jarvis_recorder.broker.connection import CONNECT_SECONDS
from jarvis_recorder.broker.topology import QUEUES
from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError


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
        connection = await aio_pika.connect(url, timeout=CONNECT_SECONDS)
        async with connection:
            found = [await _look(connection, queue.name) for queue in QUEUES]
    except (
        aiormq.exceptions.ProbableAuthenticationError,
        aiormq.exceptions.AuthenticationError,
    ) as error:
        raise ConfigurationError("the broker knows no such user, or another password") from error
    except (TimeoutError, OSError, aiormq.exceptions.AMQPError) as error:
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
