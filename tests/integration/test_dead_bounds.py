"""A queue of dead letters that is full, or holds what no one can deliver; and keys in headers."""

import asyncio
import json
import re
import subprocess
import sys
import time

import aio_pika
import pytest

from jarvis_recorder.broker.connection import open_link
from jarvis_recorder.broker.topology import QUEUES
from jarvis_recorder.client import RecorderClient
from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin, Filter
from jarvis_recorder.net.addresses import Addresses
from tests.support.amqp10 import node_with_amqp10, publish_with_number
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

DEAD = "/exchange/jarvis.dead/jarvis.recorder.events"


@pytest.fixture(scope="module")
def node():
    with node_with_amqp10() as node:
        yield node


@pytest.fixture
async def url(node):
    connection = await aio_pika.connect(node.url, timeout=60)
    async with connection:
        channel = await connection.channel()
        for queue in QUEUES:
            await channel.queue_delete(queue.name)
    return node.url


@pytest.fixture
def full(node):
    """Bound the queue of dead letters to very little, until the test is over."""

    def bound(size):
        limits = json.dumps({"max-length-bytes": size})
        node.ctl("set_policy", "full", "^jarvis.recorder.dead$", limits, "--apply-to", "queues")

    yield bound
    node.ctl("clear_policy", "full")


def dead(url, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "dead", *map(str, arguments),
         "--set", f"broker.url={url}"],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


async def bury(url, *names):
    """Put good messages among the dead letters."""
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("jarvis.dead", ensure=False)
        for name in names:
            body = json.dumps(event(summary=name)).encode()
            headers = {"x-recorder-reason": "invalid", "x-recorder-routing-key": EVENT_KEY}
            message = aio_pika.Message(body, message_id=name, headers=headers)
            await exchange.publish(message, "jarvis.recorder.events")


async def named(url):
    return [found.letter.message_id async for found in DeadLetterAdmin(url).iterate(Filter())]


async def test_good_messages_are_recorded_while_the_queue_of_dead_letters_is_full(
    url, full, start_recorder
):
    recorder = start_recorder(url, "ingest.prefetch=40")
    recorder.wait_for("recording")
    full(100)
    bad = [(EVENT_KEY, {"bad": number}, {"message_id": f"bad-{number}"}) for number in range(200)]
    await publish(url, *bad, (EVENT_KEY, event(1), {"message_id": "good"}))

    await asyncio.to_thread(wait_until, recorder.count, "the good one is recorded")

    readiness = await asyncio.to_thread(
        wait_until, lambda: (now := recorder.readiness())["failed"] and now, "it is not ready"
    )
    assert readiness["failed"] == {"dead_letters"}
    (check,) = [one for one in readiness["checks"] if one["name"] == "dead_letters"]
    assert "10 messages wait" in check["detail"]
    assert len(recorder.logged("dead_letter_refused")) == 1


def waiting(recorder):
    """Return how many messages wait for their dead letters to be accepted."""
    found = re.search(r"(\d+) messages wait", str(recorder.readiness()))
    return int(found[1]) if found else 0


@pytest.mark.parametrize("kills", [0, 2])
async def test_good_messages_are_recorded_soon_after_a_restart_with_that_queue_full(
    url, full, start_recorder, kills
):
    """A stop returns what waits once; what a kill returns twice comes alone."""
    recorder = start_recorder(url)
    recorder.wait_for("recording")
    full(100)
    await publish(url, *((EVENT_KEY, {"bad": n}, {"message_id": f"bad-{n}"}) for n in range(300)))
    await asyncio.to_thread(wait_until, lambda: waiting(recorder) > 250, "they wait", 60.0)
    for _ in range(kills):
        recorder.kill()
        recorder = start_recorder(url)
        recorder.wait_for("recording")
    recorder.stop()
    again = start_recorder(url)

    began = time.monotonic()
    await publish(url, (EVENT_KEY, event(1), {"message_id": "good"}))
    await asyncio.to_thread(wait_until, again.count, "the good one is recorded", 60.0)
    print(f"recorded after {time.monotonic() - began:.1f} s")
    assert not again.logged("delivery_suspect") or kills


