"""Callers during faults: a kill, a false reply, a slow statement."""

import asyncio
import json
import time
from typing import Any

import aio_pika
import aiormq
import pytest

from jarvis_recorder.demo.node import PrivateNode, private_node
from tests.support.caller import Asker
from tests.support.engines import on_both
from tests.support.proxy import SwallowingProxy
from tests.support.recorder import RecorderProcess, wait_until

pytestmark = pytest.mark.broker

EVENT = {"type": "action", "source": "user", "summary": "pve1 restarted", "message_id": "e-1"}


@pytest.fixture(scope="module")
def node():
    with private_node() as node:
        yield node


@pytest.fixture
async def listener(node: PrivateNode):
    """A queue that hears all that the recorder announces."""
    connection = await aio_pika.connect(node.url, timeout=60)
    async with connection:
        channel = await connection.channel()
        await channel.declare_exchange("jarvis", "topic", durable=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("jarvis", "recorder.#")
        yield queue


async def heard(queue: aio_pika.abc.AbstractQueue) -> aio_pika.abc.AbstractIncomingMessage:
    async with asyncio.timeout(60):
        while (message := await queue.get(no_ack=True, fail=False)) is None:
            await asyncio.sleep(0.02)
    return message


async def killed_before_it_could_speak(
    node: PrivateNode, start_recorder: Any, caller: Asker, request: dict[str, Any], table: str
) -> tuple[RecorderProcess, asyncio.Task[bytes]]:
    """Have a change committed by a recorder that nobody hears, then kill it."""
    proxy = SwallowingProxy(node.port)
    async with proxy as port:
        recorder = start_recorder(f"amqp://guest:guest@127.0.0.1:{port}/")
        await asyncio.to_thread(recorder.wait_for, "answering")
        proxy.muted = True
        asking = asyncio.create_task(caller.ask(json.dumps(request).encode()))
        query = f"SELECT count(*) FROM {table}"
        await asyncio.to_thread(
            wait_until,
            lambda: recorder.rows(query) == [(1,)],
            "the change is committed",
        )
        recorder.kill()
    return recorder, asking


def call(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}


@pytest.fixture
async def caller(node: PrivateNode):
    connection = await aio_pika.connect(node.url, timeout=60)
    async with connection:
        channel = await connection.channel()
        await channel.declare_exchange("jarvis.rpc", "direct", durable=True)
        caller = Asker(connection)
        await caller.open()
        yield caller


@on_both
async def test_an_event_is_stored_once_though_the_recorder_died_before_its_reply(
    node, start_recorder, caller
):
    recorder, asking = await killed_before_it_could_speak(
        node, start_recorder, caller, call("events.record", EVENT), "events"
    )
    start_recorder(node.url)

    # The request was never acked: the next recorder gets it and answers.
    first = json.loads(await asking)["result"]["event"]
    again = (await caller.call("events.record", EVENT))["result"]["event"]

    assert first == again
    assert recorder.count() == 1


@on_both
async def test_a_change_is_announced_though_the_recorder_died_before_it_could(
    node, start_recorder, caller, listener
):
    change = call("preferences.set", {"key": "theme", "value": "dark", "expected_version": 0})
    _, asking = await killed_before_it_could_speak(
        node, start_recorder, caller, change, "preferences"
    )
    start_recorder(node.url)

    message = await heard(listener)
    assert message.routing_key == "recorder.preference.changed"
    assert json.loads(message.body)["preference"]["value"] == "dark"
    asking.cancel()


@on_both
async def test_a_resolution_is_announced_once_committed(node, start_recorder, caller, listener):
    start_recorder(node.url).wait_for("answering")
    event = (await caller.call("events.record", EVENT))["result"]["event"]

    for resolver in ("ada", "bob"):
        await caller.call("events.resolve", {"id": event["id"], "resolved_by": resolver})

    recorded, message = await heard(listener), await heard(listener)
    assert recorded.routing_key == "recorder.event.recorded"
    assert json.loads(recorded.body)["event"] == event
    assert message.routing_key == "recorder.event.resolved"
    assert json.loads(message.body)["event"]["resolved_by"] == "ada"
    assert await listener.get(no_ack=True, fail=False) is None


@pytest.fixture
def users(node: PrivateNode):
    for name in ("dashboard", "chat"):
        node.ctl("add_user", name, "secret")
        node.ctl("set_permissions", name, ".*", ".*", ".*")
    yield
    for name in ("dashboard", "chat"):
        node.ctl("delete_user", name)


async def asked_as(node: PrivateNode, user: str, claimed: str | None, method: str) -> Any:
    url = node.url.replace("guest:guest", f"{user}:secret")
    async with await aio_pika.connect(url, timeout=60) as connection:
        caller = Asker(connection)
        await caller.open()
        properties = {} if claimed is None else {"user_id": claimed}
        return await caller.call(method, **properties)


async def test_permissions_hold_against_who_lies_and_who_says_nothing(node, start_recorder, users):
    rules = json.dumps({"dashboard": ["events.*"], "chat": ["conversations.*"]})
    start_recorder(node.url, f"rpc.permissions={rules}").wait_for("answering")

    allowed = await asked_as(node, "dashboard", "dashboard", "events.list")
    other = await asked_as(node, "chat", "chat", "events.list")
    anonymous = await asked_as(node, "chat", None, "events.list")

    assert "result" in allowed
    assert other["error"]["code"] == anonymous["error"]["code"] == -32003
    with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed):
        await asked_as(node, "chat", "dashboard", "events.list")


async def test_start_says_that_everyone_may_ask(node, start_recorder):
    recorder = start_recorder(node.url)
    recorder.wait_for("answering")

    assert len(recorder.logged("everyone_may_ask_everything")) == 1


@on_both
async def test_a_slow_statement_is_given_up_in_time_and_harms_no_one(
    node, start_recorder, caller, recorded
):
    """It is interrupted in the database, and the caller hears of it before the deadline."""
    first = start_recorder(node.url)
    first.wait_for("answering")
    assert first.stop() == 0
    recorded.add_events(1_500_000)
    start_recorder(node.url).wait_for("answering")
    slow = {"since": "1970-01-01T00:00:00Z", "until": "1970-01-01T00:01:00Z", "text": "nothing"}

    began = time.monotonic()
    assert "result" in await caller.call("events.histogram", slow, expiration=120)
    whole = time.monotonic() - began

    response = await caller.call("events.histogram", slow, expiration=0.3)

    assert response["error"]["code"] == -32004
    began = time.monotonic()
    assert "result" in await caller.call("events.list", {"limit": 1})
    assert time.monotonic() - began < whole / 2, "nothing is left running that others wait for"
