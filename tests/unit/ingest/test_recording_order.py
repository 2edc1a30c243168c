"""From deliveries to committed records: what happens in which order."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from jarvis_recorder.errors import (
    BrokerUnavailable,
    MessageTooLarge,
)
from jarvis_recorder.ingest import intake as intake_module
from jarvis_recorder.ingest import recorder as recorder_module
from jarvis_recorder.ingest.recorder import OutageTooLong
from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.wire.records import identity_of
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import delivery
from tests.support.fakes import FakeConsumer
from tests.support.pipeline import (
    unmarshalled,
)
from tests.support.publisher import event


async def test_records_are_committed_before_they_are_acknowledged(pipeline):
    """A crash between the two may repeat a record, never lose one."""
    pipeline.receive("a", "b")

    assert await pipeline.run() == ["commit a,b", "ack to 2"]


async def test_what_comes_together_is_told_apart(pipeline):
    """Only what is in doubt or refused is cut out of the bytes that came."""
    pipeline.repository.unwanted = {"bad"}
    bodies = [
        event(id="a"), "junk", event(id="b"), event(id="bad", summary="bad"), event(id="c", weight=1),
        [event(id="d"), event(id="bad", summary="bad")], event(id="e"),
    ]  # fmt: skip
    messages = [delivery(json.dumps(body).encode(), tag) for tag, body in enumerate(bodies, 1)]
    for one in messages:
        pipeline.consumer.hand_over(one.tag)

    pipeline.hand_over(*messages)

    assert pipeline.intake._held_bytes > 2 * sum(len(one.body) for one in messages)
    effects = await pipeline.run()
    assert effects[0] == "commit a,b,bad,c,d,bad,e"
    letters = [effect.removeprefix("dead-letter ") for effect in effects if "dead-letter" in effect]
    bad = json.dumps(bodies[3])
    assert sorted(letters) == sorted(['"junk"', bad, bad])
    assert pipeline.consumer.outstanding == set()
    assert pipeline.status.decoded == {"plain": 6, "full": 1}
    assert pipeline.status.dead_letters == {"invalid": 1, "refused_by_storage": 2}


async def test_every_record_leads_to_its_delivery(pipeline):
    """By it a trace goes on, and a record that is refused becomes a dead letter."""
    array = json.dumps([event(id="b"), event(id="c")]).encode()
    single = json.dumps(event(id="a")).encode()
    messages = [delivery(single, 1), delivery(array, 2), delivery(single, 3)]
    pipeline.hand_over(*messages)
    pipeline.intake.close()

    batch = await pipeline.intake.take()

    one, many, other = messages
    assert [*batch.deliveries()] == [one, many, many, other]
    assert [batch.place(at)[1] for at in range(4)] == [None, 0, 1, None]


async def test_what_came_past_the_rights_of_its_publisher_is_not_recorded(pipeline):
    """With a header CC RabbitMQ routes by keys that the publisher may not use."""
    good = json.dumps(event(id="a")).encode()
    for key in (b"chat.turn.user", b"cluster.eventful", b"cluster.event", b"cluster.event.x.y"):
        pipeline.deliver(good, routing_key=key)

    await pipeline.run()

    assert [record.message_id for record in pipeline.repository.stored] == ["a"]
    assert pipeline.status.dead_letters == {"invalid": 2}
    ((_, _, letter, _), _) = pipeline.publisher.published
    assert "CC" in str(unmarshalled(letter).headers["x-recorder-error"])


async def test_what_an_administrator_has_bound_from_elsewhere_is_recorded(pipeline):
    pipeline.deliver(json.dumps(event(id="a")).encode(), exchange=b"legacy", routing_key=b"old")

    assert await pipeline.run() == ["commit a", "ack to 1"]


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
    assert pipeline.index.noted == []


async def test_a_reject_on_a_lost_channel_is_no_matter(pipeline):
    pipeline.consumer.gone = True
    pipeline.receive("junk", header=b"broken")

    assert await pipeline.run() == []


async def test_a_collision_is_dead_lettered_and_its_neighbours_are_not(pipeline):
    other = json.dumps(event(id="a", summary="other"))
    pipeline.receive("a")
    pipeline.deliver(other.encode())
    pipeline.receive("b")

    effects = await pipeline.run()

    assert effects == ["commit a,a,b", "ack to 1", "ack 3", f"dead-letter {other}", "ack 2"]
    assert pipeline.status.stored == 2


async def test_a_batch_message_with_two_bad_elements_is_settled_once(pipeline):
    good = json.dumps(event(id="good"))
    pipeline.deliver(f"[{good}, 1, 2]".encode())

    effects = await pipeline.run()

    assert effects == ["commit good", "dead-letter 1", "dead-letter 2", "ack 1"]


async def test_each_settlement_is_settled_by_its_own_tags(pipeline):
    effects: list[str] = []
    other = FakeConsumer(effects)
    sink = pipeline.intake.sink(Settlement(TOPICS[1], other))
    pipeline.receive("a", "b")
    for tag, body in ((1, b'{"snapshot": {}}'), (2, b"junk"), (3, b'{"snapshot": {}}')):
        other.hand_over(tag)
        sink([delivery(body, tag)._replace(routing_key=b"cluster.snapshot")])

    await pipeline.run()

    assert pipeline.effects[:2] == ["commit a,b,None,None", "ack to 2"]
    assert effects == ["ack to 1", "ack 3", "ack 2"]
    assert pipeline.publisher.published[0][1] == "jarvis.recorder.snapshots"


async def test_after_a_long_outage_the_broker_has_its_messages_back(pipeline, monkeypatch):
    monkeypatch.setattr(recorder_module, "HOLD_SECONDS", 0)
    pipeline.repository.failures = 10**6
    pipeline.receive("a")

    with pytest.raises(OutageTooLong):
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
    await pipeline.recorder.run()

    assert pipeline.effects == []


async def test_taking_waits_for_something_to_arrive(pipeline):
    taking = asyncio.create_task(pipeline.intake.take())
    await asyncio.sleep(0)
    assert not taking.done()

    pipeline.receive("a")

    batch = await taking
    assert [*map(identity_of, batch.records)] == ["a"]
