"""Notifications of changes for all subscribers: at least once, in order, after the commit."""

import asyncio
from typing import Final

import structlog

from jarvis_recorder.errors import DeadlineExceeded, NotConfirmed, StorageUnavailable
from jarvis_recorder.ports import Clock, Outbox, PendingNotification, Publisher
from jarvis_recorder.wire.amqp.properties import encode_message
from jarvis_recorder.wire.topics import EXCHANGE

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 100
_RETRY_SECONDS: Final = 1.0


class OutboxRelay:
    """A relay that publishes the notifications in the outbox and removes each once confirmed."""

    def __init__(self, outbox: Outbox, publisher: Publisher, clock: Clock) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._clock = clock

    async def run(self) -> None:
        """
        Publish notifications until cancelled.

        Raises:
            BrokerUnavailable: The publisher is gone; those not confirmed stay in the outbox.
        """
        while True:
            await self._outbox.wait()
            while await self._more_is_waiting():
                pass

    async def _more_is_waiting(self) -> bool:
        """Publish the oldest notifications; return False once none is left."""
        try:
            return await self._announce_oldest()
        except (NotConfirmed, StorageUnavailable, DeadlineExceeded) as error:
            log.warning("announcement_delayed", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
            return True

    async def _announce_oldest(self) -> bool:
        announcements = await self._outbox.waiting(_AT_ONCE)
        if not announcements:
            return False
        await asyncio.gather(*(self._publish(announcement) for announcement in announcements))
        await self._outbox.announced(announcements)
        return True

    async def _publish(self, announcement: PendingNotification) -> None:
        # Not mandatory: it is no error that no one subscribes.
        await self._publisher.publish(
            EXCHANGE,
            announcement.routing_key,
            encode_message(announcement.message_id, self._clock()),
            announcement.body.encode(),
            mandatory=False,
        )
