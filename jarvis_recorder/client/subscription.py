"""Subscriptions to published messages: a live view, not the record."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, Self, TypeVar

import aiormq

from jarvis_recorder.broker.connection import Link, open_link, refusals
from jarvis_recorder.broker.supervisor import Backoff
from jarvis_recorder.client.errors import NO_RECORDER
from jarvis_recorder.errors import BrokerUnavailable, RecorderUnavailable
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.wire.amqp.delivery import Deliveries, Delivery
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.topics import EXCHANGE, is_smuggled

T = TypeVar("T")

# The most that the broker keeps for a slow reader: the oldest are dropped first.
_QUEUE_LIMITS: Final[dict[str, int | str]] = {
    "x-max-length": 10_000,
    "x-max-length-bytes": 64 * 1024 * 1024,
    "x-overflow": "drop-head",
}
_PREFETCH: Final = 200
_ACK_EVERY: Final = 100


class Subscription(Generic[T]):
    """
    Messages published from now on, read one by one with `async for`.

    It has a connection of its own, so that a flood of messages delays no request, and reconnects
    by itself after a loss. Messages published meanwhile are missed, and so are the oldest of more
    than 10 000 messages or 64 MiB that wait for a slow reader: no other client is affected, and
    the recorder itself misses nothing. A reader that takes nothing for half an hour is
    disconnected by the broker, and reconnects too.

    `skipped` counts the messages that could not be read, or bypassed the topic permissions. It
    subscribes once `async with` is entered; without that, when the first message is read.
    """

    def __init__(
        self,
        addresses: Addresses,
        bindings: Sequence[str],
        read: Callable[[Delivery], Iterable[T]],
        tls: Tls,
    ) -> None:
        self._addresses = addresses
        self._tls = tls
        self._bindings = bindings
        self._read = read
        self._stack = contextlib.AsyncExitStack()
        self._channel: aiormq.abc.AbstractChannel | None = None
        self._arrived: asyncio.Queue[Delivery | None] = asyncio.Queue()
        self._unread: list[T] = []
        self._taken = 0
        self._was_subscribed = False
        self._closed = False
        self.skipped = 0

    async def __aenter__(self) -> Self:
        """
        Subscribe.

        Raises:
            BrokerUnavailable: The broker cannot be reached.
            RecorderUnavailable: There is no exchange to listen to.
            ConfigurationError: The broker refuses this user.
        """
        await self._subscribe()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listening; a reader that waits for the next message reaches the end."""
        self._closed = True
        self._arrived.put_nowait(None)
        await self._leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._unread:
            self._unread = list(self._values(await self._next()))[::-1]
        return self._unread.pop()

    def _values(self, delivery: Delivery) -> Iterable[T]:
        if is_smuggled(delivery.exchange, delivery.routing_key, self._bindings):
            self.skipped += 1
            return ()
        try:
            return self._read(delivery)
        except (Refused, ValueError):
            self.skipped += 1
            return ()

    async def _next(self) -> Delivery:
        while not self._closed:
            if self._channel is None:
                await self._subscribe_again()
                continue
            delivery = await self._arrived.get()
            if delivery is None:
                await self._leave()
                continue
            await self._ack(delivery.tag, self._channel)
            return delivery
        # It may have been closed while it was subscribing again.
        await self._leave()
        raise StopAsyncIteration

    async def _ack(self, tag: int, channel: aiormq.abc.AbstractChannel | None) -> None:
        """Ack, so that the broker sends more: at intervals, and if nothing is left to read."""
        self._taken += 1
        if channel is None or not (self._arrived.empty() or self._taken % _ACK_EVERY == 0):
            return
        # The loss of a channel is reported by `link.lost`.
        with contextlib.suppress(aiormq.exceptions.AMQPError, RuntimeError, ConnectionError):
            await channel.basic_ack(tag, multiple=True, wait=False)

    async def _subscribe_again(self) -> None:
        """Subscribe; after the first time, retry for as long as it takes."""
        backoff = Backoff()
        while self._channel is None and not self._closed:
            try:
                await self._subscribe()
            except BrokerUnavailable:
                if not self._was_subscribed:
                    raise
                await asyncio.sleep(backoff.seconds())

    async def _subscribe(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            link = await stack.enter_async_context(
                open_link(self._addresses, "client subscription", tls=self._tls)
            )
            # Each connection has its own queue of arrivals: tags of a past one mean nothing.
            arrived: asyncio.Queue[Delivery | None] = asyncio.Queue()
            channel = await _consume(link, self._bindings, arrived)
            link.lost.add_done_callback(lambda _: arrived.put_nowait(None))
            self._stack = stack.pop_all()
        self._channel, self._arrived = channel, arrived
        self._was_subscribed = True

    async def _leave(self) -> None:
        self._channel = None
        await self._stack.aclose()


async def _consume(
    link: Link, bindings: Sequence[str], arrived: asyncio.Queue[Delivery | None]
) -> aiormq.abc.AbstractChannel:
    """Consume a queue that is exclusive to this connection, and deleted with it."""
    channel = await link.channel(prefetch=_PREFETCH)

    def take(deliveries: Deliveries) -> None:
        for delivery in deliveries:
            arrived.put_nowait(delivery)

    link.reader.deliver_to(channel.number, take)
    with refusals("a subscription is refused"):
        try:
            await _declare_and_consume(channel, bindings)
        except aiormq.exceptions.ChannelNotFoundEntity as error:
            raise RecorderUnavailable(NO_RECORDER) from error
    return channel


async def _declare_and_consume(
    channel: aiormq.abc.AbstractChannel, bindings: Sequence[str]
) -> None:
    declared = await channel.queue_declare(
        "", exclusive=True, auto_delete=True, arguments={**_QUEUE_LIMITS}
    )
    queue = declared.queue or ""
    for binding in bindings:
        await channel.queue_bind(queue, EXCHANGE, binding)
    await channel.basic_consume(queue, _unreachable, exclusive=True)


async def _unreachable(message: aiormq.abc.DeliveredMessage) -> None:
    raise AssertionError("the reader keeps every delivery of a consumed channel")
