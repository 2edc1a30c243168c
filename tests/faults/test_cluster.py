"""A cluster of three brokers: one of them is away, or each in turn."""

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from functools import partial

import aio_pika
import psycopg
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
from tests.support.postgres import DURABLE, Cluster, standby
from tests.support.postgres import cluster as server_of_tests
from tests.support.recorder import RecorderProcess, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

_PATIENCE_SECONDS = 90.0
_UNDER_WAY = 50
# One kill of each kind. As the requirements have it: JARVIS_TEST_ROUNDS=6
# JARVIS_TEST_CONFIRMED=20000, with three values of JARVIS_TEST_SEED.
SEED = int(os.environ.get("JARVIS_TEST_SEED", "20261126"))
ROUNDS = int(os.environ.get("JARVIS_TEST_ROUNDS", "1"))
CONFIRMED = int(os.environ.get("JARVIS_TEST_CONFIRMED", "500"))


@pytest.fixture(scope="module")
def cluster():
    with private_cluster() as cluster:
        yield cluster


@pytest.fixture
def start_on(start_recorder):
    def start(cluster: PrivateCluster, *settings: str) -> RecorderProcess:
        also = str(cluster.also).replace("'", '"')
        return start_recorder(cluster.url, f"broker.also={also}", *settings)

    return start


@pytest.fixture
def pair():
    """A server and its synchronous standby, with an empty database."""
    with server_of_tests(DURABLE) as primary:
        primary.execute("CREATE DATABASE recorder")
        with standby(primary) as copy:
            yield primary, copy


class Publishing:
    """A publisher of events until it is stopped, whichever nodes are there; it notes every confirm."""

    def __init__(self, cluster: PrivateCluster) -> None:
        self._cluster = cluster
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self.confirmed: list[str] = []

    async def _run(self) -> None:
        cluster = self._cluster
        async with RecorderClient(cluster.url, also=cluster.also, timeout=60) as client:
            while not self._stop.is_set():
                records = [numbered(at) for at in range(_UNDER_WAY)]
                self.confirmed.extend(await asyncio.gather(*(map(client.publish, records))))

    async def more(self, count: int = 500) -> None:
        """Return once so many more are confirmed; raise what ended it."""
        before = len(self.confirmed)
        await until(
            lambda: len(self.confirmed) > before + count or self._task.done(),
            "messages are confirmed",
        )
        assert not self._task.done(), self._task.exception()

    async def stop(self) -> None:
        self._stop.set()
        await self._task


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


async def dead(cluster: PrivateCluster) -> int:
    depths = {one.queue: one.messages for one in await queue_depths(Addresses(cluster.url))}
    return depths[DEAD_QUEUE]


async def test_nodes_and_the_recorder_are_killed_under_load(cluster: PrivateCluster, start_on):
    """Twice each by default; a longer run is a setting away."""
    chance = random.Random(SEED)
    faults = int(os.environ.get("JARVIS_TEST_CLUSTER_FAULTS", "2"))
    recorder = start_on(cluster)
    recorder.wait_for("recording")
    publishing = Publishing(cluster)
    for _ in range(faults):
        node = chance.choice(cluster.nodes)
        await publishing.more()
        node.kill()
        await publishing.more()
        recorder.kill()
        recorder = start_on(cluster)
        await asyncio.to_thread(node.start)
    await publishing.stop()
    confirmed = {*publishing.confirmed}

    def recorded() -> list[str]:
        return [identity for (identity,) in recorder.rows("SELECT message_id FROM events")]

    await until(lambda: confirmed <= set(recorded()), "every confirmed message is recorded")
    print(f"{len(confirmed)} confirmed, {faults} faults of each kind")
    assert set(Counter(recorded()).values()) == {1}
    assert await dead(cluster) == 0
    assert recorder.stop() == 0


def recorded_by(server: Cluster) -> list[str]:
    try:
        found = server.execute("SELECT message_id FROM events", "recorder")
    except psycopg.Error:
        return []
    return [str(identity) for (identity,) in found]


def counted_by(server: Cluster) -> int:
    try:
        ((count,),) = server.execute("SELECT count(*) FROM events", "recorder")
    except psycopg.Error:
        return 0
    return int(str(count))


async def test_brokers_recorders_and_servers_are_killed_under_load(
    cluster: PrivateCluster, start_on, pair
):
    """At last the primary is gone for ever, and its synchronous standby is promoted."""
    primary, copy = pair
    chance = random.Random(SEED)
    url = f"store.url=postgresql://jarvis@/recorder?host={primary.directory},{copy.directory}"
    recorders = [start_on(cluster, url) for _ in range(3)]
    for recorder in recorders:
        await asyncio.to_thread(recorder.wait_for, "recording")
    publishing = Publishing(cluster)

    async def kill_recorder(number: int) -> None:
        recorders[number].kill()
        recorders[number] = start_on(cluster, url)

    async def kill_node(number: int) -> None:
        cluster.nodes[number].kill()
        await publishing.more()
        await asyncio.to_thread(cluster.nodes[number].start)

    async def crash_server() -> None:
        await asyncio.to_thread(primary.stop, "immediate")
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        await asyncio.to_thread(primary.start)

    async def more_is_recorded(server: Cluster) -> float:
        """Return how long nothing was recorded from now on, with the server there."""
        await until(lambda: counted_by(server) > 0, "the server is back")
        began, before = time.monotonic(), counted_by(server)
        await until(lambda: counted_by(server) > before, "more is recorded")
        return time.monotonic() - began

    longest = 0.0
    for round_ in range(ROUNDS):
        # The first node is the publisher's own.
        kills = [partial(kill_recorder, round_ % 3), partial(kill_node, round_ % 3)]
        kills += [partial(asyncio.to_thread, primary.kill_backends), crash_server]
        chance.shuffle(kills)
        for kill in kills:
            await publishing.more(chance.randrange(100, 400))
            await kill()
            longest = max(longest, await more_is_recorded(primary))
    await publishing.more(CONFIRMED - len(publishing.confirmed))
    primary.destroy()
    await asyncio.to_thread(copy.promote)
    longest = max(longest, await more_is_recorded(copy))
    await publishing.more()
    await publishing.stop()
    confirmed = {*publishing.confirmed}

    await until(lambda: confirmed <= set(recorded_by(copy)), "every confirmed message is recorded")
    print(
        f"{len(confirmed)} confirmed, {4 * ROUNDS} kills and a promotion,"
        f" at most {longest:.1f} s without a record"
    )
    assert set(Counter(recorded_by(copy)).values()) == {1}
    assert await dead(cluster) == 0
    for recorder in recorders:
        # The one that was killed last may have begun a moment ago.
        await asyncio.to_thread(recorder.wait_for, "recording")
        assert not recorder.logged("text"), "it is all JSON"
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
