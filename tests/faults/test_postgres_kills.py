"""A server that was away is recorded into again; see `test_cluster` for kills under load."""

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.postgres import DURABLE, Cluster, cluster
from tests.support.publisher import Oracle
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def durable():
    with cluster(DURABLE) as made:
        yield made


async def until(condition, what: str, seconds: float = 120.0) -> Any:
    """Wait without stopping the oracle, which shares this loop."""
    return await asyncio.to_thread(wait_until, condition, what, seconds)


def identities(server: Cluster, name: str) -> list[str]:
    try:
        return [str(one) for (one,) in server.execute("SELECT message_id FROM events", name)]
    except psycopg.Error:
        return []


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
    assert not recorder.logged("text"), "it is all JSON"
    assert recorder.stop() == 0
