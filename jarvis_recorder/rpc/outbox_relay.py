"""
Notifications of changes for all subscribers: at least once, after the commit.

They are in the order of the commits, but for those that are published again.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from jarvis_recorder.errors import DeadlineExceeded, NotConfirmed, StorageUnavailable
from jarvis_recorder.ports import Clock, Outbox, PendingNotification, Publisher
from jarvis_recorder.wire.amqp.properties import encode_message
from jarvis_recorder.wire.topics import EXCHANGE

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 100
_RETRY_SECONDS: Final = 1.0
# All the other subscribers get a refused one again with each attempt.
_REFUSED_RETRY_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 120.0
# A server ends a transaction that is idle for longer, and another recorder goes on.
_ROUND_SECONDS: Final = 30.0


class OutboxRelay:
    """
    A relay that publishes the notifications in the outbox and removes each once confirmed.

    The broker refuses one if a single queue refuses it, of whatever program. While it has refused
    some without a break for two minutes, those that it refuses are removed: all other queues have
    them, and a queue that stays full would hold up every later one.
    """

    def __init__(self, outbox: Outbox, publisher: Publisher, clock: Clock) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._clock = clock
        self._delayed_by: type[Exception] | None = None
        self._refused_since: float | None = None
        # Those that are in the outbox still: it may be readable while nothing can be removed.
        self._confirmed: set[str] = set()

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
            is_refused = isinstance(error, NotConfirmed)
            await asyncio.sleep(_REFUSED_RETRY_SECONDS if is_refused else _RETRY_SECONDS)
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
        outcomes = await asyncio.gather(
            *(self._publish(notification) for notification in notifications),
            return_exceptions=True,
        )
        refusals = [one for one in outcomes if isinstance(one, NotConfirmed)]
        if self._are_given_up(refusals):
            outcomes = [None if one in refusals else one for one in outcomes]
        settled = zip(notifications, outcomes, strict=True)
        if done := [one for one, failure in settled if failure is None]:
            await self._outbox.announced(done)
            self._confirmed.clear()
        for failure in outcomes:
            if failure is not None:
                raise failure
        return True

    def _are_given_up(self, refusals: Sequence[NotConfirmed]) -> bool:
        """Return whether the broker has refused some in each round for so long."""
        if not refusals:
            self._refused_since = None
            return False
        now = asyncio.get_running_loop().time()
        if self._refused_since is None:
            self._refused_since = now
        is_over = now - self._refused_since >= _PATIENCE_SECONDS
        if is_over and self._delayed_by is not None:
            log.warning("announcements_given_up", count=len(refusals), error=str(refusals[0]))
        return is_over

    async def _publish(self, notification: PendingNotification) -> None:
        if notification.message_id in self._confirmed:
            return
        async with asyncio.timeout(_ROUND_SECONDS):
            await self._publisher.publish(
                EXCHANGE,
                notification.routing_key,
                encode_message(notification.message_id, self._clock()),
                notification.body.encode(),
                # It is no error that no one subscribes.
                mandatory=False,
            )
        self._confirmed.add(notification.message_id)
