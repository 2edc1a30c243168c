"""Faults of the broker, and the recorder."""

import asyncio
import time

import aio_pika
import pytest

from jarvis_recorder.demo.node import PrivateNode, private_node
from tests.support.proxy import SwallowingProxy
from tests.support.publisher import EVENT_KEY, Oracle, event, publish
from tests.support.recorder import RecorderProcess, wait_until

pytestmark = pytest.mark.broker

BEFORE = (
    (EVENT_KEY, event(0), {"message_id": "before"}),
    ("cluster.snapshot", {"snapshot": {"nodes": []}}, {"message_id": "before"}),
    ("chat.turn.user", {"session_id": "s", "role": "user", "content": "x"}, {}),
)
TABLES = ("events", "cluster_snapshots", "conversations")


@pytest.fixture(scope="module")
def node():
    with private_node() as node:
        yield node


@pytest.mark.slow
async def test_a_half_open_connection_is_noticed(node: PrivateNode, start_recorder):
    proxy = SwallowingProxy(node.port)
    async with proxy as port:
        recorder = start_recorder(f"amqp://guest:guest@127.0.0.1:{port}/")
        await asyncio.to_thread(recorder.wait_for, "recording")
        proxy.swallowing = True
        began = time.monotonic()
        await asyncio.to_thread(recorder.wait_for, "broker_unavailable", 40.0)
        assert time.monotonic() - began < 35.0
        recorder.kill()


async def test_a_busy_connection_is_not_taken_for_a_dead_one(node: PrivateNode, start_recorder):
    recorder = start_recorder(node.url, "broker.heartbeat=2")
    await asyncio.to_thread(recorder.wait_for, "recording")
    oracle = Oracle(node.url)
    publishing = asyncio.create_task(oracle.run())

    began = time.monotonic()
    await asyncio.to_thread(
        wait_until, lambda: time.monotonic() - began > 13.0, "four heartbeats and more", 20.0
    )
    oracle.stop()
    await publishing
    await asyncio.to_thread(
        wait_until, lambda: recorder.count() >= len(oracle.confirmed), "all is recorded"
    )

    assert not recorder.logged("broker_unavailable")
    assert len(recorder.logged("recording")) == 1
    assert recorder.stop() == 0


async def test_recording_continues_in_a_memory_alarm(node: PrivateNode, start_recorder):
    recorder = start_recorder(node.url, "ingest.prefetch=10")
    recorder.wait_for("recording")
    recorder.stop()
    before = recorder.count()
    junk = (EVENT_KEY, b"junk", {"message_id": "junk"})
    good = [(EVENT_KEY, event(number), {"message_id": f"alarm-{number}"}) for number in range(100)]
    await publish(node.url, junk, *good)
    node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        recorder = start_recorder(node.url, "ingest.prefetch=10")
        wait_until(lambda: recorder.count() == before + 100, "all good ones are recorded")
        assert not recorder.logged("dead_lettered"), "the broker confirms nothing now"
        wait_until(lambda: "broker" in recorder.readiness()["failed"], "the alarm is shown")
        (check,) = (one for one in recorder.readiness()["checks"] if one["name"] == "broker")
        assert check["detail"].endswith("accepts nothing: low on memory")
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.6")
    recorder.wait_for("dead_lettered")
    wait_until(
        lambda: "broker" not in recorder.readiness()["failed"], "the end of the alarm is shown"
    )
    assert recorder.stop() == 0


async def test_a_deleted_queue_is_declared_again(node: PrivateNode, start_recorder):
    recorder = start_recorder(node.url)
    recorder.wait_for("recording")
    before = recorder.count()

    connection = await aio_pika.connect(node.url, timeout=60)
    async with connection:
        channel = await connection.channel()
        await channel.queue_delete("jarvis.recorder.events")
    wait_until(lambda: len(recorder.logged("recording")) >= 2, "it is attached again")
    await publish(node.url, (EVENT_KEY, event(1), {"message_id": "again"}))

    wait_until(lambda: recorder.count() == before + 1, "it records")
    assert recorder.stop() == 0


async def test_a_queue_with_other_arguments_is_a_clear_refusal(node: PrivateNode, start_recorder):
    connection = await aio_pika.connect(node.url, timeout=60)
    async with connection:
        channel = await connection.channel()
        await channel.queue_delete("jarvis.recorder.turns")
        await channel.declare_queue("jarvis.recorder.turns", durable=True)

        recorder = start_recorder(node.url)
        code = await asyncio.to_thread(recorder.process.wait, 10)
        await channel.queue_delete("jarvis.recorder.turns")

    (line,) = [line["text"] for line in recorder.logged("text")]
    assert code == 78
    assert "inequivalent arg" in line
    assert "jarvis.recorder.turns" in line
    assert "drain and delete it" in line


