"""From deliveries to committed records: what happens in which order."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from jarvis_recorder.errors import (
    BrokerUnavailable,
    MessageTooLarge,
    NotConfirmed,
    StorageUnavailable,
)
from jarvis_recorder.ingest import intake as intake_module
from jarvis_recorder.ingest import recorder as recorder_module
from jarvis_recorder.ingest.dead_letters import DeadLetters
from jarvis_recorder.ingest.intake import Intake
from jarvis_recorder.ingest.lane import Lane
from jarvis_recorder.ingest.progress import Progress, State
from jarvis_recorder.ingest.recorder import Recorder
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import delivery
from tests.support.fakes import FakeConsumer, FakeFlow, FakePublisher, FakeRepository
from tests.support.publisher import event


class Pipeline:
    """Everything between a channel and a database, with both ends in hand."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.consumer = FakeConsumer(self.effects)
        self.publisher = FakePublisher(self.effects)
        self.repository = FakeRepository(self.effects)
        self.flow = FakeFlow()
        self.progress = Progress()
        self.intake = Intake(self.flow, lambda: 0)
        self.lane = Lane(TOPICS[0], self.consumer)
        self.dead_letters = DeadLetters(self.publisher, self.progress, lambda: 0)
        self.recorder = Recorder(
            intake=self.intake,
            repository=self.repository,
            dead_letters=self.dead_letters,
            progress=self.progress,
            clock=lambda: 0,
        )
        self._sink = self.intake.sink(self.lane)
        self._tag = 0

    def receive(self, *messages: str, header: bytes | None = None) -> None:
        """Deliver events with these names; a name that begins with `junk` is the whole body."""
        for name in messages:
            self._tag += 1
            self.consumer.hand_over(self._tag)
            body = name if name.startswith("junk") else json.dumps(event(id=name))
            message = delivery(body.encode(), self._tag)
            self._sink(message if header is None else message._replace(header=header))

    async def run(self) -> list[str]:
        """Record all that was received; return what happened."""
        self.intake.close()
        await self.recorder.run()
        await self.dead_letters.drain(5)
        return self.effects


@pytest.fixture
async def pipeline():
    return Pipeline()


async def test_records_are_committed_before_they_are_acknowledged(pipeline):
    """A crash between the two may repeat a record, never lose one."""
    pipeline.receive("a", "b")

    assert await pipeline.run() == ["commit a,b", "ack to 2"]


async def test_junk_is_acknowledged_only_as_a_confirmed_dead_letter(pipeline):
    pipeline.receive("a", "junk", "b")

    assert await pipeline.run() == ["commit a,b", "ack to 1", "ack 3", "dead-letter junk", "ack 2"]
    assert pipeline.progress.dead_letters == {"not_json": 1}


async def test_junk_alone_troubles_no_database(pipeline):
    pipeline.receive("junk")

    assert await pipeline.run() == ["dead-letter junk", "ack 1"]


async def test_what_waits_for_its_dead_letter_holds_up_nobody(pipeline):
    """In a memory alarm the broker confirms nothing, and recording goes on all the same."""
    pipeline.publisher.confirming.clear()
    pipeline.receive("junk", "a")
    working = asyncio.create_task(pipeline.recorder.run())
    while "ack 2" not in pipeline.effects:
        await asyncio.sleep(0)
    pipeline.receive("b", "c")
    while "ack 4" not in pipeline.effects:
        await asyncio.sleep(0)
    assert pipeline.effects == ["commit a", "ack 2", "commit b,c", "ack 3", "ack 4"]
    assert pipeline.consumer.outstanding == {1}

    pipeline.publisher.confirming.set()
    pipeline.receive("d")
    pipeline.intake.close()
    await working
    await pipeline.dead_letters.drain(5)

    assert not pipeline.consumer.outstanding
    assert pipeline.effects.index("dead-letter junk") < pipeline.effects.index("ack 1")


async def test_what_is_not_confirmed_stays_with_the_broker(pipeline):
    pipeline.publisher.confirming.clear()
    pipeline.receive("junk", "a")
    pipeline.intake.close()
    await pipeline.recorder.run()

    await pipeline.dead_letters.drain(0)

    assert pipeline.consumer.outstanding == {1}
    assert pipeline.progress.dead_letters.total() == 0


async def test_a_dead_letter_that_is_refused_is_tried_again(pipeline, monkeypatch):
    monkeypatch.setattr("jarvis_recorder.ingest.dead_letters._FIRST_DELAY_SECONDS", 0)
    pipeline.publisher.failures = [NotConfirmed("full"), NotConfirmed("full")]
    pipeline.receive("junk")

    with capture_logs() as logs:
        assert await pipeline.run() == ["dead-letter junk", "ack 1"]
    assert [line["event"] for line in logs].count("dead_letter_refused") == 2


async def test_a_lost_connection_ends_the_attempt(pipeline):
    pipeline.publisher.failures = [BrokerUnavailable("gone")]
    pipeline.receive("junk")

    assert await pipeline.run() == []
    assert pipeline.consumer.outstanding == {1}


