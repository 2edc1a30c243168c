"""Questions over reply queues, put by clients that somebody else has written."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import aio_pika
import pika
import pytest

from tests.integration.test_examples import EXAMPLES, npm_ci
from tests.support import scenario
from tests.support.caller import Asker
from tests.support.engines import on_both
from tests.support.publisher import publish
from tests.support.recorder import RecorderProcess, wait_until

pytestmark = pytest.mark.broker

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture
async def caller(amqp_url, start_recorder):
    """A caller in front of a recorder that answers."""
    start_recorder(amqp_url).wait_for("answering")
    connection = await aio_pika.connect(amqp_url, timeout=60)
    async with connection:
        caller = Asker(connection)
        await caller.open()
        yield caller


@pytest.fixture
async def filled(amqp_url, start_recorder) -> RecorderProcess:
    """A recorder that has recorded what the scenario asks about."""
    recorder = start_recorder(amqp_url)
    recorder.wait_for("answering")
    await publish(amqp_url, *scenario.FILL)
    tables = ("events", "conversations", "cluster_snapshots")
    wait_until(lambda: [recorder.count(table) for table in tables] == [1, 2, 1], "all is recorded")
    return recorder


@on_both
async def test_every_method_answers_plain_aio_pika(filled, amqp_url):
    connection = await aio_pika.connect(amqp_url, timeout=60)
    async with connection:
        caller = Asker(connection)
        await caller.open()
        scenario.check([await caller.ask(request) for request in scenario.requests()])


async def test_every_method_answers_pika(filled, amqp_url):
    scenario.check(await asyncio.to_thread(ask_with_pika, amqp_url, scenario.requests()))


def ask_with_pika(url: str, requests: list[bytes]) -> list[bytes]:
    """Ask through pika's blocking connection and the broker's direct reply-to."""
    replies: list[bytes] = []
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.basic_consume(
            "amq.rabbitmq.reply-to",
            lambda _channel, _method, _properties, body: replies.append(body),
            auto_ack=True,
        )
        for number, request in enumerate(requests):
            properties = pika.BasicProperties(
                reply_to="amq.rabbitmq.reply-to", correlation_id=str(number), expiration="5000"
            )
            channel.basic_publish("jarvis.rpc", "recorder", request, properties)
            while len(replies) <= number:
                connection.process_data_events(time_limit=10)
    return replies


@pytest.mark.skipif(shutil.which("npm") is None, reason="Node.js is not installed")
async def test_every_method_answers_amqplib(filled, amqp_url):
    npm_ci()
    asked = await asyncio.to_thread(
        subprocess.run,
        ["node", str(SUPPORT / "ask.mjs"), amqp_url, str(EXAMPLES)],
        input=b"\n".join(scenario.requests()) + b"\n",
        capture_output=True,
        check=True,
        timeout=60,
    )
    scenario.check(asked.stdout.splitlines())


@on_both
async def test_a_change_is_in_the_database_before_the_reply(caller, recorded):
    await caller.call("preferences.set", {"key": "theme", "value": "dark"})

    found = recorded.rows("SELECT key, value, version FROM preferences")
    assert found == [("theme", "dark", 1)]


@on_both
async def test_of_two_who_set_by_the_same_version_one_hears_of_the_conflict(caller):
    await caller.call("preferences.set", {"key": "theme", "value": "dark"})
    change = {"key": "theme", "expected_version": 1}

    responses = await asyncio.gather(
        *(caller.call("preferences.set", change | {"value": f"v{n}"}) for n in range(8))
    )

    codes = [response["error"]["code"] for response in responses if "error" in response]
    assert codes == [-32002] * 7


async def test_a_reply_vanishes_with_the_one_who_asked(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("answering")
    connection = await aio_pika.connect(amqp_url, timeout=60)
    async with connection:
        gone = Asker(connection)
        await gone.open()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gone.ask(b"{}"), 0)
    async with await aio_pika.connect(amqp_url, timeout=60) as connection:
        caller = Asker(connection)
        await caller.open()
        assert "result" in await caller.call("recorder.stats")
    assert recorder.stop() == 0
    assert not recorder.logged("broker_unavailable")


HOSTILE = (
    b"", b"\x00", b"[]", b"null", b"{", b"[[[[", b"\xff\xfe", b'{"jsonrpc":"2.0"}',
    b'{"jsonrpc":"2.0","method":"events.list","id":{"a":1}}',
    b'{"jsonrpc":"2.0","method":"events.list","params":{"limit":1e999},"id":1}',
    b'{"jsonrpc":"2.0","method":"events.list","params":{"cursor":"AAAA"},"id":1}',
    b'{"jsonrpc":"2.0","method":"conversations.search","params":{"query":"\\"* NEAR("},"id":1}',
    b'{"jsonrpc":"2.0","method":"events.get","params":[9223372036854775808],"id":1}',
    b"[" * 5_000, b'{"a":' * 300, b"9" * 5_000, b"x" * 1_000_000,
)  # fmt: skip


@on_both
async def test_hostile_bodies_get_one_answer_each_and_the_responder_continues(caller):
    for body in HOSTILE:
        document = json.loads(await caller.ask(body))
        assert ("result" in document) != ("error" in document)

    assert "result" in await caller.call("recorder.stats")
