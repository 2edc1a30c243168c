"""Publishing with confirms, each message's fate told to the one who published it."""

import aiormq

from jarvis_recorder.broker.connection import Link
from jarvis_recorder.broker.publisher import RawProperties
from jarvis_recorder.client.failures import lost
from jarvis_recorder.client.records import Message
from jarvis_recorder.errors import InvalidParameter, NotConfirmed, RecorderUnavailable
from jarvis_recorder.wire import properties
from jarvis_recorder.wire.topics import EXCHANGE


class RecordPublisher:
    """
    Publishes on one channel in confirm mode; many messages may be under way together.

    RabbitMQ returns a message that no queue takes, and confirms it right behind that. Returns
    are told apart by `message_id`, so no two messages under way may have the same.
    """

    def __init__(self, link: Link, channel: aiormq.abc.AbstractChannel) -> None:
        self._link = link
        self._channel = channel
        self._under_way: set[str] = set()
        self._returned: set[str] = set()

    def note_return(self, header: bytes) -> None:
        """Remember which message no queue took; its confirm follows."""
        identity = properties.decode(header).message_id
        if identity in self._under_way:
            self._returned.add(identity)

    async def publish(self, message: Message) -> None:
        """
        Return once the broker has taken responsibility for the message.

        Raises:
            RecorderUnavailable: No queue takes it: nothing would record it.
            NotConfirmed: The broker refused it, because the queue is full.
            InvalidParameter: Another message with its `message_id` is under way.
            BrokerUnavailable: The connection is gone; it may or may not have arrived.
        """
        identity = message.message_id
        if identity in self._under_way:
            raise InvalidParameter("message_id", f"message {identity} is on its way already")
        if self._link.lost.done():
            raise lost(self._channel)
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

    async def _confirm(self, message: Message) -> None:
        try:
            await self._channel.basic_publish(
                message.body,
                exchange=EXCHANGE,
                routing_key=message.routing_key,
                properties=RawProperties(message.properties),
                mandatory=True,
            )
        except aiormq.exceptions.DeliveryError as error:
            raise NotConfirmed(
                f"message {message.message_id} is not recorded: the queue is full, does a "
                "recorder run? Publish it again later"
            ) from error
        except (aiormq.exceptions.AMQPError, RuntimeError, ConnectionError) as error:
            raise lost(self._channel) from error


async def open_record_publisher(link: Link) -> RecordPublisher:
    """
    Open a channel in confirm mode to publish records on.

    Raises:
        BrokerUnavailable: The connection went away.
    """
    channel = await link.channel(confirms=True)
    publisher = RecordPublisher(link, channel)
    link.reader.return_to(channel.number, publisher.note_return)
    return publisher
