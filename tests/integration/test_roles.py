"""Each role does its work on a real broker, and everything else is refused."""

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path

import aiormq
import pytest
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from jarvis_recorder.broker.topology import EXCHANGES, QUEUES
from jarvis_recorder.client import EventRecorded, EventResolved, IncidentChanged, RecorderClient
from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin, Filter
from jarvis_recorder.errors import ConfigurationError, Forbidden
from tests.support.recorder import wait_until
from tests.support.secure_broker import Papers, secure_node

pytestmark = pytest.mark.broker

ROLES = ("recorder", "monitor", "chat", "dashboard", "admin")
TURN = {"session_id": "s-1", "role": "user", "content": "Is pve1 up?"}


@pytest.fixture(scope="module")
def provisioned(tmp_path_factory):
    """The directory that `provision rabbitmq` has written."""
    directory = tmp_path_factory.mktemp("provisioned")
    done = subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "provision", "rabbitmq", str(directory)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    for role in ROLES:
        password = (directory / role / "broker.url").read_text().split(":")[2].split("@")[0]
        assert password not in done.stdout + done.stderr
    return directory


@pytest.fixture(scope="module")
def node(provisioned, tmp_path_factory):
    papers = Papers(tmp_path_factory.mktemp("papers"))
    with secure_node(papers, provisioned / "definitions.json", strict=False) as node:
        yield node


@pytest.fixture(scope="module")
def urls(node, provisioned):
    """The URL of each role, at the port of this test's node."""
    return {
        role: (provisioned / role / "broker.url").read_text().strip()
        .replace("@localhost/", f"@127.0.0.1:{node.port}/")
        for role in ROLES
    }  # fmt: skip


@pytest.fixture
def recorder(urls, provisioned, start_recorder):
    permissions = (provisioned / "recorder" / "rpc.permissions").read_text()
    recorder = start_recorder(urls["recorder"], f"rpc.permissions={permissions}")
    recorder.wait_for("recording")
    recorder.wait_for("answering")
    return recorder


@contextlib.asynccontextmanager
async def channel_of(url):
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def refused(url, attempt):
    """Return whether the broker refuses this user the operations of `attempt` on a channel."""
    async with channel_of(url) as channel:
        try:
            await attempt(channel)
        except ChannelAccessRefused:
            return True
        return False


def publishing(exchange, key, **properties):
    async def attempt(channel):
        await channel.basic_publish(
            b"{}", exchange=exchange, routing_key=key,
            properties=aiormq.spec.Basic.Properties(**properties),
        )  # fmt: skip

    return attempt


async def ignore(message):
    pass


def test_the_node_has_the_topology_of_the_recorder_and_a_second_import_changes_nothing(
    node, provisioned
):
    def standing():
        queues = json.loads(node.ctl("list_queues", "name", "arguments", "--formatter=json"))
        exchanges = json.loads(node.ctl("list_exchanges", "name", "type", "--formatter=json"))
        bindings = json.loads(node.ctl("list_bindings", "--formatter=json"))
        return (
            {q["name"]: {name: value for name, _, value in q["arguments"]} for q in queues},
            {(e["name"], e["type"]) for e in exchanges if e["name"].startswith("jarvis")},
            {(b["source_name"], b["routing_key"], b["destination_name"]) for b in bindings
             if b["source_name"]},
        )  # fmt: skip

    expected = (
        {queue.name: dict(queue.arguments) for queue in QUEUES},
        {tuple(exchange) for exchange in EXCHANGES},
        {(queue.exchange, queue.routing_key, queue.name) for queue in QUEUES},
    )
    assert standing() == expected
    node.ctl("import_definitions", str(provisioned / "definitions.json"))
    assert standing() == expected
    users = {row["user"] for row in json.loads(node.ctl("list_users", "--formatter=json"))}
    assert users == set(ROLES)


