"""The dead letter queue, as an operator looks through it and empties it."""

import asyncio
import contextlib
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Final, TypeVar

import aiormq
from yarl import URL

from jarvis_recorder.broker.connection import (
    SYSTEM_TLS,
    Link,
    broker_errors,
    open_link,
    refusals,
)
from jarvis_recorder.broker.consumer import unreachable
from jarvis_recorder.broker.publisher import ConfirmingPublisher, open_publisher
from jarvis_recorder.errors import BrokerUnavailable, MessageTooLarge, NotConfirmed, Undeliverable
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.amqp.properties import (
    body_size,
    delivery_count,
    encode_notification,
    is_without_body,
)
from jarvis_recorder.wire.dead_letter import reset_delivery_count
from jarvis_recorder.wire.topics import (
    DEAD_EXCHANGE,
    DEAD_QUEUE,
    LARGEST_BYTES,
    RPC_EXCHANGE,
    RPC_KEY,
)

T = TypeVar("T")

# RabbitMQ 4.0 to 4.2 counts each return and drops a message at the twentieth, unless a policy
# of the operator's says otherwise.
_RENEW_AFTER: Final = 10
_LAST_RETURN: Final = 18
_COUNTS_RETURNS_FROM: Final = 4
_GET_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 0.5
_REQUEUE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02
_ASK_SECONDS: Final = 5.0
# Later a recorder that starts meanwhile would be told of a queue that has changed.
_EXPIRATION_MS: Final = 2_000

# Consumed at once: the broker holds them in memory on their way, and we until they are taken.
_CONSUMED_BYTES: Final = 64 * 1024 * 1024
_MOST_CONSUMED: Final = 20_000
_FIRST_CONSUMED: Final = 200
_HELD_BYTES: Final = 16 * 1024 * 1024
# Above these a look at one takes longer than the way to a thread: a header may hold 65,000 fields.
_LARGE_HEADER: Final = 4 * 1024
_LARGE_BODY: Final = 256 * 1024
# In a few looks all are renewed, and none of them takes long.
_RENEWED_SHARE: Final = 0.25
# Without any news for so long another caller has fetched the rest.
_QUIET_SECONDS: Final = 5.0

# AMQP 0-9-1: internal error. RabbitMQ before 4.0 accepts AMQP 1.0 messages that it cannot convert
# to 0-9-1, such as one with a number as its id, and closes with this when it has to deliver them.
_INTERNAL_ERROR: Final = 541


