"""Publishing with confirms, properties as raw bytes."""

from collections.abc import Callable
from typing import Final, Self

import aiormq
from pamqp import commands

from jarvis_recorder.broker.connection import Link
from jarvis_recorder.broker.renewable import RenewableChannel
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


class ConfirmChannel:
    """A channel in confirm mode, renewed once the broker has refused a message on it."""

    def __init__(self, link: Link, note_return: Callable[[bytes], None]) -> None:
        self._link = link
        self._note_return = note_return
        self._renewable = RenewableChannel(link, self._open_one)

    @property
    def channel(self) -> aiormq.abc.AbstractChannel:
        return self._renewable.current

    async def open(self) -> Self:
        """Open the first one; raises as `Link.channel` does."""
        await self._renewable.open()
        return self

    async def _open_one(self) -> aiormq.abc.AbstractChannel:
        channel = await self._link.channel(confirms=True)
        self._link.reader.return_to(channel.number, self._note_return)
        return channel

    async def publish(
        self, body: bytes, exchange: str, routing_key: str, properties: bytes, *, mandatory: bool
    ) -> None:
        """
        Return once the broker has confirmed the message.

        Raises:
            aiormq.exceptions.DeliveryError: It refused the message.
            aiormq.exceptions.AMQPError, RuntimeError, ConnectionError: The channel is gone.
            BrokerUnavailable: The connection went away before the message was sent.
        """
        async with self._renewable.used() as channel:
            try:
                await channel.basic_publish(
                    body,
                    exchange=exchange,
                    routing_key=routing_key,
                    properties=RawProperties(properties),
                    mandatory=mandatory,
                )
            except aiormq.exceptions.DeliveryError:
                self._renewable.renew(channel)
                raise


class ConfirmingPublisher:
    """A publisher with confirms; several publications may be in flight."""

    def __init__(self, link: Link) -> None:
        self._confirmed = ConfirmChannel(link, self.note_return)
        self._frame_max = link.frame_max
        self._returned = 0

    async def open(self) -> Self:
        """Open its channel; raises as `Link.channel` does."""
        await self._confirmed.open()
        return self

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
            await self._confirmed.publish(
                body, exchange, routing_key, properties, mandatory=mandatory
            )
        except aiormq.exceptions.DeliveryError as error:
            raise NotConfirmed(
                "the broker refused the message: its queue is full, or no node leads it now"
            ) from error
        except (aiormq.exceptions.AMQPError, RuntimeError, ConnectionError) as error:
            raise BrokerUnavailable("the publishing channel is gone") from error
        if mandatory and self._returned != returned_before:
            raise NotConfirmed(f"no queue is bound to {exchange}")


async def open_publisher(link: Link) -> ConfirmingPublisher:
    """
    Open a publisher with confirms on a connection.

    Raises:
        BrokerUnavailable: The connection went away.
    """
    return await ConfirmingPublisher(link).open()
