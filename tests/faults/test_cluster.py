"""A cluster of three brokers: one of them is away, or each in turn."""

import asyncio
import contextlib
import os
import random
from collections import Counter

import aio_pika
import pytest

from jarvis_recorder.broker.checks import queue_depths
from jarvis_recorder.broker.topology import REQUESTS, REQUESTS_IN_A_CLUSTER
from jarvis_recorder.client import RecorderClient, new_event
from jarvis_recorder.demo import failover
from jarvis_recorder.demo.node import PrivateNode
from jarvis_recorder.demo.private_cluster import PrivateCluster, private_cluster
from jarvis_recorder.demo.private_postgres import PrivateServer, private_server
from jarvis_recorder.errors import BrokerUnavailable, ReplyTimeout
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.wire.topics import DEAD_QUEUE
from tests.conftest import delete_queues
from tests.support.recorder import RecorderProcess, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

_PATIENCE_SECONDS = 90.0
_UNDER_WAY = 50


@pytest.fixture(scope="module")
def cluster():
    with private_cluster() as cluster:
        yield cluster


@pytest.fixture
def start_on(start_recorder):
    def start(cluster: PrivateCluster) -> RecorderProcess:
        also = str(cluster.also).replace("'", '"')
        return start_recorder(cluster.url, f"broker.also={also}")

    return start


async def until(condition, what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what, _PATIENCE_SECONDS)


async def declare_requests(cluster: PrivateCluster, queue) -> None:
    """Delete the queue of requests and declare it as given."""
    connection = await aio_pika.connect(cluster.url)
    async with connection, connection.channel() as channel:
        await channel.queue_delete(queue.name)
        await channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))


def holder_of(cluster: PrivateCluster, queue) -> PrivateNode:
    """Return the node that holds a classic queue: it may be on any."""
    listed = cluster.nodes[0].ctl("list_queues", "name", "pid")
    (pid,) = (line.split()[1] for line in listed.splitlines() if line.startswith(queue.name))
    return next(node for node in cluster.nodes if node.name in pid)


def numbered(number: int):
    return new_event(type="metric", source="monitor", summary=f"number {number}")


async def test_recording_outlives_the_node_that_holds_the_queue_of_requests(
    cluster: PrivateCluster, start_on
):
    """The queue is classic, as a recorder made it that knew one address."""
    await declare_requests(cluster, REQUESTS)
    recorder = start_on(cluster)
    recorder.wait_for("answering")
    recorder.wait_for("recording")
    holder = holder_of(cluster, REQUESTS)
    async with RecorderClient(cluster.url, also=cluster.also, timeout=10) as client:
        holder.kill()
        identity = await client.publish(numbered(1))
        await until(
            lambda: recorder.rows("SELECT 1 FROM events WHERE message_id = ?", identity),
            "recorded",
        )
        assert recorder.process.poll() is None

        await asyncio.to_thread(holder.start)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await answered(client)
    assert recorder.stop() == 0


async def test_requests_are_answered_while_a_node_is_down(cluster: PrivateCluster, start_on):
    await declare_requests(cluster, REQUESTS_IN_A_CLUSTER)
    recorder = start_on(cluster)
    recorder.wait_for("answering")
    async with RecorderClient(cluster.url, also=cluster.also, timeout=2) as client:
        cluster.nodes[0].kill()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await answered(client)
    await asyncio.to_thread(cluster.nodes[0].start)
    assert recorder.stop() == 0


async def answered(client: RecorderClient) -> None:
    """Return once a request is answered; one that was on the node that is killed may be lost."""
    while True:
        with contextlib.suppress(ReplyTimeout, BrokerUnavailable):
            await client.preferences.list()
            return


async def test_nodes_and_the_recorder_are_killed_under_load(cluster: PrivateCluster, start_on):
    """Twice each by default; a longer run is a setting away."""
    chance = random.Random(int(os.environ.get("JARVIS_TEST_SEED", "20261126")))
    faults = int(os.environ.get("JARVIS_TEST_CLUSTER_FAULTS", "2"))
    recorder = start_on(cluster)
    recorder.wait_for("recording")
    confirmed: list[str] = []
    stop = asyncio.Event()

    async def publish() -> None:
        async with RecorderClient(cluster.url, also=cluster.also, timeout=60) as client:
            while not stop.is_set():
                records = [numbered(at) for at in range(_UNDER_WAY)]
                confirmed.extend(await asyncio.gather(*(map(client.publish, records))))

    async def more_are_confirmed() -> None:
        before = len(confirmed)
        await until(lambda: len(confirmed) > before + 500, "messages are confirmed")

    publishing = asyncio.create_task(publish())
    for _ in range(faults):
        node = chance.choice(cluster.nodes)
        await more_are_confirmed()
        node.kill()
        await more_are_confirmed()
        recorder.kill()
        recorder = start_on(cluster)
        await asyncio.to_thread(node.start)
    stop.set()
    await publishing

    def recorded() -> list[str]:
        return [identity for (identity,) in recorder.rows("SELECT message_id FROM events")]

    await until(lambda: set(confirmed) <= set(recorded()), "every confirmed message is recorded")
    print(f"{len(confirmed)} confirmed, {faults} faults of each kind")
    assert set(Counter(recorded()).values()) == {1}
    dead = {depth.queue: depth.messages for depth in await queue_depths(Addresses(cluster.url))}
    assert dead[DEAD_QUEUE] == 0
    assert recorder.stop() == 0


async def test_the_demo_kills_one_of_each_part_and_loses_nothing(
    cluster: PrivateCluster, tmp_path, capsys
):
    await delete_queues(cluster.url)
    with private_server(PrivateServer) as server:
        async with failover.stage(cluster, server, tmp_path, lambda _: None) as stage:
            outcome = await stage.perform()

    failover.present(outcome)
    assert [kill.part for kill in outcome.kills] == ["recorder 1", "RabbitMQ node 1", "PostgreSQL"]
    assert set(outcome.recorded) == outcome.confirmed
    assert set(outcome.recorded.values()) == {1}
    said = f"{len(outcome.confirmed):,} events confirmed, 0 lost, 0 recorded twice."
    assert said in capsys.readouterr().out


def test_the_demo_says_what_was_lost():
    outcome = failover.FailoverOutcome(
        kills=(), confirmed=frozenset(("a", "b")), recorded=Counter({"b": 2, "not confirmed": 1})
    )

    assert (outcome.lost, outcome.twice) == (1, 1)
