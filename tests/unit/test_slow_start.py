"""The head of a queue: few deliveries at a time until they prove harmless."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from jarvis_recorder.errors import BrokerUnavailable
from jarvis_recorder.ingest import slow_start
from jarvis_recorder.ingest.intake import Intake
from jarvis_recorder.ingest.slow_start import SlowStart
from jarvis_recorder.ports import Consumer, Sink
from jarvis_recorder.telemetry.status import RecorderStatus
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import delivery
from tests.support.fakes import FakeConsumer, FakeFlow
from tests.support.publisher import event

EVENTS = TOPICS[0]


class Queue(FakeConsumer):
    """A consumer of a window's width, of a queue that all such consumers share."""

    def __init__(self, queue: list[Delivery], window: int) -> None:
        super().__init__()
        self.queue = queue
        self.window = window

    async def start(self, sink: Sink) -> None:
        for one in self.queue[: self.window]:
            sink([one])
        del self.queue[: self.window]


class Start:
    """A slow start; what arrives is recorded at once, and each step is kept."""

    def __init__(self, *queue: Delivery) -> None:
        self.queue = list(queue)
        self.intake = Intake(FakeFlow(), lambda: 0, asyncio.Lock(), RecorderStatus())
        self.stop = asyncio.Event()
        self.steps: list[list[int]] = []
        self.slowly = SlowStart(EVENTS, self._open, self.intake, self.stop)

    async def _open(self, _: str, window: int) -> Consumer:
        return Queue(self.queue, window)

    async def run(self) -> list[list[int]]:
        """Return the tags of each step."""
        recording = asyncio.create_task(self._record())
        async with asyncio.timeout(60):
            await self.slowly.run()
        recording.cancel()
        return self.steps

    async def _record(self) -> None:
        while batch := await self.intake.take():
            self.steps.append([origin.delivery.tag for origin in batch.origins])
            self.intake.release()


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
    assert len(start.queue) == 1_000 - 273


async def test_a_queue_that_ends_is_consumed_at_once():
    assert await Start(*map(fresh, tags(1, 5))).run() == [[1], tags(2, 5)]
    assert await Start().run() == []


async def test_what_has_failed_before_only_comes_in_steps():
    start = Start(*(failed(tag, 1) for tag in tags(1, 600)), *map(fresh, tags(601, 900)))

    steps = await start.run()

    assert steps == [[1], tags(2, 17), tags(18, 273), tags(274, 529), tags(530, 785)]


async def test_what_has_failed_twice_comes_alone():
    start = Start(failed(1, 2), failed(2, 2), failed(3, 49), *map(fresh, tags(4, 40)))

    with capture_logs() as logs:
        assert await start.run() == [[1], [2], [3], [4], tags(5, 20), tags(21, 40)]

    assert [line["failed"] for line in logs if line["event"] == "delivery_suspect"] == [2]


async def test_after_many_suspects_that_did_no_harm_a_few_come_together():
    """Thousands are returned twice by two kills, or look so by a header that a publisher has made up."""
    start = Start(*(failed(tag, 2) for tag in tags(1, 600)))

    steps = await start.run()

    assert [len(step) for step in steps] == [*[1] * 100, *[16] * 31, 4]


async def test_after_a_suspect_among_others_the_next_come_alone():
    start = Start(*map(fresh, tags(1, 5)), failed(6, 2), *map(fresh, tags(7, 30)))

    assert await start.run() == [[1], tags(2, 17), [18], tags(19, 30)]


@pytest.mark.parametrize("times", [1, 2])
async def test_no_table_of_headers_is_read_through_for_the_count_of_failures(monkeypatch, times):
    """One of thousands took a fourteenth of a second for each delivery."""
    monkeypatch.setattr(properties, "_entries", lambda _: pytest.fail("it is read through"))
    step = slow_start._Step(16, lambda _: None)

    step.take([failed(1, times)])

    assert (step.suspect is not None) == (times == 2)


async def test_a_step_that_is_cut_off_is_not_recorded():
    """One without an identity would be recorded again each time."""
    start = Start(fresh(1), fresh(2))

    async def lost():
        raise BrokerUnavailable("connection lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Queue, "ready", lambda self: lost() if self.window > 1 else FakeConsumer.ready(self)
        )
        with pytest.raises(BrokerUnavailable):
            await start.run()

    assert start.steps == [[1]]


async def test_large_deliveries_are_not_kept(monkeypatch):
    """The intake bounds what is held, by pausing the flow."""
    monkeypatch.setattr(slow_start, "_KEPT_BYTES", 20_000)
    large = [fresh(tag, "x" * 9_000) for tag in tags(1, 4)]
    taken: list[Delivery] = []
    step = slow_start._Step(16, taken.extend)

    for one in large[:2]:
        step.take([one])
    assert taken == []
    for one in large[2:]:
        step.take([one])

    assert taken == large


async def test_no_step_begins_before_the_one_before_is_settled():
    start = Start(*map(fresh, tags(1, 3)))
    starting = asyncio.create_task(start.slowly.run())

    assert await start.intake.take()
    await asyncio.sleep(0.02)
    assert [one.tag for one in start.queue] == [2, 3]

    start.intake.release()
    assert (batch := await start.intake.take()) is not None
    assert [origin.delivery.tag for origin in batch.origins] == [2, 3]
    starting.cancel()


async def test_a_channel_is_closed_in_its_own_time(monkeypatch):
    """A call that is cut off would end the channel, and with it the session."""
    monkeypatch.setattr(slow_start, "_PATIENCE_SECONDS", 0.01)
    closed: list[int] = []

    async def close_slowly(consumer: Queue) -> None:
        await asyncio.sleep(0.1)
        closed.append(consumer.window)

    monkeypatch.setattr(Queue, "close", close_slowly)
    await Start(*map(fresh, tags(1, 3))).run()

    assert closed == [1, 16, 256]


@pytest.mark.parametrize("recorded", [False, True])
async def test_it_ends_where_the_process_is_asked_to_stop(recorded, monkeypatch):
    """Also where the storage is away, so that no step is ever settled."""
    monkeypatch.setattr(slow_start, "_PATIENCE_SECONDS", 0.01)
    start = Start(*map(fresh, tags(1, 900)))
    starting = asyncio.create_task(start.slowly.run())
    if recorded:
        await start.intake.take()
    start.stop.set()

    async with asyncio.timeout(60):
        await starting

    assert len(start.queue) >= 899
