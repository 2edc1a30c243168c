"""The stop of the recorder."""

import asyncio
import json
import signal
import time

import aio_pika
import pytest

from tests.support.engines import on_both
from tests.support.publisher import EVENT_KEY, Oracle, event, publish
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker


@on_both
async def test_sigterm_under_load_leaves_nothing_redelivered(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    await asyncio.to_thread(recorder.wait_for, "recording")
    oracle = Oracle(amqp_url)
    publishing = asyncio.create_task(oracle.run(window=500))
    await asyncio.to_thread(wait_until, lambda: recorder.count() > 1_000, "it is under load")

    code = await asyncio.to_thread(recorder.stop)
    oracle.stop()
    await publishing

    assert code == 0
    redelivered, left = await drain(amqp_url)
    assert redelivered == 0
    recorded = {identity for (identity,) in recorder.rows("SELECT message_id FROM events")}
    assert oracle.confirmed <= recorded | left
    assert not recorded & left, "what is recorded was acked"


async def drain(url: str) -> tuple[int, set[str]]:
    """Return how many messages came with the redelivered flag, and the ids of all."""
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(1_000)
        queue = await channel.get_queue("jarvis.recorder.events", ensure=False)
        redelivered = 0
        left = set()
        count = (await channel.declare_queue(queue.name, passive=True)).declaration_result
        async with queue.iterator() as iterator:
            for _ in range(count.message_count or 0):
                message = await asyncio.wait_for(anext(iterator), 10)
                redelivered += bool(message.redelivered)
                left.add(message.message_id)
                await message.ack()
        return redelivered, left


@on_both
async def test_a_second_signal_ends_it_at_once(amqp_url, start_recorder, recorded):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    with recorded.away():
        await publish(amqp_url, (EVENT_KEY, event(1), {"message_id": "stuck"}))
        recorder.wait_for("storage_unavailable")

        recorder.process.send_signal(signal.SIGTERM)
        recorder.wait_for("stopping")
        began = time.monotonic()
        recorder.process.send_signal(signal.SIGTERM)

        assert recorder.process.wait(5) == 1
        assert time.monotonic() - began < 1.0


async def test_a_second_recorder_is_told_who_holds_the_database(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")

    second = start_recorder(amqp_url)

    assert second.process.wait(10) == 75
    assert f"process {recorder.process.pid} since" in "\n".join(map(str, second.lines()))
    assert recorder.stop() == 0


@on_both
async def test_an_idle_recorder_stops_at_once(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")

    began = time.monotonic()

    assert recorder.stop() == 0
    assert time.monotonic() - began < 2.0
    assert json.dumps(recorder.logged("stopped")[0])
