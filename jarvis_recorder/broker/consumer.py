"""A queue being consumed, its deliveries taken by our reader and settled through aiormq."""

import uuid

import aiormq

from jarvis_recorder.broker.connection import Link, broker_errors, refusals
from jarvis_recorder.ports import Sink
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.topics import LARGEST_BYTES


class QueueConsumer:
    """A queue consumed on a channel of its own; implements `ports.Consumer`."""

    most_bytes = LARGEST_BYTES
    """The most bytes of a body; a larger one is skipped, and its delivery comes without it."""

    def __init__(
        self,
        queue: str,
        link: Link,
        channel: aiormq.abc.AbstractChannel,
        priority: int = 0,
    ) -> None:
        self._queue = queue
        self._link = link
        self._channel = channel
        self._arguments: dict[str, int] = {"x-priority": priority} if priority else {}
        # A new tag each time: quorum queues mishandle one that is used again.
        self._consumer_tag = f"jarvis-recorder.{uuid.uuid4().hex}"

    async def start(self, sink: Sink) -> None:
        self._link.reader.deliver_to(self._channel.number, sink, self.most_bytes)
        with refusals(f"queue {self._queue} cannot be consumed"):
            await self._channel.basic_consume(
                self._queue,
                unreachable,
                consumer_tag=self._consumer_tag,
                arguments={**self._arguments},
            )

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        with broker_errors():
            await self._channel.basic_ack(tag, multiple=multiple, wait=False)

    async def reject(self, tag: int) -> None:
        with broker_errors():
            await self._channel.basic_reject(tag, requeue=False, wait=False)

    async def cancel(self) -> None:
        with broker_errors():
            await self._link.reply(self._channel.basic_cancel(self._consumer_tag))

    async def ready(self) -> int:
        with refusals(f"queue {self._queue} cannot be consumed"):
            declared = await self._link.reply(
                self._channel.queue_declare(self._queue, passive=True)
            )
        return declared.message_count or 0

    async def fetch(self) -> Delivery | None:
        fetched: list[Delivery] = []
        self._link.reader.fetch_to(self._channel.number, fetched.append, self.most_bytes)
        with refusals(f"queue {self._queue} cannot be consumed"):
            await self._link.reply(self._channel.basic_get(self._queue))
        return fetched[0] if fetched else None

    async def close(self) -> None:
        with broker_errors():
            # Acks get no reply; the reply to a later call proves that they were read.
            await self._link.reply(self._channel.basic_qos(prefetch_count=1))
            await self._link.close_channel(self._channel)


async def unreachable(message: aiormq.abc.DeliveredMessage) -> None:
    """Stand in for aiormq's callback of a consumer, which it never reaches."""
    raise AssertionError("the reader keeps every delivery of a consumed channel")