async def test_nothing_of_a_full_queue_keeps_its_dead_letters_from_an_operator(
    url, full, start_recorder, tmp_path
):
    """Letters that were looked at often are republished, but only where the broker takes them."""
    start_recorder(url).wait_for("recording")
    await bury(url, *"abcde")
    full(100)
    for _ in range(14):
        assert await named(url) == list("abcde")

    listed = dead(url, "list", "--json")
    exported = dead(url, "export", tmp_path / "dead.jsonl")
    (first, *_) = json.loads(listed.stdout)["letters"]
    replayed = dead(url, "replay", first["id"])
    dropped = dead(url, "drop", "--reason", "invalid", "--yes")

    assert listed.returncode == exported.returncode == 0
    assert len((tmp_path / "dead.jsonl").read_text().splitlines()) == 5
    assert (replayed.returncode, replayed.stdout) == (0, "1 replayed\n")
    assert (dropped.returncode, dropped.stdout) == (0, "4 dropped\n")


async def test_a_dead_letter_that_cannot_be_delivered_is_named_and_can_be_thrown_away(
    url, start_recorder, tmp_path
):
    async with open_link(Addresses(url), "test") as link:
        if link.server_version >= (4,):
            pytest.skip("RabbitMQ delivers it from 4.0 on")
    start_recorder(url).wait_for("recording")
    await bury(url, "a", "b")
    await asyncio.to_thread(publish_with_number, url, DEAD, 42, b"{}")
    await bury(url, "c")

    listed = dead(url, "list", "--json")
    others = [
        dead(url, "export", tmp_path / "dead.jsonl"),
        dead(url, "drop", "--reason", "expired", "--yes"),
        dead(url, "replay", "--reason", "invalid"),
    ]
    # It consumes, and what is put back after that may be in another order.
    shown = dead(url, "show", "000000000000")
    dropped = dead(url, "drop", "--undeliverable", "--yes", "--json")

    assert {one["message_id"] for one in json.loads(listed.stdout)["letters"]} == {"a", "b"}
    assert listed.returncode == 1
    for said in (listed, *others):
        assert said.returncode == 1
        assert "cannot deliver dead letter 3 of 4" in said.stderr
        assert "drop --undeliverable" in said.stderr
        assert "Traceback" not in said.stderr
    assert not [*tmp_path.glob("*dead.jsonl*")], "a file of that name would be taken for all"
    # The broker closes the connection as it meets the third; by then none, one or both are confirmed.
    assert re.search("[012] are replayed", others[-1].stderr)
    assert (shown.returncode, "cannot deliver dead letter" in shown.stderr) == (1, True)
    assert json.loads(dropped.stdout) == {"dropped": 1}
    # Their acks may not have reached the broker before it closed the connection.
    assert {"c"} <= {*await named(url)} <= {"a", "b", "c"}


async def test_all_that_there_are_includes_what_cannot_be_delivered(url, start_recorder):
    start_recorder(url).wait_for("recording")
    await bury(url, "a")
    await asyncio.to_thread(publish_with_number, url, DEAD, 42, b"{}")
    await bury(url, "b")

    assert await DeadLetterAdmin(url).drop(Filter()) == 3
    assert await named(url) == []


async def test_no_header_carries_a_message_past_the_rights_of_its_publisher(url, start_recorder):
    recorder = start_recorder(url)
    recorder.wait_for("recording")
    turn = {"session_id": "s", "role": "assistant", "content": "forged"}
    notice = {"preference": {"key": "theme", "deleted": True}}
    async with (
        RecorderClient(url) as client,
        client.notifications() as heard,
        client.tail() as tail,
    ):
        for header in ("CC", "BCC"):
            keys = ["chat.turn.user", "recorder.preference.changed"]
            await publish(url, ("cluster.event.a", turn, {"headers": {header: keys}}))
            await publish(url, ("cluster.event.a", notice, {"headers": {header: keys}}))
        await client.preferences.set(key="theme", value="dark")
        async with asyncio.timeout(60):
            assert (await anext(heard)).preference.value == "dark"
        assert heard.skipped == 4
        await publish(url, (EVENT_KEY, event(1), {}))
        async with asyncio.timeout(60):
            assert (await anext(tail)).body.summary == event(1)["summary"]

    refused = await asyncio.to_thread(
        wait_until,
        lambda: len(lines := recorder.logged("dead_lettered")) == 8 and lines,
        "those in both queues are dead-lettered",
    )
    assert recorder.count("conversations") == 0
    assert {line["queue"] for line in refused} == {
        "jarvis.recorder.events", "jarvis.recorder.turns"
    }  # fmt: skip
