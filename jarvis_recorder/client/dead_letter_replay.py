"""An operator's operations on dead letters: look, fix, replay, drop."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple, Self

from jarvis_recorder.broker.connection import SYSTEM_TLS
from jarvis_recorder.broker.dead_letter_queue import (
    DeadLetterQueue,
    open_dead_letter_queue,
    run_maybe_in_thread,
)
from jarvis_recorder.client.dead_letter_look import Look
from jarvis_recorder.client.errors import addresses
from jarvis_recorder.client.publishing import Window
from jarvis_recorder.errors import (
    BrokerUnavailable,
    MessageTooLarge,
    NotConfirmed,
    NotFound,
    RecorderError,
    Undeliverable,
)
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.dead_letter import (
    DeadLetter,
    identity_of,
    read_dead_letter,
    to_message,
    topic_of,
    validate_replay,
)
from jarvis_recorder.wire.topics import EXCHANGE

_UNDER_WAY: Final = 64
_UNDER_WAY_BYTES: Final = 64 * 1024 * 1024
_LOOKED_AT_TOO_OFTEN: Final = (
    "a dead letter was looked at so often that the broker would throw it away soon, and the queue is "
    "full, or it is too large to be put back: `jarvis-recorder dead drop` or `dead replay` makes room"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A selection of dead letters: those that fit everything given."""

    ids: Collection[str] = ()
    reasons: Collection[str] = ()
    queue: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def fits(self, letter: DeadLetter) -> bool:
        if self.ids and letter.id not in self.ids:
            return False
        if self.reasons and letter.reason not in self.reasons:
            return False
        if self.queue and letter.queue != self.queue:
            return False
        return self._fits_in_time(letter.received_at)

    def _fits_in_time(self, moment: datetime | None) -> bool:
        if self.since is None and self.until is None:
            return True
        # One without a time was dead-lettered by the broker, which does not say when.
        if moment is None or (self.since is not None and moment < self.since):
            return False
        return self.until is None or moment < self.until


class ReplayOutcome(StrEnum):
    """The outcome of a dead letter's replay."""

    REPLAYED = "replayed"
    NOT_CONFIRMED = "not_confirmed"
    NO_TOPIC = "no_topic"


class FoundDeadLetter(NamedTuple):
    """A dead letter, and the delivery that holds its body."""

    letter: DeadLetter
    delivery: Delivery

    @property
    def is_without_body(self) -> bool:
        """True where the body is larger than any that is recorded, and was not read."""
        return properties.is_without_body(self.delivery.header, self.delivery.body)


ReportProgress = Callable[[int, int], None]
"""Called with the number of dead letters looked at, and the number of all."""


def _silent(_: int, __: int) -> None:
    pass


