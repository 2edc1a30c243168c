"""Dead letters: deliveries that could not be recorded, published with the reason."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import structlog

from jarvis_recorder import __version__
from jarvis_recorder.errors import BrokerUnavailable, MessageTooLarge, NotConfirmed
from jarvis_recorder.ingest.batch import Origin
from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.ports import DeadLetterIndex, Publisher
from jarvis_recorder.telemetry.status import RecorderStatus
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.dead_letter import DeadLetter, read_published
from jarvis_recorder.wire.refusal import MOST_REFUSED_ALONE, Refusal, Refused, together
from jarvis_recorder.wire.times import format_rfc3339
from jarvis_recorder.wire.topics import DEAD_EXCHANGE

log = structlog.get_logger(__name__)

_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 10.0
# A healthy broker confirms within this time.
_CONFIRM_SECONDS: Final = 2.0
# Well below the broker's consumer timeout of 30 minutes, which would close the channel and count
# a failed delivery of everything on it.
_PATIENCE_SECONDS: Final = 600.0
_REPORT_SECONDS: Final = 60.0
_MAX_ERROR_BYTES: Final = 1_024
MAX_HELD_BYTES: Final = 24 * 1024 * 1024

# The dead letters of one batch message may take so many times its own size, and the size of a
# few at least: otherwise one of 20 kB with ten thousand bad elements would fill a queue.
_AMPLIFICATION: Final = 16
_LEAST_LETTERS_BYTES: Final = 4_096
# The added headers without the error; and the memory that a refusal and its element take.
_ADDED_BYTES: Final = 600
_REFUSAL_BYTES: Final = 1_000
# The dead letters made in one turn of the event loop, each from at most so many bytes.
_MADE_A_TURN: Final = 8
_LARGE_BYTES: Final = 4_096


class _Letter(NamedTuple):
    """A dead letter to publish, and its description for the index."""

    properties: bytes
    body: bytes
    description: DeadLetter


class DeadLetterPublisher:
    """
    A publisher of dead letters, alongside the recording; it releases each confirmed delivery.

    Until then the delivery stays unsettled: if the recorder dies in between, the broker
    delivers it again and it is dead-lettered again, never lost. If the broker does not accept
    them, as when their queue is full, only part of each window waits, and not for ever;
    the broker dead-letters the others whole, and their reason is in the log alone. A dead
    letter that it confirms too late is then in the queue twice.
    """

    def __init__(
        self, publisher: Publisher, status: RecorderStatus, index: DeadLetterIndex
    ) -> None:
        self._publisher = publisher
        self._index = index
        self._status = status
        self._under_way: set[asyncio.Task[None]] = set()
        self._held_bytes = 0
        self._has_room = asyncio.Event()
        self._reported_at = -_REPORT_SECONDS
        # While dead letters are refused only one is retried; the others follow its success.
        self._trying_again = asyncio.Lock()
        self._making = asyncio.Semaphore(_MADE_A_TURN)
        self._making_large = asyncio.Lock()

    async def send(self, origin: Origin, refusals: Sequence[Refusal]) -> None:
        """
        Hold the delivery and begin to publish its refusals as dead letters.

        It waits briefly if too much is held already. If that does not change, because the
        broker confirms nothing, the broker dead-letters it whole: the reason is then in the
        log alone. So it is with one that came without its body, which only the broker has.
        """
        settlement, delivery = origin.settlement, origin.delivery
        settlement.hold(delivery.tag)
        refusals = _bounded(origin, refusals)
        size = _size(origin, refusals)
        whole = properties.is_without_body(delivery.header, delivery.body) or (
            self._status.dead_letters_waiting > 0 and not settlement.may_wait
        )
        if not whole:
            whole = not await self._room_for(size)
        self._held_bytes += size

        def done(task: asyncio.Task[None]) -> None:
            self._held_bytes -= size
            self._has_room.set()
            self._under_way.discard(task)

        task = asyncio.create_task(self._bury(origin, refusals, whole=whole))
        self._under_way.add(task)
        task.add_done_callback(done)

    async def _room_for(self, size: int) -> bool:
        """Return whether so much more may be held, at the latest when a confirm is overdue."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(
                0 if self._status.dead_letters_waiting else _CONFIRM_SECONDS
            ):
                while self._held_bytes + size > MAX_HELD_BYTES and self._held_bytes:
                    self._has_room.clear()
                    await self._has_room.wait()
        return not self._held_bytes or self._held_bytes + size <= MAX_HELD_BYTES

    async def drain(self, seconds: float) -> bool:
        """
        Return whether all pending dead letters are confirmed, after so many seconds at most.

        Deliveries whose dead letters are not confirmed by then stay unsettled.
        """
        tasks = set(self._under_way)
        if not tasks:
            return True
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return not late

    async def _bury(self, origin: Origin, refusals: Sequence[Refusal], *, whole: bool) -> None:
        settlement, delivery = origin.settlement, origin.delivery
        try:
            if whole or not await self._is_published(origin, refusals):
                await settlement.reject(delivery.tag)
            else:
                await settlement.release(delivery.tag)
        except BrokerUnavailable:
            return  # the session ends, and the broker delivers it again
        self._report(settlement, refusals)

    def _report(self, settlement: Settlement, refusals: Sequence[Refusal]) -> None:
        """Log one line for each reason, however many elements of a batch share it."""
        for refusal in refusals:
            self._status.count_dead_letter(refusal.reason)
        counts = Counter(refusal.reason for refusal in refusals)
        for reason, count in counts.items():
            first = next(refusal for refusal in refusals if refusal.reason is reason)
            log.info(
                "dead_lettered",
                queue=settlement.topic.queue,
                reason=reason.value,
                error=first.error,
                letters=count,
            )

    async def _is_published(self, origin: Origin, refusals: Sequence[Refusal]) -> bool:
        """
        Publish the dead letters of a delivery, as soon as the broker accepts them.

        Return False if it does not in time, if no more may wait for it, or if nothing can be
        added to the properties.
        """
        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        try:
            for refusal in refusals:
                letter = await self._made(origin, refusal)
                if not await self._is_taken(letter, origin.settlement, until):
                    return False
        except (Refused, MessageTooLarge):
            return False
        return True

    async def _made(self, origin: Origin, refusal: Refusal) -> _Letter:
        """
        Return the dead letter of a refusal.

        Thousands may be asked for at once, and each repeats the headers of its delivery: the
        loop turns between a few of them, and a large one is made in a thread.

        Raises:
            Refused: Nothing can be added to the properties.
        """
        delivery = origin.delivery
        if delivery.held_bytes > _LARGE_BYTES:
            async with self._making_large:
                return await asyncio.to_thread(_letter, origin, refusal)
        async with self._making:
            await asyncio.sleep(0)
            return _letter(origin, refusal)

    async def _is_taken(self, letter: _Letter, settlement: Settlement, until: float) -> bool:
        publishing = asyncio.create_task(self._publish(letter, settlement))
        try:
            await asyncio.wait({publishing}, timeout=_CONFIRM_SECONDS)
            if not publishing.done():
                await self._wait(publishing, settlement, until)
            if publishing.done():
                await publishing
            return publishing.done()
        finally:
            publishing.cancel()

    async def _wait(
        self, publishing: asyncio.Task[None], settlement: Settlement, until: float
    ) -> None:
        """Wait until it is published or the time is over, if one more may wait at all."""
        if not settlement.may_wait:
            return
        settlement.waiting += 1
        self._status.dead_letters_waiting += 1
        try:
            self._complain(settlement, "the broker has not confirmed it in time")
            await asyncio.wait({publishing}, timeout=until - asyncio.get_running_loop().time())
        finally:
            settlement.waiting -= 1
            self._status.dead_letters_waiting -= 1

    def _complain(self, settlement: Settlement, error: str) -> None:
        """Warn that dead letters wait, once a minute."""
        now = time.monotonic()
        if now - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = now
        log.warning(
            "dead_letter_refused",
            queue=settlement.topic.queue,
            error=error,
            waiting=self._status.dead_letters_waiting,
        )

    async def _publish(self, letter: _Letter, settlement: Settlement) -> None:
        async def is_confirmed() -> bool:
            try:
                await self._publisher.publish(
                    DEAD_EXCHANGE, settlement.topic.queue, letter.properties, letter.body
                )
            except NotConfirmed as error:
                self._complain(settlement, str(error))
                return False
            return True

        if not await is_confirmed():
            async with self._trying_again:
                delay = _FIRST_DELAY_SECONDS
                while not await is_confirmed():
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
        self._index.note(letter.description)