@pytest.mark.parametrize("where", ["properties", "publisher"])
async def test_what_takes_no_reason_is_dead_lettered_by_the_broker(pipeline, where):
    if where == "publisher":
        pipeline.publisher.failures = [MessageTooLarge("headers")]
        pipeline.receive("junk", "a", "b")
    else:
        pipeline.receive("junk", header=b"broken")
        pipeline.receive("a", "b")

    assert sorted(await pipeline.run()) == sorted(["commit a,b", "ack 2", "ack 3", "reject 1"])


async def test_a_reject_on_a_lost_channel_is_no_matter(pipeline):
    pipeline.consumer.gone = True
    pipeline.receive("junk", header=b"broken")

    assert await pipeline.run() == []


async def test_a_collision_is_dead_lettered_and_its_neighbours_are_not(pipeline):
    pipeline.receive("a")
    pipeline.consumer.hand_over(2)
    other = json.dumps(event(id="a", summary="other"))
    pipeline.intake.sink(pipeline.lane)(delivery(other.encode(), 2))
    pipeline._tag = 2
    pipeline.receive("b")

    effects = await pipeline.run()

    assert effects == ["commit a,a,b", "ack to 1", "ack 3", f"dead-letter {other}", "ack 2"]
    assert pipeline.progress.stored == 2


async def test_a_batch_message_with_two_bad_elements_is_settled_once(pipeline):
    good = json.dumps(event(id="good"))
    pipeline.consumer.hand_over(1)
    pipeline.intake.sink(pipeline.lane)(delivery(f"[{good}, 1, 2]".encode(), 1))

    effects = await pipeline.run()

    assert effects == ["commit good", "dead-letter 1", "dead-letter 2", "ack 1"]


async def test_an_unavailable_database_only_delays(pipeline, monkeypatch):
    monkeypatch.setattr(recorder_module, "_FIRST_RETRY_SECONDS", 0)
    pipeline.repository.failures = 3
    pipeline.receive("a", "b")

    with capture_logs() as logs:
        effects = await pipeline.run()

    assert effects == ["commit a,b", "ack to 2"]
    assert [line["event"] for line in logs].count("storage_unavailable") == 3
    assert [line["event"] for line in logs].count("storage_available") == 1
    assert pipeline.progress.state is State.RECORDING


async def test_after_a_long_outage_the_broker_has_its_messages_back(pipeline, monkeypatch):
    monkeypatch.setattr(recorder_module, "HOLD_SECONDS", 0)
    pipeline.repository.failures = 10**6
    pipeline.receive("a")

    with pytest.raises(StorageUnavailable):
        await pipeline.run()
    assert pipeline.effects == []
    assert pipeline.consumer.outstanding == {1}


async def test_a_lost_ack_is_survived(pipeline):
    pipeline.receive("a")
    pipeline.consumer.gone = True

    with capture_logs() as logs:
        assert await pipeline.run() == ["commit a"]
    assert "ack_lost" in [line["event"] for line in logs]


async def test_batches_are_closed_so_that_acks_flow_back(pipeline, monkeypatch):
    monkeypatch.setattr(intake_module, "MAX_BATCH_RECORDS", 2)
    pipeline.receive("a", "b", "c")

    assert await pipeline.run() == ["commit a,b", "ack to 2", "commit c", "ack to 3"]


@pytest.mark.parametrize(("limit", "value"), [("MAX_HELD_RECORDS", 2), ("MAX_HELD_BYTES", 300)])
async def test_the_flow_is_paused_while_too_much_is_held(pipeline, monkeypatch, limit, value):
    monkeypatch.setattr(intake_module, limit, value)
    monkeypatch.setattr(intake_module, "MAX_BATCH_RECORDS", 1)

    pipeline.receive("a", "b", "c")
    assert pipeline.flow.effects == ["pause"]
    assert pipeline.intake.is_full
    await pipeline.run()

    assert pipeline.flow.effects == ["pause", "resume"]


async def test_what_is_abandoned_is_not_recorded(pipeline):
    pipeline.receive("a")

    pipeline.intake.abandon()

    assert await pipeline.run() == []


async def test_taking_waits_for_something_to_arrive(pipeline):
    taking = asyncio.create_task(pipeline.intake.take())
    await asyncio.sleep(0)
    assert not taking.done()

    pipeline.receive("a")

    batch = await taking
    assert [record.message_id for record in batch.records] == ["a"]


@given(st.lists(st.sampled_from(["good", "hold", "settle", "release", "reject"]), max_size=40))
def test_every_tag_is_settled_exactly_once(steps):
    """The fake channel raises as RabbitMQ would for a tag that is settled already."""

    async def play() -> None:
        consumer = FakeConsumer()
        lane = Lane(TOPICS[0], consumer)
        tag, held = 0, []
        for step in steps:
            if step in ("good", "hold"):
                tag += 1
                consumer.hand_over(tag)
                if step == "hold":
                    lane.hold(tag)
                    held.append(tag)
            elif step == "settle":
                await lane.settle(tag)
            elif held:
                await (lane.release if step == "release" else lane.reject)(held.pop(0))
        for left in held:
            await lane.release(left)
        await lane.settle(tag)
        assert sorted(consumer.settled) == list(range(1, tag + 1))
        assert not consumer.outstanding

    asyncio.run(play())