class DeadLetterAdmin:
    """
    The dead letters on a broker, for a user who may read and write their queue.

    Each call looks through the whole queue once, and leaves in it those it does not name. Calls
    wait for each other; two instances that look at once see a part each. The memory is bounded,
    whatever the queue holds. A look that has come to the end of the queue corrects the recorder's
    index of the dead letters, if a recorder runs and takes that from this user.
    """

    def __init__(
        self,
        url: str,
        progress: ReportProgress = _silent,
        *,
        also: Sequence[str] = (),
        tls: Tls = SYSTEM_TLS,
    ) -> None:
        self._addresses = addresses(url, also)
        self._tls = tls
        self._progress = progress
        self._looking = asyncio.Lock()
        self._look = Look(0.0)

    async def iterate(
        self, wanted: Filter, *, whole: bool = False
    ) -> AsyncIterator[FoundDeadLetter]:
        """
        Yield the dead letters that fit, oldest first; all stay in the queue.

        One with more than 16 MiB comes without its body, unless they are to be `whole`.

        Raises:
            Undeliverable: After those that were yielded is one that the broker cannot deliver.
            RecorderError: The queue is full, and looking at it again might lose a dead letter.
        """
        async with self._queue() as queue:
            async for found, fits in self._found(queue, wanted, whole=whole):
                if fits:
                    yield found
                if not await queue.keep(found.delivery):
                    raise RecorderError(_LOOKED_AT_TOO_OFTEN)

    async def get(self, identity: str) -> FoundDeadLetter:
        """
        Return one dead letter, without its body if that has more than 16 MiB.

        Raises:
            NotFound: There is none with this id.
            Undeliverable, RecorderError: As `iterate`.
        """
        found = None
        # The broker may close the connection on one while the consumer is only beginning.
        with contextlib.suppress(Undeliverable, BrokerUnavailable):
            found = await self._find(identity)
        if found is None:
            # Fetched one by one, one that cannot be delivered is named, and the index corrected.
            found = await self._fetch(identity)
        if found is not None:
            return found
        raise NotFound(f"there is no dead letter {identity}: was it replayed or dropped?")

    async def _find(self, identity: str) -> FoundDeadLetter | None:
        looked_at = 0

        def is_it(delivery: Delivery) -> bool:
            nonlocal looked_at
            looked_at += 1
            self._progress(looked_at, queue.waiting)
            return identity_of(delivery) == identity

        async with self._queue() as queue:
            delivery, is_kept = await queue.find(is_it)
            if not is_kept:
                raise RecorderError(_LOOKED_AT_TOO_OFTEN)
        if delivery is None:
            return None
        return FoundDeadLetter(await run_maybe_in_thread(read_dead_letter, delivery), delivery)

    async def _fetch(self, identity: str) -> FoundDeadLetter | None:
        async with self._queue() as queue:
            async for found, fits in self._found(queue, Filter(ids=(identity,))):
                if fits:
                    return found
                if not await queue.keep(found.delivery):
                    raise RecorderError(_LOOKED_AT_TOO_OFTEN)
        return None

    async def drop(self, wanted: Filter) -> int:
        """
        Remove the dead letters that fit from the queue for good, and return how many.

        Raises:
            Undeliverable: Those before it are dropped. With an empty filter it is dropped, too.
        """
        dropped = 0
        while True:
            try:
                async with self._queue() as queue:
                    async for found, fits in self._found(queue, wanted):
                        if fits:
                            await queue.remove(found.delivery)
                            self._look.removed(found.delivery)
                            dropped += 1
                        else:
                            await queue.keep(found.delivery)
            except Undeliverable:
                if wanted != Filter():
                    raise
                # All before it are acked, and the broker has read that: it is the first now.
                dropped += await self._discard_behind(0)
            else:
                return dropped

    async def drop_undeliverable(self) -> int:
        """Remove each dead letter that the broker cannot deliver; return how many."""
        dropped = 0
        while True:
            try:
                async for _ in self.iterate(Filter()):
                    pass
            except Undeliverable as obstacle:
                dropped += await self._discard_behind(obstacle.position - 1)
            else:
                return dropped

    async def _discard_behind(self, count: int) -> int:
        """Remove the dead letter after `count` others; return 1, or 0 if another is there now."""
        async with self._queue() as queue:
            deliveries = queue.deliveries()
            for _ in range(count):
                if await anext(deliveries, None) is None:
                    return 0
            return int(await queue.discard_next())

    async def replay(self, wanted: Filter, body: bytes | None = None) -> dict[ReplayOutcome, int]:
        """
        Publish the dead letters that fit as their original messages, and count the outcomes.

        Each leaves the queue once the broker has confirmed the message, so one that is replayed
        as this is killed may be published twice, and is recorded once. One that fails again comes
        back with a count, and is not replayed by the same call. `body` replaces the body of each.

        Raises:
            Undeliverable: Those before it are published; some may still be in the queue.
            BrokerUnavailable: The same.
        """
        outcomes = dict.fromkeys(ReplayOutcome, 0)
        async with (
            self._queue() as queue,
            _Replaying(queue, body, outcomes, self._look) as replaying,
        ):
            try:
                async for found, fits in self._found(queue, wanted, whole=True):
                    if fits:
                        await replaying.begin(found.delivery)
                    else:
                        await queue.keep(found.delivery)
            except Undeliverable as obstacle:
                await replaying.end()
                done = outcomes[ReplayOutcome.REPLAYED]
                raise Undeliverable(
                    obstacle.position, obstacle.waiting, f"{done:,} are replayed; {obstacle}"
                ) from obstacle
        return outcomes

    @contextlib.asynccontextmanager
    async def _queue(self) -> AsyncIterator[DeadLetterQueue]:
        async with self._looking, open_dead_letter_queue(self._addresses, tls=self._tls) as queue:
            self._look = Look(queue.opened_at)
            yield queue
            if self._look.is_whole:
                # Those of ten thousand dead letters take hundreds of milliseconds.
                queue.ask_afterwards(await asyncio.to_thread(tuple, self._look.requests()))

    async def _found(
        self, queue: DeadLetterQueue, wanted: Filter, *, whole: bool = False
    ) -> AsyncIterator[tuple[FoundDeadLetter, bool]]:
        """Yield each dead letter and whether it fits, for the caller to remove or to keep."""
        looked_at = 0
        async for delivery in queue.deliveries(whole=whole):
            looked_at += 1
            self._progress(looked_at, queue.waiting)
            dead_letter = await run_maybe_in_thread(read_dead_letter, delivery)
            self._look.saw(dead_letter, delivery)
            yield FoundDeadLetter(dead_letter, delivery), wanted.fits(dead_letter)
        # With fewer than were waiting someone else has fetched some.
        self._look.is_whole = looked_at == queue.waiting


