"""Publishing with confirms; each caller learns the outcome of its own message."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Final, Self

import aiormq
from pydantic_core import to_json

from jarvis_recorder.broker.connection import Link
from jarvis_recorder.broker.publisher import ConfirmChannel
from jarvis_recorder.client.errors import lost
from jarvis_recorder.client.records import OutgoingMessage
from jarvis_recorder.errors import InvalidParameter, NotConfirmed, RecorderUnavailable
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.records import Record
from jarvis_recorder.wire.topics import EXCHANGE

_WINDOW: Final = 500
# What a slow link takes within a timeout.
_WINDOW_BYTES: Final = 16 * 1024 * 1024


class Window:
    """The messages in flight, bounded in number and in bytes; one alone may have any size."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._count = self._bytes = 0

    def has_room(self, size: int) -> bool:
        """Return whether a message of this size may be published now."""
        if not self._count:
            return True
        return self._count < self._most and self._bytes + size <= self._most_bytes

    def add(self, size: int) -> None:
        """Count a message that is published now."""
        self._count += 1
        self._bytes += size

    def remove(self, size: int) -> None:
        """Count no longer a message that was added, and whose outcome is known."""
        self._count -= 1
        self._bytes -= size


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

    `publish` is called for a record as soon as the window has room for it. Any error of it is
    raised for the first record that was not confirmed.
    """
    confirmed = 0
    window = Window(_WINDOW, _WINDOW_BYTES)
    under_way: deque[tuple[asyncio.Future[str], int]] = deque()

    async def confirm_oldest() -> None:
        nonlocal confirmed
        oldest, size = under_way.popleft()
        await oldest
        window.remove(size)
        confirmed += 1

    try:
        async for record in _each(records):
            size = _size(record)
            while under_way and (under_way[0][0].done() or not window.has_room(size)):
                await confirm_oldest()
            window.add(size)
            under_way.append((asyncio.ensure_future(publish(record)), size))
        while under_way:
            await confirm_oldest()
    finally:
        for one, _ in under_way:
            one.cancel()
        await asyncio.gather(*(one for one, _ in under_way), return_exceptions=True)
    return confirmed


def _size(record: Record) -> int:
    """Return about the size of a record's message; 0 if it cannot be written, which `publish` says."""
    try:
        return len(to_json((record.body, record.extra)))
    except (ValueError, RecursionError):
        return 0


async def _each(records: Iterable[Record] | AsyncIterable[Record]) -> AsyncIterator[Record]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in records:
            yield record
