"""What could not be recorded, published again with the reason."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import structlog

from jarvis_recorder import __version__
from jarvis_recorder.errors import BrokerUnavailable, MessageTooLarge, NotConfirmed
from jarvis_recorder.ingest.batch import Origin
from jarvis_recorder.ingest.progress import Progress
from jarvis_recorder.ports import Clock, Publisher
from jarvis_recorder.wire import properties
from jarvis_recorder.wire.delivery import Delivery
from jarvis_recorder.wire.refusal import Refusal, Refused
from jarvis_recorder.wire.times import format_rfc3339
from jarvis_recorder.wire.topics import DEAD_EXCHANGE, Topic

log = structlog.get_logger(__name__)

_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 10.0
_MAX_ERROR_BYTES: Final = 1_024


class DeadLetters:
    """
    Publishes dead letters beside the recording and releases each delivery once confirmed.

    Until then the delivery stays unsettled: if the recorder dies in between, the broker
    delivers it again and it is dead-lettered again, never lost.
    """

    def __init__(self, publisher: Publisher, progress: Progress, clock: Clock) -> None:
        self._publisher = publisher
        self._progress = progress
        self._clock = clock
        self._under_way: set[asyncio.Task[None]] = set()

    def send(self, origin: Origin, refusals: Sequence[Refusal]) -> None:
        """Hold the delivery and begin to publish what of it is refused."""
        origin.lane.hold(origin.delivery.tag)
        task = asyncio.create_task(self._bury(origin, refusals))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way; what is not confirmed by then stays unsettled."""
        tasks = set(self._under_way)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _bury(self, origin: Origin, refusals: Sequence[Refusal]) -> None:
        lane, delivery = origin
        try:
            for refusal in refusals:
                await self._publish(delivery, lane.topic, refusal)
            await lane.release(delivery.tag)
        except (Refused, MessageTooLarge):
            # Nothing can be added to these properties. The broker can still bury it whole.
            await self._reject(origin)
        except BrokerUnavailable:
            return  # the session ends, and the broker delivers it again
        for refusal in refusals:
            self._progress.count_dead_letter(refusal.reason)
            log.info(
                "dead_lettered",
                queue=lane.topic.queue,
                reason=refusal.reason.value,
                error=refusal.error,
            )

    async def _reject(self, origin: Origin) -> None:
        try:
            await origin.lane.reject(origin.delivery.tag)
        except BrokerUnavailable:
            log.debug("reject_lost", queue=origin.lane.topic.queue)

    async def _publish(self, delivery: Delivery, topic: Topic, refusal: Refusal) -> None:
        letter = _properties(delivery, topic, refusal, self._clock())
        body = delivery.body if refusal.element is None else refusal.element.body
        delay = _FIRST_DELAY_SECONDS
        while True:
            try:
                await self._publisher.publish(DEAD_EXCHANGE, topic.queue, letter, body)
            except NotConfirmed as error:
                log.warning("dead_letter_refused", queue=topic.queue, error=str(error))
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
            else:
                return


def _cut(error: str) -> bytes:
    """Return the error as UTF-8, cut between two characters where it is long."""
    raw = error.encode("utf-8", "replace")[:_MAX_ERROR_BYTES]
    return raw.decode("utf-8", "ignore").encode()


def _properties(delivery: Delivery, topic: Topic, refusal: Refusal, now: int) -> bytes:
    element = refusal.element
    body = delivery.body if element is None else element.body
    added = {
        "x-recorder-reason": refusal.reason.value.encode(),
        "x-recorder-error": _cut(refusal.error),
        "x-recorder-queue": topic.queue.encode(),
        "x-recorder-exchange": delivery.exchange,
        "x-recorder-routing-key": delivery.routing_key,
        "x-recorder-received-at": format_rfc3339(now).encode(),
        "x-recorder-version": __version__.encode(),
        "x-recorder-sha256": sha256(body).hexdigest().encode(),
    }
    if element is None:
        return properties.with_headers(delivery.header, added)
    return properties.with_headers(
        delivery.header,
        added,
        {
            "message_id": element.message_id,
            "content_type": element.content_type,
            "content_encoding": None,
        },
    )