class _Replaying:
    """Concurrent replays, limited in number and in bytes."""

    def __init__(
        self,
        queue: DeadLetterQueue,
        body: bytes | None,
        outcomes: dict[ReplayOutcome, int],
        look: Look,
    ) -> None:
        self._queue = queue
        self._look = look
        self._body = body
        self._outcomes = outcomes
        self._room = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost: BrokerUnavailable | None = None
        self._window = Window(_UNDER_WAY, _UNDER_WAY_BYTES)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.end()
        if kind is None and self._lost is not None:
            raise self._lost

    async def end(self) -> None:
        """Return when all are finished."""
        await asyncio.gather(*self._tasks)

    async def begin(self, delivery: Delivery) -> None:
        """
        Begin to replay a dead letter, as soon as the limits allow.

        Raises:
            BrokerUnavailable: One before it could not be replayed, or not removed.
        """
        size = delivery.held_bytes
        async with self._room:
            await self._room.wait_for(lambda: self._window.has_room(size))
            self._window.add(size)
        if self._lost is not None:
            raise self._lost
        task = asyncio.create_task(self._run(delivery, size))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, delivery: Delivery, size: int) -> None:
        try:
            self._outcomes[await self._replay(delivery)] += 1
        except BrokerUnavailable as error:
            self._lost = error
        async with self._room:
            self._window.remove(size)
            self._room.notify()

    async def _replay(self, delivery: Delivery) -> ReplayOutcome:
        topic = topic_of(delivery)
        if topic is None:
            await self._queue.keep(delivery)
            return ReplayOutcome.NO_TOPIC
        make = partial(to_message, topic=topic, body=self._body)
        message = await run_maybe_in_thread(make, delivery)
        try:
            await self._queue.publish(EXCHANGE, *message)
        except (NotConfirmed, MessageTooLarge):
            await self._queue.keep(delivery)
            return ReplayOutcome.NOT_CONFIRMED
        await self._queue.remove(delivery)
        self._look.removed(delivery)
        return ReplayOutcome.REPLAYED


def validation_error(found: FoundDeadLetter, body: bytes) -> str | None:
    """Return why a dead letter with this body would be refused again, None if it would not be."""
    topic = topic_of(found.delivery)
    if topic is None:
        return f"{found.letter.queue} is no queue that is recorded from"
    message = to_message(found.delivery, topic, body)
    decoded = validate_replay(found.delivery, topic, message, time.time_ns() // 1_000)
    return decoded.refusals[0].error if decoded.refusals else None
