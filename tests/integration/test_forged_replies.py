"""Requests over whose reply address the broker ends the connection that replies."""

import asyncio

import aio_pika
import pytest

from jarvis_recorder.demo.node import private_node
from jarvis_recorder.wire.topics import RPC_QUEUE
from tests.support.caller import Asker
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker

# As RabbitMQ writes it, for a node that is not of this cluster.
FOREIGN = "g1h2AA5yZXBseUA5OTk5OTk5OQAAChoAAAAAAawry6A==.P6zthhmkS1ZMhTa3x3YJ+g=="
REQUEST = (
    b'{"jsonrpc":"2.0","id":1,"method":"events.record",'
    b'"params":{"type":"alert","source":"jarvis","summary":"forged"}}'
)


@pytest.fixture(scope="module")
def node():
    with private_node() as node:
        yield node


def waiting(node):
    """Return how many requests are in the queue or under way."""
    lines = node.ctl("list_queues", "name", "messages").splitlines()
    return int(dict(line.split() for line in lines)[RPC_QUEUE])


@pytest.mark.parametrize("address", [FOREIGN, "a.b", "g1B/////.x", "!!.x", "a.b.c"])
async def test_a_request_ends_two_connections_at_most(node, start_recorder, address):
    recorder = start_recorder(node.url)
    recorder.wait_for("answering")
    connection = await aio_pika.connect(node.url, timeout=60)
    async with connection:
        caller = Asker(connection)
        await caller.open()
        channel = await connection.channel()
        exchange = await channel.get_exchange("jarvis.rpc", ensure=False)
        message = aio_pika.Message(REQUEST, reply_to=f"amq.rabbitmq.reply-to.{address}")

        await exchange.publish(message, "recorder")
        await asyncio.to_thread(wait_until, lambda: not waiting(node), "it is settled", 60.0)
        heard = await caller.call("recorder.stats")

    assert heard["result"]
    assert len(recorder.logged("broker_unavailable")) <= 2
    assert recorder.count() <= 2
