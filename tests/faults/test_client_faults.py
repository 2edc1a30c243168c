"""Faults of the broker, and a client."""

import asyncio
import contextlib

import pytest

from jarvis_recorder.broker import connection
from jarvis_recorder.broker.connection import open_link
from jarvis_recorder.client import RecorderClient, new_event
from jarvis_recorder.demo.node import PrivateNode, private_node
from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError, NotConfirmed
from jarvis_recorder.net.addresses import Addresses
from tests.support.responder import steered_responder

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def node():
    with private_node() as node:
        yield node


def unanswerable(_question):
    raise AssertionError


def an_event():
    return new_event(type="status", source="monitor", summary="an event")


async def test_a_right_that_is_missing_is_named(node: PrivateNode):
    node.ctl("add_user", "guest2", "secret")
    node.ctl("set_permissions", "guest2", "", "", "")
    async with (
        steered_responder(node.url, unanswerable),
        RecorderClient(node.url.replace("guest:guest", "guest2:secret")) as client,
    ):
        with pytest.raises(ConfigurationError, match=r"exchange 'jarvis\.rpc'"):
            await client.stats()
        with pytest.raises(ConfigurationError, match="exchange 'jarvis'"):
            await client.publish(an_event())
        with pytest.raises(ConfigurationError, match="subscription"):
            await anext(client.tail())


async def test_what_the_broker_cannot_take_in_an_alarm_may_be_published_again(node: PrivateNode):
    record = an_event()
    async with steered_responder(node.url, unanswerable):
        node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            client = await RecorderClient(node.url, timeout=1).__aenter__()
            with pytest.raises(BrokerUnavailable, match=r"no confirm within 1 s.*again"):
                await client.publish(record)
            # Leaving does not wait for the alarm to end.
            await asyncio.wait_for(client.__aexit__(), 5)
        finally:
            node.ctl("set_vm_memory_high_watermark", "0.6")
        async with RecorderClient(node.url) as client:
            assert await client.publish(record) == record.message_id


async def test_a_password_that_changes_meanwhile_is_heard_of(node: PrivateNode):
    node.ctl("add_user", "monitor", "old")
    node.ctl("set_permissions", "monitor", ".*", ".*", ".*")
    async with RecorderClient(node.url.replace("guest:guest", "monitor:old")) as client:
        node.ctl("change_password", "monitor", "new")
        node.ctl("close_all_user_connections", "monitor", "test")

        with pytest.raises(ConfigurationError, match="wrong user or password"):
            await client.publish(an_event())


async def test_a_client_comes_back_after_it_was_refused(node: PrivateNode):
    """Its user is gone for a moment, as while definitions are imported."""

    def add_user():
        node.ctl("add_user", "dashboard", "secret")
        node.ctl("set_permissions", "dashboard", ".*", ".*", ".*")

    add_user()
    url = node.url.replace("guest:guest", "dashboard:secret")
    async with (
        steered_responder(node.url, unanswerable),
        RecorderClient(url, timeout=60) as client,
        client.tail() as tail,
    ):
        listening = asyncio.create_task(anext(tail))
        node.ctl("delete_user", "dashboard")
        node.ctl("close_all_user_connections", "dashboard", "test")
        with pytest.raises(ConfigurationError, match="wrong user or password"):
            await client.publish(an_event())
        add_user()

        async with asyncio.timeout(60):
            while not listening.done():
                # What is published before the tail has come back is missed, as it says.
                with contextlib.suppress(ConfigurationError):
                    await client.publish(an_event())
                await asyncio.wait({listening}, timeout=0.1)
        assert listening.result().body.summary == "an event"


async def test_a_client_comes_back_with_the_broker(node: PrivateNode):
    record = an_event()
    async with steered_responder(node.url, unanswerable):
        pass
    async with RecorderClient(node.url, timeout=90) as client:
        node.kill()
        starting = asyncio.create_task(asyncio.to_thread(node.start))
        assert await client.publish(record) == record.message_id
        await starting


async def test_what_the_broker_refuses_for_a_moment_is_published_again(node: PrivateNode):
    """As while a cluster elects a queue's leader: here the queue is full, and then is not."""
    async with (
        steered_responder(node.url, unanswerable),
        RecorderClient(node.url, timeout=5) as hasty,
        RecorderClient(node.url, timeout=60) as patient,
    ):
        node.ctl("set_policy", "full", "^jarvis.recorder.events$", '{"max-length": 1}')
        with pytest.raises(NotConfirmed, match="full"):
            await publish_until_refused(hasty)
        record = an_event()
        publishing = asyncio.create_task(patient.publish(record))
        await asyncio.to_thread(node.ctl, "clear_policy", "full")

        assert await publishing == record.message_id


async def publish_until_refused(client: RecorderClient) -> None:
    """A quorum queue takes a few more than its limit."""
    for _ in range(10):
        await client.publish(an_event())


async def test_a_connection_that_does_not_close_in_time_is_closed_all_the_same(
    node: PrivateNode, monkeypatch
):
    """An open one that is collected would begin to close itself, in whatever loop is there."""
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0)

    async with open_link(Addresses(node.url), "test") as link:
        assert not link.connection.is_closed

    assert link.connection.is_closed