class DeadLetterQueue:
    """
    The waiting dead letters, each fetched once; those not removed are requeued at the end.

    The caller either removes or keeps each dead letter.

    `deliveries` fetches and does not consume, so that it ends where the queue does; `find` consumes,
    which takes a fraction of the time. `waiting` is their number at opening, `opened_at` on the
    monotonic clock: messages dead-lettered meanwhile, or again, are not fetched.

    A body of more than `LARGEST_BYTES` is not read, unless all are to be `whole`: RabbitMQ before
    4.0 takes 128 MiB, and anyone may publish that. Only its header gives the size then.
    """

    def __init__(
        self,
        link: Link,
        channel: aiormq.abc.AbstractChannel,
        publisher: ConfirmingPublisher,
        waiting: int,
        opened_at: float,
    ) -> None:
        self._link = link
        self._channel = channel
        self._publisher = publisher
        self._may_renew = True
        self._has_failed = False
        self._unacked = 0
        self._requests: tuple[bytes, ...] = ()
        self.waiting = waiting
        self.opened_at = opened_at

    async def deliveries(self, *, whole: bool = False) -> AsyncIterator[Delivery]:
        """
        Yield each dead letter, the oldest first.

        Raises:
            BrokerUnavailable: The connection went away; the broker has all of them back.
            Undeliverable: The broker cannot deliver the next one, and has all of them back.
        """
        for position in range(1, self.waiting + 1):
            try:
                delivery = await self._get(whole=whole)
            except BrokerUnavailable as error:
                if self._has_failed:
                    raise self._undeliverable(position) from error
                raise
            if delivery is None:
                return
            yield delivery

    async def find(self, fits: Callable[[Delivery], bool]) -> tuple[Delivery | None, bool]:
        """
        Return the first dead letter that fits, None if none does; all stay in the queue.

        Some behind it are looked at, too. The flag says that none of them may be dropped by the
        broker at one of the next looks; see `keep`.

        Raises:
            BrokerUnavailable: The connection went away; the broker has all of them back.
            Undeliverable: The same, and the broker cannot deliver one of them: perhaps the next.
        """
        found: Delivery | None = None

        def look(delivery: Delivery) -> tuple[bool, int]:
            return found is None and fits(delivery), delivery_count(delivery.header)

        seen, most, is_kept = 0, _FIRST_CONSUMED, True
        while found is None and seen < self.waiting:
            most = min(most, self.waiting - seen)
            often: list[Delivery] = []
            taken = size = held = 0
            async with contextlib.aclosing(self._consumed(most, seen)) as arriving:
                # To the end, although one may be found: each that has come was counted.
                async for delivery in arriving:
                    taken += 1
                    # The broker reads and sends also what is not kept here.
                    size += len(delivery.header) + body_size(delivery.header)
                    is_it, count = await run_maybe_in_thread(look, delivery)
                    if is_it:
                        found = delivery
                    if count < _RENEW_AFTER:
                        continue
                    # The others are renewed at one of the next looks.
                    if len(often) <= most * _RENEWED_SHARE and held < _HELD_BYTES:
                        often.append(delivery)
                        held += delivery.held_bytes
                    else:
                        is_kept = is_kept and not self._is_in_danger(count)
            # Afterwards: one acked before would have the broker send its copy, too.
            kept = await asyncio.gather(*map(self.keep, often))
            is_kept = is_kept and all(kept)
            seen += taken
            if taken < most:
                break
            most = max(1, min(_MOST_CONSUMED, _CONSUMED_BYTES * taken // max(size, 1)))
        return found, is_kept

    async def _consumed(self, most: int, seen: int) -> AsyncGenerator[Delivery, None]:
        """Consume so many, and yield each; `seen` were before them."""
        reader = self._link.reader
        arrived: deque[Delivery] = deque()
        news = asyncio.Event()
        held, is_over = 0, False

        def take(deliveries: Iterable[Delivery]) -> None:
            nonlocal held
            for delivery in deliveries:
                arrived.append(delivery)
                held += delivery.held_bytes
            # Once it is over no one would resume.
            if held > _HELD_BYTES and not is_over:
                reader.pause()
            news.set()

        # A new tag each time: quorum queues mishandle one that is used again.
        tag = f"jarvis-recorder.dead.{uuid.uuid4().hex}"
        reader.deliver_to(self._channel.number, take, LARGEST_BYTES)
        self._link.lost.add_done_callback(lambda _: news.set())
        with broker_errors():
            await self._channel.basic_qos(prefetch_count=most, timeout=_GET_SECONDS)
            await self._channel.basic_consume(
                DEAD_QUEUE, unreachable, consumer_tag=tag, timeout=_GET_SECONDS
            )
        try:
            for number in range(seen, seen + most):
                if not arrived:
                    reader.resume()
                    await self._until_news(news, number + 1)
                if not arrived:
                    break
                delivery = arrived.popleft()
                held -= delivery.held_bytes
                self._unacked += 1
                yield delivery
        finally:
            is_over = True
            reader.resume()
            # Where it fails the connection is gone, and the consumer with it.
            with contextlib.suppress(BrokerUnavailable), broker_errors():
                await self._channel.basic_cancel(tag, timeout=_GET_SECONDS)

    async def _until_news(self, news: asyncio.Event, position: int) -> None:
        """
        Wait until something has arrived, or nothing for some seconds.

        Raises:
            BrokerUnavailable, Undeliverable: As `find`.
        """
        news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0 if self._link.lost.done() else _QUIET_SECONDS):
                await news.wait()
        if not self._link.lost.done():
            return
        self._note_failure()
        error = self._link.lost.exception()
        if self._has_failed:
            raise self._undeliverable(position) from error
        raise BrokerUnavailable(f"the dead letters are not read: {error}") from error

    async def remove(self, delivery: Delivery) -> None:
        """Remove a dead letter from the queue for good; call it once for each."""
        with broker_errors():
            await self._channel.basic_ack(delivery.tag, wait=False)
        self._unacked -= 1
        self._may_renew = True

    async def keep(self, delivery: Delivery) -> bool:
        """
        Keep a dead letter in the queue, republished if it was fetched often.

        A full queue accepts no copy, and of one without its body there is none; then the original
        stays. Return False if the broker may drop that at one of the next fetches.
        """
        count = await run_maybe_in_thread(_delivery_count, delivery)
        if count < _RENEW_AFTER:
            return True
        if is_without_body(delivery.header, delivery.body):
            return not self._is_in_danger(count)
        # While the queue is full, trying each is of no use; removing one makes room.
        self._may_renew = self._may_renew and await self._is_renewed(delivery)
        return self._may_renew or not self._is_in_danger(count)

    async def discard_next(self) -> bool:
        """
        Remove the next dead letter, and return whether the broker failed to deliver it.

        Fetched without an ack, it has left the queue before that. One that can be delivered
        after all is put back, at the end.
        """
        try:
            delivery = await self._get(no_ack=True, whole=True)
        except BrokerUnavailable:
            if self._has_failed:
                return True
            raise
        if delivery is not None:
            await self._put_back(delivery)
        return False

    async def _put_back(self, delivery: Delivery) -> None:
        while True:
            if await self._is_copied(delivery):
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def _get(self, *, no_ack: bool = False, whole: bool = False) -> Delivery | None:
        fetched: list[Delivery] = []
        most = sys.maxsize if whole else LARGEST_BYTES
        self._link.reader.fetch_to(self._channel.number, fetched.append, most)
        try:
            with broker_errors():
                await self._channel.basic_get(DEAD_QUEUE, no_ack=no_ack, timeout=_GET_SECONDS)
        except BrokerUnavailable:
            self._note_failure()
            raise
        if not fetched:
            return None
        self._unacked += not no_ack
        return fetched.pop()

    def _note_failure(self) -> None:
        """Note whether the broker has closed the connection on a message."""
        reason = self._link.reader.close_reason
        self._has_failed = reason is not None and reason[0] == _INTERNAL_ERROR

    def _undeliverable(self, position: int) -> Undeliverable:
        return Undeliverable(
            position,
            self.waiting,
            f"the broker cannot deliver dead letter {position:,} of {self.waiting:,} and closes the "
            "connection on it (INTERNAL_ERROR); no one can look behind it until it is gone: "
            "`jarvis-recorder dead drop --undeliverable` throws it away",
        )

    async def publish(
        self, exchange: str, routing_key: str, properties: bytes, body: bytes
    ) -> None:
        """Publish and return once it is confirmed; see `ports.Publisher`."""
        await self._publisher.publish(exchange, routing_key, properties, body)

    async def _is_renewed(self, delivery: Delivery) -> bool:
        """Replace a dead letter by a copy at the end of the queue, if that accepts one."""
        if not await self._is_copied(delivery):
            return False
        await self.remove(delivery)
        return True

    async def _is_copied(self, delivery: Delivery) -> bool:
        """Publish a copy to the end of the queue, without the broker's delivery counters."""
        routing_key = delivery.routing_key.decode("utf-8", "surrogateescape")
        properties = await run_maybe_in_thread(reset_delivery_count, delivery)
        try:
            await self.publish(DEAD_EXCHANGE, routing_key, properties, delivery.body)
        except (NotConfirmed, MessageTooLarge):
            return False
        return True

    def _is_in_danger(self, count: int) -> bool:
        """Return whether the broker may drop one that came back so often."""
        if count < _LAST_RETURN:
            return False
        return self._link.server_version >= (_COUNTS_RETURNS_FROM,)

    async def close(self) -> None:
        """
        Requeue the dead letters not removed, and return once they can be fetched again.

        While another caller fetches them too, that takes some seconds longer.
        """
        if self._has_failed:
            return
        with broker_errors():
            ready = await self._ready()
            # Closing the channel would requeue them too, but from RabbitMQ 4.3 on that counts
            # as a failure of each, and a nack does not.
            await self._channel.basic_nack(0, multiple=True, requeue=True, wait=False)
            await self._until_ready(ready + self._unacked)
            await self._channel.close()

    def ask_afterwards(self, requests: Iterable[bytes]) -> None:
        """Have these requests, which want no reply, sent when the queue is closed."""
        self._requests = tuple(requests)

    async def ask(self, user: str | None) -> None:
        """
        Send the requests, if a recorder may be there for them and takes them from this user.

        Where they cannot be sent nothing is lost: they only tell what anyone can look up.
        """
        properties = encode_notification(_EXPIRATION_MS, user)
        sending = [
            self.publish(RPC_EXCHANGE, RPC_KEY, properties, request) for request in self._requests
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ASK_SECONDS):
                await asyncio.gather(*sending, return_exceptions=True)

    async def _until_ready(self, count: int) -> None:
        """
        Wait until this many can be fetched, for some seconds at most: another caller may fetch them.

        A quorum queue requeues some time after its channel has read the nack. A caller that looks
        in between would find a part of them.
        """
        deadline = time.monotonic() + _REQUEUE_SECONDS
        while time.monotonic() < deadline:
            if await self._ready() >= count:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _ready(self) -> int:
        declared = await self._channel.queue_declare(DEAD_QUEUE, passive=True, timeout=_GET_SECONDS)
        return declared.message_count or 0


async def run_maybe_in_thread(function: Callable[[Delivery], T], delivery: Delivery) -> T:
    """Return what a function makes of a dead letter, called in a thread if that one is large."""
    if len(delivery.header) > _LARGE_HEADER or len(delivery.body) > _LARGE_BODY:
        return await asyncio.to_thread(function, delivery)
    return function(delivery)


def _delivery_count(delivery: Delivery) -> int:
    return delivery_count(delivery.header)


@contextlib.asynccontextmanager
async def open_dead_letter_queue(
    addresses: Addresses, *, tls: Tls = SYSTEM_TLS
) -> AsyncIterator[DeadLetterQueue]:
    """
    Open the dead letter queue to look through it.

    Raises:
        BrokerUnavailable: The broker cannot be reached.
        ConfigurationError: There is no such queue, or this user may not read it.
    """
    async with (
        open_link(addresses, "dead letters", tls=tls) as link,
        open_link(addresses, "dead letters again", tls=tls, lost=link.lost) as publishing,
    ):
        channel = await link.channel()
        opened_at = time.monotonic()
        with refusals(f"queue {DEAD_QUEUE} cannot be read"):
            declared = await channel.queue_declare(DEAD_QUEUE, passive=True)
        publisher = await open_publisher(publishing)
        queue = DeadLetterQueue(link, channel, publisher, declared.message_count or 0, opened_at)
        try:
            yield queue
        except BaseException:
            # The failure or interruption may have closed the channel already.
            with contextlib.suppress(BrokerUnavailable):
                await queue.close()
            raise
        await queue.close()
        await queue.ask(URL(addresses.url).user)