async def test_a_refusal_after_a_loss_is_tried_again(node: PrivateNode, start_recorder):
    """Its user is gone for a moment, as while definitions are imported."""

    def add_user():
        node.ctl("add_user", "recorder", "secret")
        node.ctl("set_permissions", "recorder", ".*", ".*", ".*")

    add_user()
    recorder = start_recorder(node.url.replace("guest:guest", "recorder:secret"))
    for part in ("recording", "answering"):
        await asyncio.to_thread(recorder.wait_for, part)
    before = recorder.count()
    node.ctl("delete_user", "recorder")
    node.ctl("close_all_user_connections", "recorder", "test")

    def refused():
        lines = recorder.logged("broker_unavailable")
        return {line["part"] for line in lines if "wrong user or password" in line["error"]}

    await asyncio.to_thread(
        wait_until, lambda: refused() == {"recording", "answering"}, "both are refused"
    )
    add_user()
    await publish(node.url, (EVENT_KEY, event(1), {"message_id": "after a refusal"}))

    await asyncio.to_thread(wait_until, lambda: recorder.count() == before + 1, "it records")
    await asyncio.to_thread(
        wait_until, lambda: len(recorder.logged("answering")) == 2, "it answers"
    )
    assert recorder.stop() == 0


def test_a_wrong_password_is_a_clear_refusal(node: PrivateNode, start_recorder):
    recorder = start_recorder(node.url.replace("guest:guest", "guest:wrong-secret"))

    assert recorder.process.wait(15) == 78
    (line,) = [line["text"] for line in recorder.logged("text")]
    assert "wrong user or password" in line
    assert "wrong-secret" not in str(list(recorder.lines()))


def test_a_missing_virtual_host_is_a_clear_refusal(node: PrivateNode, start_recorder):
    recorder = start_recorder(f"{node.url}nowhere")

    assert recorder.process.wait(15) == 78
    (line,) = [line["text"] for line in recorder.logged("text")]
    assert "nowhere" in line


def test_a_missing_queue_is_a_clear_refusal_where_nothing_is_declared(
    node: PrivateNode, start_recorder
):
    first = start_recorder(node.url)
    first.wait_for("recording")
    assert first.stop() == 0
    node.ctl("delete_queue", "jarvis.recorder.snapshots")
    recorder = start_recorder(node.url, "broker.topology=passive")

    assert recorder.process.wait(15) == 78
    (line,) = [line["text"] for line in recorder.logged("text")]
    assert "jarvis.recorder.snapshots" in line
    assert "declare" in line


def test_an_absent_broker_is_tried_again_and_again(start_recorder):
    recorder = start_recorder("amqp://guest:secret@127.0.0.1:1/")

    wait_until(lambda: len(recorder.logged("broker_unavailable")) >= 3, "three attempts")

    assert recorder.logged("broker_unavailable")[0]["url"] == "amqp://guest:***@127.0.0.1:1/"
    assert recorder.stop() == 0


async def test_it_records_again_soon_after_the_broker_is_back(start_recorder):
    # A node of its own: RabbitMQ 3.10.8 killed at a bad moment may confirm nothing any more for
    # the quorum queue it wrote to last, until that queue is consumed.
    with private_node() as node:
        await records_again(node, start_recorder)


async def records_again(node: PrivateNode, start_recorder) -> None:
    recorder = start_recorder(node.url)
    recorder.wait_for("recording")
    # What RabbitMQ 4.0 has confirmed of a queue is on its disk, and so is the queue: killed a moment
    # after it was declared, it may end each consumer of it with INTERNAL_ERROR after the restart.
    await publish(node.url, *BEFORE)
    wait_until(
        lambda: [recorder.count(table) for table in TABLES] == [1, 1, 1], "each queue was used"
    )

    node.kill()
    recorder.wait_for("broker_unavailable")
    assert await asyncio.to_thread(seconds_to_record, node, recorder) < 5.0
    await publish(node.url, (EVENT_KEY, event(1), {"message_id": "after"}))
    wait_until(lambda: recorder.count() == 2, "it records")
    attempt = recorder.logged("broker_unavailable")[-1]
    assert "guest:guest" not in str(attempt)
    assert attempt["configured_in"] == "command line (--set broker.url)"
    assert recorder.stop() == 0


def seconds_to_record(node: PrivateNode, recorder: RecorderProcess) -> float:
    """Start a killed node; return how long the recorder takes then to record again."""

    def is_recording() -> bool:
        return len(recorder.logged("recording")) >= 2

    for starts in range(1, 4):
        node.start()
        opened = time.monotonic()
        wait_until(
            lambda most=starts: is_recording() or recorder.unserved() >= most, "it records", 120
        )
        if is_recording():
            return time.monotonic() - opened
        node.kill()
    raise AssertionError("the node served its queues none of three times")
