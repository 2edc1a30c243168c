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
_ROUND_SECONDS: Final = 30.0


class OutboxRelay:
    """A relay that publishes the notifications in the outbox and removes each once confirmed."""

    def __init__(self, outbox: Outbox, publisher: Publisher, clock: Clock) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._clock = clock
        self._delayed_by: type[Exception] | None = None

    async def run(self) -> None:
        """
        Publish notifications until cancelled.

        Raises:
            BrokerUnavailable: The publisher is gone; those not confirmed stay in the outbox.
        """
        try:
            while True:
                # The relay of the connection before may have left some.
                while await self._more_is_waiting():
                    pass
                await self._outbox.wait()
        finally:
            await self._outbox.release()

    async def _more_is_waiting(self) -> bool:
        """Publish the oldest notifications; return False once none is left."""
        try:
            is_more = await self._announce_oldest()
        except (NotConfirmed, StorageUnavailable, DeadlineExceeded, TimeoutError) as error:
            await self._outbox.release()
            self._note_delay(error)
            await asyncio.sleep(_RETRY_SECONDS)
            return True
        self._note_success()
        return is_more

    def _note_delay(self, error: Exception) -> None:
        """Log a delay once for each kind of error, however often it is tried again."""
        if type(error) is not self._delayed_by:
            log.warning("announcement_delayed", error=str(error))
        self._delayed_by = type(error)

    def _note_success(self) -> None:
        if self._delayed_by is not None:
            log.info("announcement_resumed")
        self._delayed_by = None

    async def _announce_oldest(self) -> bool:
        notifications = await self._outbox.waiting(_AT_ONCE)
        if not notifications:
            return False
        # A server ends a transaction that is idle for longer, and another recorder goes on.
        async with asyncio.timeout(_ROUND_SECONDS):
            await asyncio.gather(*(self._publish(notification) for notification in notifications))
        await self._outbox.announced(notifications)
        return True

    async def _publish(self, notification: PendingNotification) -> None:
        # Not mandatory: it is no error that no one subscribes.
        await self._publisher.publish(
            EXCHANGE,
            notification.routing_key,
            encode_message(notification.message_id, self._clock()),
            notification.body.encode(),
            mandatory=False,
        )