def _bounded(origin: Origin, refusals: Sequence[Refusal]) -> Sequence[Refusal]:
    """Return the refusals to publish: all, or one for the whole message if they are far more."""
    if refusals[0].element is None:
        return refusals[:1]
    delivery = origin.delivery
    own = delivery.held_bytes
    bodies = sum(len(one.element.body) for one in refusals if one.element is not None)
    errors = sum(_ADDED_BYTES + len(one.error) for one in refusals)
    letters = len(refusals) * len(delivery.header) + errors + bodies
    # RabbitMQ counts no headers where it bounds a queue's size: copies of them may not be far more
    # than what it counts.
    copied = (len(refusals) - 1) * len(delivery.header)
    if (
        len(refusals) <= MOST_REFUSED_ALONE
        and letters <= _AMPLIFICATION * own + _LEAST_LETTERS_BYTES
        and copied <= _AMPLIFICATION * bodies + _LEAST_LETTERS_BYTES
    ):
        return refusals
    return [together(len(refusals), refusals[0])]


def _size(origin: Origin, refusals: Sequence[Refusal]) -> int:
    """Return about how many bytes a delivery and its refusals take in memory."""
    delivery = origin.delivery
    elements = sum(len(one.element.body) for one in refusals if one.element is not None)
    return delivery.held_bytes + elements + _REFUSAL_BYTES * len(refusals)


def _cut(error: str) -> bytes:
    """Return the error as UTF-8, cut between two characters where it is long."""
    raw = error.encode("utf-8", "replace")[:_MAX_ERROR_BYTES]
    return raw.decode("utf-8", "ignore").encode()


def _letter(origin: Origin, refusal: Refusal) -> _Letter:
    delivery, element = origin.delivery, refusal.element
    body = delivery.body if element is None else element.body
    letter = _properties(origin, refusal, body)
    description = read_published(delivery, origin.settlement.topic.queue, letter, body)
    return _Letter(letter, body, description)


def _properties(origin: Origin, refusal: Refusal, body: bytes) -> bytes:
    settlement, delivery, received_at, _ = origin
    element = refusal.element
    added = {
        "x-recorder-reason": refusal.reason.value.encode(),
        "x-recorder-error": _cut(refusal.error),
        "x-recorder-queue": settlement.topic.queue.encode(),
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
