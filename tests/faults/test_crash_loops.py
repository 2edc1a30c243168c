"""A message that ends the process, or the connection, again and again: it harms no other."""

import asyncio
import json
import os
import time

import pytest

from jarvis_recorder.broker.connection import open_link
from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin, Filter
from jarvis_recorder.net.addresses import Addresses
from tests.support.amqp10 import node_with_amqp10, publish_with_number
from tests.support.engines import on_both
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

# Loaded by every Python that finds it: it stands for a crash in native code, or the kernel's
# for want of memory.
KILLED_BY_POISON = """
import os, sys
if "run" in sys.orig_argv:
    from jarvis_recorder.storage.postgres.repository import PostgresRepository
    from jarvis_recorder.storage.sqlite.repository import SqliteRepository
    for repository in (PostgresRepository, SqliteRepository):
        async def killed(self, records, at, append=repository.append):
            # A record may be a row already.
            if "'poison'" in repr(records):
                os.kill(os.getpid(), 9)
            return await append(self, records, at)
        repository.append = killed
"""
GOOD = 800
LIMIT = 5


@pytest.fixture
def node():
    with node_with_amqp10() as node:
        yield node


@pytest.fixture
def poisonous(tmp_path, monkeypatch):
    """Let the recorder die of each batch that has the poison in it."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(KILLED_BY_POISON)
    monkeypatch.setenv("PYTHONPATH", str(hook), prepend=os.pathsep)


def started_and_stopped(start_recorder, url):
    """Declare the queues."""
    recorder = start_recorder(url)
    recorder.wait_for("recording")
    assert recorder.stop() == 0


def good(number, *, named=True):
    properties = {"message_id": f"good-{number}"} if named else {}
    return EVENT_KEY, event(number, summary=f"good {number}"), properties


async def survivor(start_recorder, url):
    """Start a recorder; return it where it lives until all good ones are recorded."""
    recorder = start_recorder(url)

    def has_ended():
        is_done = recorder.count() == GOOD and recorder.logged("recording")
        return recorder.process.poll() is not None or is_done

    await asyncio.to_thread(wait_until, has_ended, "it is killed, or everything is recorded")
    return recorder if recorder.process.poll() is None else None


async def given_up(url):
    return [found.letter.message_id async for found in DeadLetterAdmin(url).iterate(Filter())]


@on_both
async def test_a_message_that_kills_the_process_takes_no_other_with_it(
    node, poisonous, start_recorder
):
    started_and_stopped(start_recorder, node.url)
    limit = json.dumps({"delivery-limit": LIMIT})
    node.ctl("set_policy", "limit", "^jarvis.recorder.events$", limit, "--apply-to", "queues")
    messages = [good(number) for number in range(GOOD)]
    poison = (EVENT_KEY, event(summary="poison"), {"message_id": "poison"})
    messages.insert(GOOD // 2, poison)
    await publish(node.url, *messages)

    deaths = 0
    while (recorder := await survivor(start_recorder, node.url)) is None:
        deaths += 1
        assert deaths < 3 * LIMIT

    assert deaths > LIMIT
    assert recorder.count() == GOOD
    assert await given_up(node.url) == ["poison"]


async def test_a_message_that_cannot_be_delivered_takes_no_other_with_it(node, start_recorder):
    async with open_link(Addresses(node.url), "test") as link:
        if link.server_version >= (4,):
            pytest.skip("RabbitMQ delivers it from 4.0 on")
    started_and_stopped(start_recorder, node.url)
    await publish(node.url, *(good(number, named=number % 2) for number in range(20)))
    await asyncio.to_thread(
        publish_with_number, node.url, f"/exchange/jarvis/{EVENT_KEY}", 42, b"{}"
    )
    await publish(node.url, *(good(number, named=number % 2) for number in range(20, 40)))
    turn = {"session_id": "s", "role": "user", "content": "meanwhile"}
    await publish(node.url, ("chat.turn.user", turn, {}))

    began = time.monotonic()
    recorder = start_recorder(node.url)
    await asyncio.to_thread(wait_until, lambda: recorder.count("conversations"), "the turn")
    await asyncio.to_thread(wait_until, lambda: recorder.count() == 40, "all events", 60)
    took = time.monotonic() - began

    summaries = [summary for (summary,) in recorder.rows("SELECT summary FROM events")]
    assert sorted(summaries) == sorted(f"good {number}" for number in range(40))
    assert took < 45
    assert recorder.stop() == 0
