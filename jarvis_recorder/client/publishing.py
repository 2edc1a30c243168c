"""Publishing with confirms; each caller learns the outcome of its own message."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Final, Self

import aiormq

from jarvis_recorder.broker.connection import Link
from jarvis_recorder.broker.publisher import ConfirmChannel
from jarvis_recorder.client.errors import lost
from jarvis_recorder.client.records import OutgoingMessage
from jarvis_recorder.errors import InvalidParameter, NotConfirmed, RecorderUnavailable
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.records import Record
from jarvis_recorder.wire.topics import EXCHANGE

_WINDOW: Final = 500


class RecordPublisher:
    """
    A publisher with confirms; many messages may be in flight together.

    RabbitMQ returns an unroutable message, and confirms it right after that. Returns are
    matched by `message_id`, so no two messages in flight may have the same.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._confirmed = ConfirmChannel(link, self.note_return)
        self._under_way: set[str] = set()
        self._returned: set[str] = set()

    async def open(self) -> Self:
        """Open its channel; raises as `Link.channel` does."""
        await self._confirmed.open()
        return self

    def note_return(self, header: bytes) -> None:
        """Remember a message returned as unroutable; its confirm follows."""
        identity = properties.decode(header).message_id
        if identity in self._under_way:
            self._returned.add(identity)

    async def publish(self, message: OutgoingMessage) -> None:
        """
        Return once the broker has taken responsibility for the message.

        Raises:
            RecorderUnavailable: No queue takes it: nothing would record it.
            NotConfirmed: The broker refused it: its queue is full, or has no leader now.
            InvalidParameter: Another message with its `message_id` is in flight.
            BrokerUnavailable: The connection is gone; it may or may not have arrived.
        """
        identity = message.message_id
        if identity in self._under_way:
            raise InvalidParameter("message_id", f"message {identity} is on its way already")
        if self._link.lost.done():
            raise lost(self._confirmed.channel)
        self._under_way.add(identity)
        try:
            await self._confirm(message)
            if identity in self._returned:
                raise RecorderUnavailable(
                    f"message {identity} is not recorded: no queue takes it; has a recorder "
                    "ever run on this broker?"
                )
        finally:
            self._under_way.discard(identity)
            self._returned.discard(identity)

    async def _confirm(self, message: OutgoingMessage) -> None:
        try:
            await self._confirmed.publish(
                message.body, EXCHANGE, message.routing_key, message.properties, mandatory=True
            )
        except aiormq.exceptions.DeliveryError as error:
            raise NotConfirmed(
                f"message {message.message_id} is not recorded: the broker refuses it, because "
                "its queue is full (does a recorder run?) or no node leads it now. Publish it "
                "again later"
            ) from error
        except (aiormq.exceptions.AMQPError, RuntimeError, ConnectionError) as error:
            raise lost(self._confirmed.channel) from error


async def open_record_publisher(link: Link) -> RecordPublisher:
    """
    Open a publisher of records on a connection.

    Raises:
        BrokerUnavailable: The connection went away.
    """
    return await RecordPublisher(link).open()


async def publish_all(
    publish: Callable[[Record], Awaitable[str]],
    records: Iterable[Record] | AsyncIterable[Record],
) -> int:
    """
    Publish records, a window of them in flight together; return how many, all confirmed.

    Any error of `publish` is raised for the first record that was not confirmed.
    """
    confirmed = 0
    under_way: deque[asyncio.Future[str]] = deque()
    try:
        async for record in _each(records):
            while under_way and (len(under_way) >= _WINDOW or under_way[0].done()):
                await under_way.popleft()
                confirmed += 1
            under_way.append(asyncio.ensure_future(publish(record)))
        while under_way:
            await under_way.popleft()
            confirmed += 1
    finally:
        for one in under_way:
            one.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
    return confirmed


async def _each(records: Iterable[Record] | AsyncIterable[Record]) -> AsyncIterator[Record]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in records:
            yield record
