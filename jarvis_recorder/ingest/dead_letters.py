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
from jarvis_recorder.ports import Publisher
from jarvis_recorder.wire import properties
from jarvis_recorder.wire.refusal import Refusal, Refused
from jarvis_recorder.wire.times import format_rfc3339
from jarvis_recorder.wire.topics import DEAD_EXCHANGE

log = structlog.get_logger(__name__)

_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 10.0
_MAX_ERROR_BYTES: Final = 1_024
MAX_HELD_BYTES: Final = 32 * 1024 * 1024


class DeadLetters:
    """
    Publishes dead letters beside the recording and releases each delivery once confirmed.

    Until then the delivery stays unsettled: if the recorder dies in between, the broker
    delivers it again and it is dead-lettered again, never lost.
    """

    def __init__(self, publisher: Publisher, progress: Progress) -> None:
        self._publisher = publisher
        self._progress = progress
        self._under_way: set[asyncio.Task[None]] = set()
        self._held_bytes = 0

    def send(self, origin: Origin, refusals: Sequence[Refusal]) -> None:
        """
        Hold the delivery and begin to publish what of it is refused.

        Where too much is held already, because the broker confirms nothing, it is left to the
        broker to bury it whole: the reason is then in the log alone.
        """
        origin.lane.hold(origin.delivery.tag)
        size = len(origin.delivery.body)
        whole = self._held_bytes + size > MAX_HELD_BYTES
        self._held_bytes += size

        def done(task: asyncio.Task[None]) -> None:
            self._held_bytes -= size
            self._under_way.discard(task)

        task = asyncio.create_task(self._bury(origin, refusals, whole=whole))
        self._under_way.add(task)
        task.add_done_callback(done)

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way; what is not confirmed by then stays unsettled."""
        tasks = set(self._under_way)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _bury(self, origin: Origin, refusals: Sequence[Refusal], *, whole: bool) -> None:
        lane, delivery, _ = origin
        try:
            if whole or not await self._is_published(origin, refusals):
                await lane.reject(delivery.tag)
            else:
                await lane.release(delivery.tag)
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

    async def _is_published(self, origin: Origin, refusals: Sequence[Refusal]) -> bool:
        """Publish what is refused; return False where its properties let nothing be added."""
        try:
            for refusal in refusals:
                await self._publish(origin, refusal)
        except (Refused, MessageTooLarge):
            return False
        return True

    async def _publish(self, origin: Origin, refusal: Refusal) -> None:
        letter = _properties(origin, refusal)
        queue = origin.lane.topic.queue
        body = origin.delivery.body if refusal.element is None else refusal.element.body
        delay = _FIRST_DELAY_SECONDS
        while True:
            try:
                await self._publisher.publish(DEAD_EXCHANGE, queue, letter, body)
            except NotConfirmed as error:
                log.warning("dead_letter_refused", queue=queue, error=str(error))
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
            else:
                return


def _cut(error: str) -> bytes:
    """Return the error as UTF-8, cut between two characters where it is long."""
    raw = error.encode("utf-8", "replace")[:_MAX_ERROR_BYTES]
    return raw.decode("utf-8", "ignore").encode()


def _properties(origin: Origin, refusal: Refusal) -> bytes:
    lane, delivery, received_at = origin
    element = refusal.element
    body = delivery.body if element is None else element.body
    added = {
        "x-recorder-reason": refusal.reason.value.encode(),
        "x-recorder-error": _cut(refusal.error),
        "x-recorder-queue": lane.topic.queue.encode(),
        "x-recorder-exchange": delivery.exchange,
        "x-recorder-routing-key": delivery.routing_key,
        "x-recorder-received-at": format_rfc3339(received_at).encode(),
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
