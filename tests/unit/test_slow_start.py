"""The head of a queue: few deliveries at a time until they prove harmless."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from jarvis_recorder.ingest import slow_start
from jarvis_recorder.ingest.intake import Intake
from jarvis_recorder.ingest.lane import Lane
from jarvis_recorder.ingest.slow_start import SlowStart
from jarvis_recorder.wire.delivery import Delivery
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import delivery
from tests.support.fakes import FakeConsumer, FakeFlow
from tests.support.publisher import event

EVENTS = TOPICS[0]


class Start:
    """A slow start; what arrives is recorded at once, and each step is kept."""

    def __init__(self, *queue: Delivery) -> None:
        self.consumer = FakeConsumer()
        self.consumer.queue += queue
        self.intake = Intake(FakeFlow(), lambda: 0)
        self.stop = asyncio.Event()
        self.steps: list[list[int]] = []

    async def run(self) -> list[list[int]]:
        """Return the tags of each step."""
        recording = asyncio.create_task(self._record())
        lane = Lane(EVENTS, self.consumer)
        async with asyncio.timeout(10):
            await SlowStart(self.consumer, lane, self.intake, self.stop).run()
        recording.cancel()
        return self.steps

    async def _record(self) -> None:
        while batch := await self.intake.take():
            self.steps.append([origin.delivery.tag for origin in batch.origins])


def fresh(tag: int, details: str = "") -> Delivery:
    body = json.dumps(event(id=str(tag), details=details)).encode()
    return delivery(body, tag)


def failed(tag: int, times: int) -> Delivery:
    """Return a delivery as a quorum queue hands it over again."""
    header = delivery(b"", headers={"x-delivery-count": times}).header
    return fresh(tag)._replace(redelivered=True, header=header)


def tags(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


async def test_steps_grow_and_the_rest_is_left_to_be_consumed():
    start = Start(*map(fresh, tags(1, 1_000)))

    assert await start.run() == [[1], tags(2, 17), tags(18, 273)]
    assert len(start.consumer.queue) == 1_000 - 273


async def test_a_queue_that_ends_is_consumed_at_once():
    assert await Start(*map(fresh, tags(1, 5))).run() == [[1], tags(2, 5)]
    assert await Start().run() == []


async def test_what_has_failed_before_is_only_fetched_in_steps():
    start = Start(*(failed(tag, 1) for tag in tags(1, 600)), *map(fresh, tags(601, 900)))

    steps = await start.run()

    assert steps == [[1], tags(2, 17), tags(18, 273), tags(274, 529), tags(530, 785)]


async def test_what_has_failed_twice_is_fetched_alone():
    start = Start(failed(1, 0), failed(2, 1), failed(3, 2), failed(4, 49), failed(5, 1))

    with capture_logs() as logs:
        assert await start.run() == [[1], [2], [3], [4], [5]]

    assert [line["failed"] for line in logs if line["event"] == "delivery_suspect"] == [2]


async def test_a_step_is_as_large_as_a_few_large_messages(monkeypatch):
    monkeypatch.setattr(slow_start, "_STEP_BYTES", 20_000)
    start = Start(fresh(1), *(fresh(tag, "x" * 9_000) for tag in tags(2, 7)))

    assert await start.run() == [[1], [2, 3, 4], [5, 6, 7]]


async def test_no_step_is_fetched_before_the_one_before_is_settled():
    start = Start(*map(fresh, tags(1, 3)))
    starting = asyncio.create_task(
        SlowStart(start.consumer, Lane(EVENTS, start.consumer), start.intake, start.stop).run()
    )

    assert await start.intake.take()
    for _ in range(10):
        await asyncio.sleep(0)
    assert [one.tag for one in start.consumer.queue] == [2, 3]

    taking = asyncio.create_task(start.intake.take())
    assert (batch := await taking) is not None
    assert [origin.delivery.tag for origin in batch.origins] == [2, 3]
    starting.cancel()


@pytest.mark.parametrize("recorded", [False, True])
async def test_it_ends_where_the_process_is_told_to_stop(recorded):
    """Also where the storage is away, so that no step is ever settled."""
    start = Start(*map(fresh, tags(1, 900)))
    starting = asyncio.create_task(
        SlowStart(start.consumer, Lane(EVENTS, start.consumer), start.intake, start.stop).run()
    )
    if recorded:
        await start.intake.take()
    start.stop.set()

    async with asyncio.timeout(10):
        await starting

    assert len(start.consumer.queue) >= 899
