"""Every message that the broker confirmed is stored exactly once, after any kill."""

import asyncio
import os
import random
from collections import Counter

import pytest

from jarvis_recorder.demo.node import PrivateNode, private_node
from tests.support.engines import on_both
from tests.support.publisher import Oracle
from tests.support.recorder import RecorderProcess, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]


KILLS = int(os.environ.get("JARVIS_TEST_KILLS", "12"))
"""The kills of a recorder in a run of the suite."""


async def until(condition, what: str, seconds: float = 60.0) -> None:
    """Wait without stopping the oracle, which shares this loop."""
    await asyncio.to_thread(wait_until, condition, what, seconds)


def has_all(oracle: Oracle, recorder: RecorderProcess) -> bool:
    rows = recorder.rows("SELECT message_id FROM events")
    return oracle.confirmed <= {identity for (identity,) in rows}


async def until_served(node: PrivateNode, oracle: Oracle, recorder: RecorderProcess) -> None:
    """Wait until all is recorded; start the node again where it serves no queue after a kill."""
    for _ in range(3):
        before = recorder.unserved()
        try:
            await until(
                lambda at=before: has_all(oracle, recorder) or recorder.unserved() > at,
                "every confirmed message is recorded",
                120,
            )
        except AssertionError:
            raise AssertionError(recorder.last_words()) from None
        if has_all(oracle, recorder):
            return
        node.kill()
        await asyncio.to_thread(node.start)


async def assert_exactly_once(oracle: Oracle, recorder: RecorderProcess) -> None:
    await until(lambda: has_all(oracle, recorder), "every confirmed message is recorded")
    counts = Counter(identity for (identity,) in recorder.rows("SELECT message_id FROM events"))
    assert set(counts.values()) == {1}
    assert set(counts) <= oracle.attempted
    recorder.database.require_sound()


@on_both
async def test_the_recorder_is_killed_again_and_again_under_load(amqp_url, start_recorder):
    chance = random.Random(20261123)
    first = start_recorder(amqp_url)
    await asyncio.to_thread(first.wait_for, "recording")
    oracle = Oracle(amqp_url)
    publishing = asyncio.create_task(oracle.run())
    first.kill()
    for _ in range(KILLS):
        recorder = start_recorder(amqp_url)
        await asyncio.to_thread(recorder.wait_for, "recording")
        await asyncio.sleep(chance.uniform(0.0, 0.6))
        recorder.kill()
    oracle.stop()
    await publishing

    recorder = start_recorder(amqp_url)
    await asyncio.to_thread(recorder.wait_for, "recording")
    await assert_exactly_once(oracle, recorder)

    assert len(oracle.confirmed) > 100 * KILLS
    assert recorder.stop() == 0


async def test_the_broker_is_killed_five_times_under_load(start_recorder):
    chance = random.Random(20261123)
    with private_node() as node:
        recorder = start_recorder(node.url)
        await asyncio.to_thread(recorder.wait_for, "recording")
        oracle = Oracle(node.url)
        publishing = asyncio.create_task(oracle.run())
        for _ in range(5):
            before = len(oracle.confirmed)
            await until(
                lambda at=before: len(oracle.confirmed) > at + 100, "messages are confirmed"
            )
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            node.kill()
            await asyncio.to_thread(node.start)
        oracle.stop()
        await publishing

        await until_served(node, oracle, recorder)
        await assert_exactly_once(oracle, recorder)
        await asyncio.to_thread(recorder.wait_for, "recording")
        assert recorder.stop() == 0