async def test_every_role_does_its_work(urls, recorder):
    async with (
        RecorderClient(urls["monitor"]) as monitor,
        RecorderClient(urls["chat"]) as chat,
        RecorderClient(urls["dashboard"]) as dashboard,
        RecorderClient(urls["admin"]) as admin,
        dashboard.tail() as tail,
        dashboard.notifications() as notifications,
    ):
        await monitor.publish_event(
            type="alert", severity="critical", source="monitor", summary="pve1 is down"
        )
        await monitor.publish_snapshot({"nodes": []}, cluster="home")
        await chat.publish_turn(**TURN)
        seen = [type((await asyncio.wait_for(anext(tail), 10)).body).__name__ for _ in range(3)]
        assert len(set(seen)) == 3
        for table in ("events", "cluster_snapshots", "conversations"):
            wait_until(lambda table=table: recorder.count(table) == 1, f"one of {table}")

        assert [turn.content async for turn in chat.conversations.iter_turns(session_id="s-1")]
        await chat.events.record(type="action", source="user", summary="restarted")
        await dashboard.events.resolve(id=1, resolved_by="ada")
        told = [await asyncio.wait_for(next_of_events(notifications), 10) for _ in range(2)]
        assert [(type(one), one.event.id) for one in told] == [
            (EventRecorded, 2),
            (EventResolved, 1),
        ]
        assert (await admin.stats()).holdings.events.count == 2
        with pytest.raises(Forbidden):
            await dashboard.conversations.delete(session_id="s-1")
        assert (await admin.conversations.delete(session_id="s-1")).deleted == 1
    assert recorder.stop() == 0


async def next_of_events(notifications):
    """Return the next that is told of an event; an incident is told of once it is folded."""
    while isinstance(told := await anext(notifications), IncidentChanged):
        pass
    return told


async def test_a_dead_letter_of_another_user_is_mended_by_the_admin(urls, recorder):
    """The recorder may not publish in the monitor's name, and does not try to; nor the admin."""
    async with channel_of(urls["monitor"]) as channel:
        await publishing("jarvis", "cluster.event.x", user_id="monitor", message_id="bad")(channel)
    letters = DeadLetterAdmin(urls["admin"])
    await asyncio.to_thread(recorder.wait_for, "dead_lettered")

    (found,) = [found async for found in letters.iterate(Filter())]
    body = b'{"type": "status", "source": "monitor", "summary": "mended"}'
    await letters.replay(Filter(ids=(found.letter.id,)), body)

    wait_until(lambda: recorder.count() == 1, "the mended event is recorded")
    assert [found async for found in letters.iterate(Filter())] == []


@pytest.mark.parametrize("role", ["admin", "recorder"])
async def test_who_looks_through_the_dead_letters_corrects_the_index(urls, recorder, role):
    async with channel_of(urls["monitor"]) as channel:
        await publishing("jarvis", "cluster.event.x", message_id="bad")(channel)
    wait_until(lambda: recorder.count("dead_letters") == 1, "it is indexed")

    await DeadLetterAdmin(urls[role]).drop(Filter())

    wait_until(lambda: recorder.count("dead_letters") == 0, "the index is corrected")


async def test_a_recorder_that_only_checks_the_topology_records_too(urls, start_recorder):
    recorder = start_recorder(urls["recorder"], "broker.topology=passive")
    recorder.wait_for("recording")
    async with RecorderClient(urls["monitor"]) as monitor:
        await monitor.publish_event(type="status", source="monitor", summary="fine")
    wait_until(lambda: recorder.count() == 1, "the event is recorded")


async def test_a_reply_queue_of_ones_own_is_for_its_caller_alone(urls):
    name = "jarvis.reply.dashboard.1"

    async def takes(channel):
        await channel.queue_declare(name, auto_delete=True)

    async with channel_of(urls["dashboard"]) as channel:
        await takes(channel)
        await channel.basic_consume(name, ignore)
    for role in ("monitor", "chat", "admin"):
        assert await refused(urls[role], takes), role


@pytest.mark.parametrize("role", ["monitor", "chat", "dashboard"])
async def test_no_queue_of_ones_own_publishes_by_a_foreign_key(urls, role):
    """The broker dead-letters messages of a queue without checking topic permissions."""

    async def declares(channel):
        arguments = {
            "x-dead-letter-exchange": "jarvis",
            "x-dead-letter-routing-key": "recorder.event.resolved",
            "x-message-ttl": 0,
        }
        await channel.queue_declare("", exclusive=True, arguments=arguments)

    assert await refused(urls[role], declares)


