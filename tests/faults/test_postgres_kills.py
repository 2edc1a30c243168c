"""Every message that the broker confirmed is stored exactly once in PostgreSQL, after any kill."""

import asyncio
import random

import psycopg
import pytest

from tests.support.postgres import DURABLE, Cluster, cluster
from tests.support.publisher import Oracle
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

_KILLS = 6


@pytest.fixture
def durable():
    with cluster(DURABLE) as made:
        yield made


async def until(condition, what: str, seconds: float = 120.0) -> None:
    """Wait without stopping the oracle, which shares this loop."""
    await asyncio.to_thread(wait_until, condition, what, seconds)


def identities(server: Cluster, name: str) -> list[str]:
    try:
        return [str(one) for (one,) in server.execute("SELECT message_id FROM events", name)]
    except psycopg.Error:
        return []


async def test_recorders_server_and_sessions_are_killed_under_load(
    amqp_url, start_recorder, durable
):
    """Two recorders share one database; nothing is lost, twice, or dead-lettered."""
    chance = random.Random(20261126)
    durable.execute("CREATE DATABASE recorder")
    settings = (f"store.url={durable.url('recorder')}",)
    recorders = [start_recorder(amqp_url, *settings) for _ in range(2)]
    for recorder in recorders:
        await asyncio.to_thread(recorder.wait_for, "recording")
    oracle = Oracle(amqp_url)
    publishing = asyncio.create_task(oracle.run())

    for number in range(_KILLS):
        await asyncio.sleep(chance.uniform(0.2, 1.0))
        if number % 3 == 0:
            recorders[number % 2].kill()
            recorders[number % 2] = start_recorder(amqp_url, *settings)
        elif number % 3 == 1:
            await asyncio.to_thread(durable.kill_backends)
        else:
            await asyncio.to_thread(durable.stop, "immediate")
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            await asyncio.to_thread(durable.start)
        before = len(oracle.confirmed)
        await until(lambda at=before: len(oracle.confirmed) > at, "messages are confirmed")
    oracle.stop()
    await publishing

    await until(
        lambda: oracle.confirmed <= set(identities(durable, "recorder")),
        "every confirmed message is recorded",
    )
    found = identities(durable, "recorder")
    assert len(found) == len(set(found))
    assert set(found) <= oracle.attempted
    assert len(oracle.confirmed) > 500
    for recorder in recorders:
        assert not any(line["dead_lettered"] for line in recorder.logged("summary"))
        assert recorder.stop() == 0


async def test_a_server_that_comes_back_is_recorded_into_within_seconds(
    amqp_url, start_recorder, durable
):
    durable.execute("CREATE DATABASE recorder")
    recorder = start_recorder(amqp_url, f"store.url={durable.url('recorder')}")
    await asyncio.to_thread(recorder.wait_for, "recording")
    await asyncio.to_thread(durable.stop, "immediate")
    oracle = Oracle(amqp_url)
    publishing = asyncio.create_task(oracle.run())
    await until(lambda: len(oracle.confirmed) > 100, "messages are confirmed")
    await until(
        lambda: "storage" in recorder.readiness()["failed"], "the health says what is wrong"
    )

    await asyncio.to_thread(durable.start)

    await until(lambda: identities(durable, "recorder"), "it records again", 30)
    oracle.stop()
    await publishing
    await until(lambda: oracle.confirmed <= set(identities(durable, "recorder")), "all is recorded")
    assert recorder.stop() == 0
