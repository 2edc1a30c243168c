"""Every tag is settled exactly once, in any order of steps."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.wire.topics import TOPICS
from tests.support.fakes import FakeConsumer

STEPS = ["good", "hold", "settle", "release", "reject", "ahead"]


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=40))
def test_every_tag_is_settled_exactly_once(steps):
    """The fake channel raises as RabbitMQ would for a tag that is settled already."""

    async def play() -> None:
        consumer = FakeConsumer()
        settlement = Settlement(TOPICS[0], consumer)
        arrived = taken = settled = 0
        held: list[int] = []
        for step, which in steps:
            if step == "ahead" or (step in ("good", "hold") and taken == arrived):
                arrived += 1
                consumer.hand_over(arrived)
            if step in ("good", "hold"):
                taken += 1
                if step == "hold":
                    settlement.hold(taken)
                    held.append(taken)
            elif step == "settle" and taken > settled:
                settled = taken
                await settlement.settle(taken)
            elif step in ("release", "reject") and held:
                settle = settlement.release if step == "release" else settlement.reject
                await settle(held.pop(which % len(held)))
        for left in held:
            await settlement.release(left)
        if arrived > settled:
            await settlement.settle(arrived)
        assert sorted(consumer.settled) == list(range(1, arrived + 1))
        assert not consumer.outstanding

    asyncio.run(play())


class WaitingConsumer(FakeConsumer):
    """A channel on which the settling of delivery 1 waits for room to write, as aiormq has it wait."""

    def __init__(self) -> None:
        super().__init__()
        self.has_room = asyncio.Event()

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        if tag == 1:
            await self.has_room.wait()
        await super().ack(tag, multiple=multiple)

    async def reject(self, tag: int) -> None:
        await self.has_room.wait()
        await super().reject(tag)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("step", ["release", "reject"])
async def test_an_ack_of_others_does_not_overtake_what_waits_to_be_sent(step, ahead):
    """It would cover a delivery that is to be rejected: its dead letter would be lost."""
    consumer = WaitingConsumer()
    settlement = Settlement(TOPICS[0], consumer)
    for tag in (1, 2, 3):
        consumer.hand_over(tag)
    settlement.hold(1)
    if not ahead:
        await settlement.settle(1)
    settle = settlement.release if step == "release" else settlement.reject
    settling = asyncio.create_task(settle(1))
    await asyncio.sleep(0)

    if ahead and step == "release":
        consumer.has_room.set()
    await settlement.settle(2)
    await settlement.settle(3)
    consumer.has_room.set()
    await settling

    assert sorted(consumer.settled) == [1, 2, 3]
    assert ("reject 1" in consumer.effects) is (step == "reject")


async def test_a_rejected_delivery_is_remembered_until_its_own_batch_is_settled():

    consumer = FakeConsumer()
    settlement = Settlement(TOPICS[0], consumer)
    consumer.hand_over(1)
    consumer.hand_over(2)
    settlement.hold(2)
    await settlement.reject(2)

    await settlement.settle(1)
    await settlement.settle(2)

    assert consumer.settled == [2, 1]
