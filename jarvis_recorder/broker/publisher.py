"""Publishing with confirms, properties as raw bytes."""

from typing import Final

import aiormq
from pamqp import commands

from jarvis_recorder.broker.connection import Link
from jarvis_recorder.errors import BrokerUnavailable, MessageTooLarge, NotConfirmed

# One header frame has to hold the properties; this much of it is not properties.
_HEADER_FRAME_OVERHEAD: Final = 8 + 12


class RawProperties(commands.Basic.Properties):
    """Properties that are sent as the bytes they came in, whatever those bytes are."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self._raw = raw

    def marshal(self) -> bytes:
        return self._raw


class ConfirmingPublisher:
    """A publisher on one channel in confirm mode; several publications may be in flight."""

    def __init__(self, channel: aiormq.abc.AbstractChannel, frame_max: int) -> None:
        self._channel = channel
        self._frame_max = frame_max
        self._returned = 0

    def note_return(self, _header: bytes) -> None:
        """
        Count a message returned as unroutable; its confirm follows (RabbitMQ returns first).

        A returned message may hold properties that aiormq cannot read, so it is only counted:
        all publications in flight then count as not confirmed.
        """
        self._returned += 1

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        properties: bytes,
        body: bytes,
        *,
        mandatory: bool = True,
    ) -> None:
        """Return once the broker has confirmed; see `ports.Publisher`."""
        if len(properties) + _HEADER_FRAME_OVERHEAD > self._frame_max:
            raise MessageTooLarge("the properties do not fit one frame")
        returned_before = self._returned
        try:
            await self._channel.basic_publish(
                body,
                exchange=exchange,
                routing_key=routing_key,
                properties=RawProperties(properties),
                mandatory=mandatory,
            )
        except aiormq.exceptions.DeliveryError as error:
            raise NotConfirmed("the broker refused the message: is the queue full?") from error
        except (aiormq.exceptions.AMQPError, RuntimeError, ConnectionError) as error:
            raise BrokerUnavailable("the publishing channel is gone") from error
        if mandatory and self._returned != returned_before:
            raise NotConfirmed(f"no queue is bound to {exchange}")


async def open_publisher(link: Link) -> ConfirmingPublisher:
    """
    Open a channel in confirm mode to publish on.

    Raises:
        BrokerUnavailable: The connection went away.
    """
    channel = await link.channel(confirms=True)
    publisher = ConfirmingPublisher(channel, link.frame_max)
    link.reader.return_to(channel.number, publisher.note_return)
    return publisher
