"""The head of a queue, recorded in small steps before the rest of it is consumed."""

import asyncio
from itertools import chain, repeat
from typing import Final

import structlog

from jarvis_recorder.ingest.intake import Intake
from jarvis_recorder.ingest.lane import Lane
from jarvis_recorder.lifecycle import unless_stopped
from jarvis_recorder.ports import Consumer
from jarvis_recorder.wire.delivery import Delivery
from jarvis_recorder.wire.properties import delivery_count

log = structlog.get_logger(__name__)

_STEPS: Final = (1, 16, 256)
_STEP_BYTES: Final = 1024 * 1024
_TURN_BYTES: Final = 128 * 1024
# A message that has failed so often is a suspect: any other one fails once, by bad luck.
_SUSPECT_AFTER: Final = 2


class SlowStart:
    """
    Records what a queue begins with until nothing speaks against consuming it in full.

    When a process or a connection ends, the broker counts a failed delivery of every message
    that was unsettled, and at the queue's limit it gives the message up. A message that ends
    the process or the connection would so take its whole window of neighbors with it. Here
    each step is settled before the next is fetched, what has failed before is only fetched in
    steps, and what has failed twice is fetched alone. The broker keeps the count, so this holds
    across restarts without a state of our own.
    """

    def __init__(self, consumer: Consumer, lane: Lane, intake: Intake, stop: asyncio.Event) -> None:
        self._consumer = consumer
        self._queue = lane.topic.queue
        self._sink = intake.sink(lane)
        self._intake = intake
        self._stop = stop
        self._suspect: Delivery | None = None
        self._suspects = 0

    async def run(self) -> None:
        """
        Return once the queue may be consumed, or the process is told to stop.

        Raises:
            BrokerUnavailable: The connection went away.
        """
        for most in chain(_STEPS, repeat(_STEPS[-1])):
            step = [] if self._stop.is_set() else await self._fetch(most)
            await self._take_in(step)
            await unless_stopped(self._stop, self._intake.settled())
            if not step or (most == _STEPS[-1] and not step[-1].redelivered):
                return

    async def _fetch(self, most: int) -> list[Delivery]:
        """Fetch up to so many deliveries, or a suspect alone."""
        step: list[Delivery] = []
        size = 0
        while len(step) < most and size < _STEP_BYTES:
            delivery, self._suspect = self._suspect or await self._consumer.fetch(), None
            if delivery is None:
                break
            if delivery.redelivered and delivery_count(delivery.header) >= _SUSPECT_AFTER:
                self._report(delivery)
                if not step:
                    return [delivery]
                self._suspect = delivery
                break
            step.append(delivery)
            size += _size(delivery)
        return step

    async def _take_in(self, step: list[Delivery]) -> None:
        """Hand a step over, so much in one turn of the loop that no one waits for long."""
        size = 0
        for delivery in step:
            self._sink(delivery)
            size += _size(delivery)
            if size > _TURN_BYTES:
                size = 0
                await asyncio.sleep(0)

    def _report(self, suspect: Delivery) -> None:
        """Write one line for each queue and session."""
        self._suspects += 1
        if self._suspects == 1:
            log.warning(
                "delivery_suspect",
                queue=self._queue,
                failed=delivery_count(suspect.header),
                error="deliveries have failed again and again; each is recorded alone",
            )


def _size(delivery: Delivery) -> int:
    return len(delivery.header) + len(delivery.body)