QUEUE_NAMES = [queue.name for queue in QUEUES]
FOREIGN_KEYS = {
    "monitor": ["chat.turn.user", "recorder.event.resolved", "clusterXevent.a"],
    "chat": ["cluster.event.alert.critical", "cluster.snapshot", "recorder.event.resolved"],
    "dashboard": ["cluster.event.alert.critical", "cluster.snapshot", "chat.turn.user"],
    "admin": ["recorder.event.resolved", "anything"],
    "recorder": ["cluster.event.alert.critical", "chat.turn.user"],
}
# The recorder corrects its own index of dead letters, when an operator looks through them as it.
ASKERS = ("chat", "dashboard", "admin", "recorder")


@pytest.mark.parametrize("role", ROLES)
async def test_no_one_publishes_what_is_not_his(urls, role):
    for key in FOREIGN_KEYS[role]:
        assert await refused(urls[role], publishing("jarvis", key)), key
    if role not in ("recorder", "admin"):
        assert await refused(urls[role], publishing("jarvis.dead", "x"))
    if role != "recorder":
        for queue in QUEUE_NAMES:
            assert await refused(urls[role], publishing("", queue)), queue
    if role not in ASKERS:
        assert await refused(urls[role], publishing("jarvis.rpc", "recorder"))


@pytest.mark.parametrize("role", [role for role in ROLES if role != "recorder"])
async def test_no_one_touches_the_queues_of_the_recorder(urls, role):
    for queue in QUEUE_NAMES:
        attempts = {
            "delete": lambda channel, queue=queue: channel.queue_delete(queue),
            "bind": lambda channel, queue=queue: channel.queue_bind(queue, "jarvis", "#"),
            "unbind": lambda channel, queue=queue: channel.queue_unbind(queue, "jarvis", "#"),
            "declare": lambda channel, queue=queue: channel.queue_declare(queue, durable=True),
        }
        if (role, queue) != ("admin", "jarvis.recorder.dead"):
            attempts |= {
                "consume": lambda channel, queue=queue: channel.basic_consume(queue, ignore),
                "get": lambda channel, queue=queue: channel.basic_get(queue),
                "purge": lambda channel, queue=queue: channel.queue_purge(queue),
            }
        for what, attempt in attempts.items():
            assert await refused(urls[role], attempt), (what, queue)


@pytest.mark.parametrize("role", [role for role in ROLES if role != "recorder"])
async def test_no_one_changes_exchanges(urls, role):
    async def declares(channel):
        await channel.exchange_declare("other", exchange_type="topic")

    async def deletes(channel):
        await channel.exchange_delete("jarvis")

    async def copies(channel):
        await channel.exchange_bind("jarvis.dead", "jarvis", routing_key="#")

    for attempt in (declares, deletes, copies):
        assert await refused(urls[role], attempt), attempt


async def test_a_tail_hears_only_what_is_recorded_and_announced(urls):
    async def binds(channel, key):
        queue = (await channel.queue_declare("", exclusive=True)).queue
        await channel.queue_bind(queue, "jarvis", key)

    for role in ("dashboard", "admin"):
        assert await refused(urls[role], lambda channel: binds(channel, "secret.#"))
        assert not await refused(urls[role], lambda channel: binds(channel, "recorder.#"))
    for role in ("monitor", "chat"):
        assert await refused(urls[role], lambda channel: binds(channel, "chat.turn.#"))


async def test_no_one_takes_anothers_name(urls):
    async with channel_of(urls["dashboard"]) as channel:
        with pytest.raises(ChannelPreconditionFailed):
            await publishing("jarvis.rpc", "recorder", user_id="admin")(channel)
            await channel.queue_declare("", exclusive=True)


async def test_the_monitor_hears_why_it_may_not_ask(urls, recorder):
    async with RecorderClient(urls["monitor"]) as monitor:
        with pytest.raises(ConfigurationError, match=r"access to exchange .jarvis\.rpc."):
            await monitor.stats()


def test_the_definitions_kept_with_the_sources_are_those_written():
    from jarvis_recorder.broker.provisioning.definitions import definitions

    kept = Path("deploy/rabbitmq/definitions.json").read_text()

    assert json.loads(kept) == definitions("/", {})
