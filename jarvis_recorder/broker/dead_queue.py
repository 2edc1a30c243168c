"""The queue of dead letters, looked through and worked off by an operator."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import aiormq

from jarvis_recorder.broker.connection import (
    CLOSE_SECONDS,
    SYSTEM_TLS,
    Link,
    broker_errors,
    open_link,
    refusals,
)
from jarvis_recorder.broker.publisher import ConfirmingPublisher, open_publisher
from jarvis_recorder.tls import Tls
from jarvis_recorder.wire.dead_letters import renewed, times_returned
from jarvis_recorder.wire.delivery import Delivery
from jarvis_recorder.wire.topics import DEAD_EXCHANGE, DEAD_QUEUE

# RabbitMQ 4.0 to 4.2 counts each return and drops a message at the twentieth, unless a policy
# of the operator's says otherwise.
_RENEW_AFTER: Final = 10
_GET_SECONDS: Final = 10.0


class DeadQueue:
    """
    The letters that wait, each fetched once; what is not removed goes back at the end.

    Fetched and not consumed, so that it ends where the queue does. `waiting` is how many there
    were when it was opened: what dies meanwhile, or dies again, is not fetched.
    """

    def __init__(
        self,
        link: Link,
        channel: aiormq.abc.AbstractChannel,
        publisher: ConfirmingPublisher,
        waiting: int,
    ) -> None:
        self._link = link
        self._channel = channel
        self._publisher = publisher
        self.waiting = waiting

    async def letters(self) -> AsyncIterator[Delivery]:
        """
        Yield each letter, the oldest first.

        Raises:
            BrokerUnavailable: The connection went away; the broker has all of them back.
        """
        fetched: list[Delivery] = []
        self._link.reader.fetch_to(self._channel.number, fetched.append)
        left = self.waiting
        while left:
            with broker_errors():
                await self._channel.basic_get(DEAD_QUEUE, timeout=_GET_SECONDS)
            if not fetched:
                return
            delivery = fetched.pop()
            if times_returned(delivery) >= _RENEW_AFTER:
                # It comes again, from the end of the queue.
                await self._renew(delivery)
            else:
                left -= 1
                yield delivery

    async def remove(self, delivery: Delivery) -> None:
        """Take a letter out of the queue for good; only once."""
        with broker_errors():
            await self._channel.basic_ack(delivery.tag, wait=False)

    async def publish(
        self, exchange: str, routing_key: str, properties: bytes, body: bytes
    ) -> None:
        """Publish and return once it is confirmed; see `ports.Publisher`."""
        await self._publisher.publish(exchange, routing_key, properties, body)

    async def _renew(self, delivery: Delivery) -> None:
        """Put a letter anew, at the end, before it is thrown away for being looked at."""
        routing_key = delivery.routing_key.decode("utf-8", "surrogateescape")
        await self.publish(DEAD_EXCHANGE, routing_key, renewed(delivery), delivery.body)
        await self.remove(delivery)

    async def close(self) -> None:
        """Give back what was not removed, and return once the broker has read it."""
        with broker_errors():
            # Not left to the end of the channel: from RabbitMQ 4.3 on that counts as a failure
            # of each, and a nack does not.
            await self._channel.basic_nack(0, multiple=True, requeue=True, wait=False)
            await self._channel.basic_qos(prefetch_count=1, timeout=CLOSE_SECONDS)
            await self._channel.close()


@contextlib.asynccontextmanager
async def open_dead_queue(url: str, *, tls: Tls = SYSTEM_TLS) -> AsyncIterator[DeadQueue]:
    """
    Open the queue of dead letters to look through it.

    Raises:
        BrokerUnavailable: The broker cannot be reached.
        ConfigurationError: There is no such queue, or this user may not read it.
    """
    async with (
        open_link(url, "dead letters", tls=tls) as link,
        open_link(url, "dead letters again", tls=tls, lost=link.lost) as publishing,
    ):
        channel = await link.channel()
        with refusals(f"queue {DEAD_QUEUE} cannot be read"):
            declared = await channel.queue_declare(DEAD_QUEUE, passive=True)
        publisher = await open_publisher(publishing)
        queue = DeadQueue(link, channel, publisher, declared.message_count or 0)
        try:
            yield queue
        finally:
            if not link.lost.done():
                await queue.close()
