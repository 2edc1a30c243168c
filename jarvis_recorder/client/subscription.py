"""Subscriptions to published messages: a live view, not the record."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, Self, TypeVar

import aiormq

from jarvis_recorder.broker.connection import Link, open_link, refusals
from jarvis_recorder.broker.consumer import unreachable
from jarvis_recorder.broker.supervisor import Backoff
from jarvis_recorder.client.errors import NO_RECORDER
from jarvis_recorder.errors import RecorderError, RecorderUnavailable
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.ports import Flow
from jarvis_recorder.wire.amqp.delivery import Deliveries, Delivery
from jarvis_recorder.wire.codec import is_large, most_values
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.topics import EXCHANGE, LARGEST_BYTES, is_smuggled

T = TypeVar("T")

# The most that the broker keeps for a slow reader: the oldest are dropped first.
_QUEUE_LIMITS: Final[dict[str, int | str]] = {
    "x-max-length": 10_000,
    "x-max-length-bytes": 64 * 1024 * 1024,
    "x-overflow": "drop-head",
}
_PREFETCH: Final = 200
_ACK_EVERY: Final = 100
# The prefetch counts messages, and 200 of the largest take gigabytes.
_MOST_WAITING_BYTES: Final = 16 * 1024 * 1024
_READ_IN_A_TURN: Final = 100
# Of the slowest kind, each a bad element, so many take some tens of milliseconds.
_VALUES_A_TURN: Final = 500


class Subscription(Generic[T]):
    """
    Messages published from now on, read one by one with `async for`, each by one task.

    It has a connection of its own, so that a flood of messages delays no request, and reconnects
    by itself after a loss, also where the broker refuses it at first. Messages published meanwhile
    are missed, and so are the oldest of more than 10 000 messages or 64 MiB that wait for a slow
    reader: no other client is affected, and the recorder itself misses nothing. A reader that takes
    nothing for half an hour, or for half a minute while more than 16 MiB wait for it here, is
    disconnected, and reconnects too.

    `on_gap` is called each time it listens again: what was published meanwhile may be missed, and
    what is yielded from then on was published later.

    `skipped` counts the messages that could not be read, or bypassed the topic permissions. It
    subscribes once `async with` is entered; without that, when the first message is read.
    """

    def __init__(
        self,
        addresses: Addresses,
        bindings: Sequence[str],
        read: Callable[[Delivery], Iterable[T]],
        tls: Tls,
        on_gap: Callable[[], None] | None = None,
    ) -> None:
        self._addresses = addresses
        self._tls = tls
        self._on_gap = on_gap
        self._bindings = bindings
        self._read = read
        self._stack = contextlib.AsyncExitStack()
        self._channel: aiormq.abc.AbstractChannel | None = None
        self._arrived: _Arrivals | None = None
        self._decoding: asyncio.Future[list[T]] | None = None
        self._unread: list[T] = []
        # Several tasks may read: one of them fetches what the next ones find.
        self._filling = asyncio.Lock()
        self._taken = self._given = 0
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
        await self._leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._given += 1
        if self._given % _READ_IN_A_TURN == 0:
            # A batch may hold ten thousand, and taking one of them does not suspend.
            await asyncio.sleep(0)
        while not self._unread:
            async with self._filling:
                if not self._unread:
                    self._unread = (await self._decoded())[::-1]
        return self._unread.pop()

    async def _decoded(self) -> list[T]:
        """Return the values of the next message; one that takes long is decoded in a thread."""
        if self._decoding is None:
            delivery = await self._next()
            if not is_large(delivery) and most_values(delivery) <= _VALUES_A_TURN:
                return self._values(delivery)
            self._decoding = asyncio.ensure_future(asyncio.to_thread(self._values, delivery))
        # If this is cancelled, the next call waits for the same message.
        values = await asyncio.shield(self._decoding)
        self._decoding = None
        return values

    def _values(self, delivery: Delivery) -> list[T]:
        if is_smuggled(delivery.exchange, delivery.routing_key, self._bindings):
            self.skipped += 1
            return []
        try:
            return list(self._read(delivery))
        except (Refused, ValueError):
            self.skipped += 1
            return []

    async def _next(self) -> Delivery:
        while not self._closed:
            if self._channel is None or self._arrived is None:
                await self._subscribe_again()
                continue
            delivery = await self._arrived.next()
            if delivery is None:
                await self._leave()
                continue
            await self._ack(delivery.tag, self._channel, self._arrived)
            return delivery
        # It may have been closed while it was subscribing again.
        await self._leave()
        raise StopAsyncIteration

    async def _ack(
        self, tag: int, channel: aiormq.abc.AbstractChannel | None, arrived: "_Arrivals"
    ) -> None:
        """Ack, so that the broker sends more: at intervals, and if nothing is left to read."""
        self._taken += 1
        if channel is None or not (arrived.is_empty or self._taken % _ACK_EVERY == 0):
            return
        # The loss of a channel is reported by `link.lost`.
        with contextlib.suppress(aiormq.exceptions.AMQPError, RuntimeError, ConnectionError):
            await channel.basic_ack(tag, multiple=True, wait=False)

    async def _subscribe_again(self) -> None:
        """Subscribe; after the first time, retry for as long as it takes."""
        backoff = Backoff()
        is_gap = self._was_subscribed
        while self._channel is None and not self._closed:
            try:
                await self._subscribe()
            except RecorderError:
                # Once it has worked, a refusal may pass: a broker that is set up again has its users
                # and exchanges only after a while.
                if not is_gap:
                    raise
                await asyncio.sleep(backoff.seconds())
        if is_gap and self._on_gap is not None and not self._closed:
            self._on_gap()

    async def _subscribe(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            link = await stack.enter_async_context(
                open_link(self._addresses, "client subscription", tls=self._tls)
            )
            # Each connection has its own arrivals: tags of a past one mean nothing.
            arrived = _Arrivals(link.reader)
            channel = await _consume(link, self._bindings, arrived)
            link.lost.add_done_callback(lambda _: arrived.put_end())
            self._stack = stack.pop_all()
        self._channel, self._arrived = channel, arrived
        self._was_subscribed = True

    async def _leave(self) -> None:
        self._channel = None
        if self._arrived is not None:
            self._arrived.close()
        await self._stack.aclose()


class _Arrivals:
    """
    The deliveries of one connection that wait for the reader.

    While they take more than `_MOST_WAITING_BYTES` the flow is paused.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._waiting: asyncio.Queue[Delivery | None] = asyncio.Queue()
        self._bytes = 0
        self._is_paused = False
        self._is_closed = False

    @property
    def is_empty(self) -> bool:
        return self._waiting.empty()

    def take(self, deliveries: Deliveries) -> None:
        """Keep deliveries until they are read; see `ports.Sink`."""
        if self._is_closed:
            return
        for delivery in deliveries:
            self._waiting.put_nowait(delivery)
            self._bytes += delivery.held_bytes
        self._balance()

    async def next(self) -> Delivery | None:
        """Return the oldest, once there is one; None at the end."""
        # `get` does not suspend while there is one, and other tasks must have their turn.
        await asyncio.sleep(0)
        delivery = await self._waiting.get()
        if delivery is not None:
            self._bytes -= delivery.held_bytes
            self._balance()
        return delivery

    def put_end(self) -> None:
        """Let `next` return None behind those that wait."""
        self._waiting.put_nowait(None)

    def close(self) -> None:
        """Take no more, and let the flow go on: the connection could not be closed without it."""
        self._is_closed = True
        self._balance()
        self.put_end()

    def _balance(self) -> None:
        pause = self._bytes > _MOST_WAITING_BYTES and not self._is_closed
        if pause == self._is_paused:
            return
        self._is_paused = pause
        if pause:
            self._flow.pause()
        else:
            self._flow.resume()


async def _consume(
    link: Link, bindings: Sequence[str], arrived: _Arrivals
) -> aiormq.abc.AbstractChannel:
    """Consume a queue that is exclusive to this connection, and deleted with it."""
    channel = await link.channel(prefetch=_PREFETCH)
    link.reader.deliver_to(channel.number, arrived.take, LARGEST_BYTES)
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
    await channel.basic_consume(queue, unreachable, exclusive=True)
