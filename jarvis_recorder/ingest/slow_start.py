"""The head of a queue, recorded in small steps before the rest of it is consumed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from jarvis_recorder.ingest.intake import Intake
from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.ports import Consumer, Sink
from jarvis_recorder.runtime.process import unless_stopped
from jarvis_recorder.wire.amqp.delivery import Deliveries, Delivery
from jarvis_recorder.wire.amqp.properties import apparent_delivery_count
from jarvis_recorder.wire.topics import Topic

log = structlog.get_logger(__name__)

_NEXT_WINDOW: Final = {1: 16, 16: 256, 256: 256}
_LARGEST_WINDOW: Final = 256
# The smallest in which one may wait for its dead letter to be confirmed.
_LEAST_WINDOW: Final = 4
# A message that has failed so often is a suspect: any other one fails once, by bad luck.
_SUSPECT_AFTER: Final = 2
# After so many suspects that did no harm, a few come together: each alone takes a channel of its own,
# and thousands may have been returned twice, or look so by a header of their publisher's. So few that
# one among them which does harm is alone at the next start.
_MOST_ALONE: Final = 100
_FEW: Final = 16
_KEPT_BYTES: Final = 1024 * 1024
_TURN_BYTES: Final = 128 * 1024
_LOOK_SECONDS: Final = 0.002
_PATIENCE_SECONDS: Final = 2.0

OpenConsumer = Callable[[str, int], Awaitable[Consumer]]
"""A function that opens a consumer of a queue with a window, on a channel of its own."""


class SlowStart:
    """
    The recording of a queue's head, until nothing speaks against consuming it in full.

    When a process or a connection ends, the broker counts a failed delivery of every message
    that was unsettled, and at the queue's limit it dead-letters the message. A message that ends
    the process or the connection would thus take its whole window of neighbors with it. Here
    each step is settled before the next begins, messages that failed before come only in steps,
    and messages that failed twice come alone. The broker keeps the count, so this holds across
    restarts without a state of our own.
    """

    def __init__(
        self, topic: Topic, open_consumer: OpenConsumer, intake: Intake, stop: asyncio.Event
    ) -> None:
        self._topic = topic
        self._open_consumer = open_consumer
        self._intake = intake
        self._stop = stop
        self._is_reported = False
        self._harmless = 0
        self._left_open: list[Settlement] = []

    async def run(self) -> None:
        """
        Return once the queue may be consumed, or `stop` is set.

        Raises:
            BrokerUnavailable: The connection went away.
            ConfigurationError: The queue is missing, or the permission to read it.
        """
        window = 1
        while not self._stop.is_set():
            step = await self._step(window)
            if step.suspect is not None:
                self._report(step.suspect)
                self._harmless += step.count
                window = 1 if self._harmless < _MOST_ALONE else _FEW
            elif not step.count or (window == _LARGEST_WINDOW and not step.is_redelivered):
                return
            else:
                window = _NEXT_WINDOW[window]

    async def _step(self, window: int) -> "_Step":
        """
        Record `window` deliveries, or all there are.

        Of those that wait for their dead letter to be confirmed one step keeps its channel. Until
        the broker accepts dead letters again, it has to dead-letter the next ones whole.

        On a channel that is then closed: deliveries that the broker assigned to the consumer
        while it was being cancelled return to the queue.
        """
        consumer = await self._open_consumer(self._topic.queue, window)
        none_may_wait = any(settlement.waiting for settlement in self._left_open)
        settlement = Settlement(
            self._topic, consumer, 1 if none_may_wait else max(window, _LEAST_WINDOW)
        )
        step = _Step(window, self._intake.sink(settlement))
        await consumer.start(step.take)
        # The broker does not report that the queue is empty.
        while not step.is_full and not self._stop.is_set() and await consumer.ready():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
        await consumer.cancel()
        await step.hand_over()
        await unless_stopped(self._stop, self._intake.settled())
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._intake.settled()
                await settlement.released()
        except TimeoutError:
            # A delivery that waits longer for its dead letter's confirm keeps its channel.
            self._left_open.append(settlement)
            return step
        # Not within that time: a call that is cut off would end the channel, and all others with it.
        await consumer.close()
        return step

    def _report(self, suspect: Delivery) -> None:
        """Log one line for each queue and session."""
        if not self._is_reported:
            self._is_reported = True
            log.warning(
                "delivery_suspect",
                queue=self._topic.queue,
                failed=apparent_delivery_count(suspect.header),
                error="deliveries have failed again and again; each is recorded alone",
            )


class _Step:
    """
    The deliveries of one step, kept until it is complete.

    If the connection ends before that, none of them is recorded: one without an identity would
    be recorded again each time. But large ones are passed on to the intake, which limits them.
    """

    def __init__(self, window: int, sink: Sink) -> None:
        self._window = window
        self._sink = sink
        self._kept: list[Delivery] = []
        self._kept_bytes = 0
        self.count = 0
        self.is_redelivered = False
        """True where the last delivery had failed before."""
        self.suspect: Delivery | None = None

    @property
    def is_full(self) -> bool:
        return self.count >= self._window

    def take(self, deliveries: Deliveries) -> None:
        for delivery in deliveries:
            self._take(delivery)

    def _take(self, delivery: Delivery) -> None:
        self.count += 1
        self.is_redelivered = delivery.redelivered
        if delivery.redelivered and apparent_delivery_count(delivery.header) >= _SUSPECT_AFTER:
            self.suspect = delivery
        self._kept.append(delivery)
        self._kept_bytes += delivery.held_bytes
        if self._kept_bytes > _KEPT_BYTES:
            self._sink(self._kept)
            self._kept = []

    async def hand_over(self) -> None:
        """Pass on the kept deliveries, few enough in one turn of the loop for other tasks."""
        size = 0
        while self._kept:
            delivery = self._kept.pop(0)
            self._sink([delivery])
            size += delivery.held_bytes
            if size > _TURN_BYTES:
                size = 0
                await asyncio.sleep(0)
