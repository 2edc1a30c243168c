"""A recorder and its clients write no password, whatever happens to them."""

import asyncio
import json
import os
import subprocess
import sys
import traceback

import aio_pika
import httpx
import pytest

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.demo.node import PrivateNode, private_node
from jarvis_recorder.errors import RecorderError
from tests.support.caller import Asker
from tests.support.planted import PASSWORD, SOURCES, USER, assert_no_secret, given, planted_url
from tests.support.proxy import SwallowingProxy
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until
from tests.support.service_manager import notify_socket

pytestmark = pytest.mark.broker

ABSENT = planted_url(1)


@pytest.fixture(scope="module")
def node():
    with private_node() as node:
        node.ctl("add_user", USER, "--", PASSWORD)
        node.ctl("set_permissions", USER, ".*", ".*", ".*")
        yield node


class Process:
    """A command with the URL given in one of the ways there are; all that it writes is kept."""

    def __init__(self, directory, source, url, *command, **environment):
        directory.mkdir()
        self.state = directory / "state"
        self._output = directory / "output"
        arguments, more = given(source, url, directory)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("JARVIS_RECORDER")
        }
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jarvis_recorder", *command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=inherited
                | {
                    "STATE_DIRECTORY": str(self.state),
                    "JARVIS_RECORDER_LOG__LEVEL": "debug",
                    "JARVIS_RECORDER_HTTP__LISTEN": "127.0.0.1:0",
                }
                | more
                | environment,
            )

    @property
    def text(self):
        return self._output.read_text()

    def logged(self, event):
        """Return the newest line of that event."""
        lines = (json.loads(line) for line in self.text.splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event][-1]

    async def says(self, what, times=1):
        def said():
            return self.text.count(f'"event": "{what}"') >= times

        await asyncio.to_thread(wait_until, said, f"{what} is logged {times} times")

    async def end(self, *, stop=False):
        if stop:
            self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 30)


@pytest.fixture
def start(tmp_path):
    """Start commands, each in a directory of its own; those still running are killed."""
    started = []

    def run(source, url, *command, **environment):
        process = Process(tmp_path / str(len(started)), source, url, *command, **environment)
        started.append(process)
        return process

    yield run
    for one in started:
        one.process.kill()
        one.process.wait()


async def test_a_recorder_at_work_writes_no_password(node: PrivateNode, start):
    """Through a good start, dead letters, wrong questions, a cut, an absent broker, the end."""
    with notify_socket(WATCHDOG_USEC="1000000") as systemd:
        proxy = SwallowingProxy(node.port)
        async with proxy as port:
            recorder = start("credential", planted_url(port), "run", **systemd.environment)
            await recorder.says("answering")
            await recorder.says("recording")
            await publish(
                node.url,
                (EVENT_KEY, b"junk", {"message_id": "junk"}),
                (EVENT_KEY, event(1), {"message_id": "good"}),
                (EVENT_KEY, event(2), {"message_id": "odd", "content_type": "text/x"}),
            )
            await recorder.says("dead_lettered", 2)
            await recorder.says("batch_committed")
            answers = await wrong_questions(node)
            served = recorder.logged("health_served")["port"]
            for path in ("livez", "readyz", "metrics"):
                answers.append(httpx.get(f"http://127.0.0.1:{served}/{path}").text)
            proxy.cut()
            await recorder.says("recording", 2)
            await recorder.says("answering", 2)
        await recorder.says("broker_unavailable", 6)
        assert await recorder.end(stop=True) == 0
    letters = await dead_letters(node)

    assert len(letters) == 2
    assert "jarvis_recorder_stored_total" in answers[-1]
    assert_no_secret(recorder.text, *answers, *letters, str(systemd.heard))
    for file in recorder.state.iterdir():
        assert_no_secret(file.read_bytes().decode("latin-1"))


async def wrong_questions(node):
    connection = await aio_pika.connect(node.url, timeout=60)
    async with connection:
        caller = Asker(connection)
        await caller.open()
        bodies = (b"{", b"[]", b'{"jsonrpc": "2.0", "id": 1, "method": "no.such"}')
        answers = [(await caller.ask(body)).decode() for body in bodies]
        answers.append(str(await caller.call("events.get", {"id": "x"})))
        answers.append(str(await caller.call("recorder.stats")))
        return answers


async def dead_letters(node):
    connection = await aio_pika.connect(node.url, timeout=60)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue("jarvis.recorder.dead", ensure=False)
        letters = []
        while message := await queue.get(no_ack=True, fail=False):
            letters.append(f"{message.headers} {message.properties} {message.body!r}")
        return letters


async def test_a_recorder_that_cannot_begin_writes_no_password(node: PrivateNode, start):
    wrong = [start(source, planted_url(node.port, user="nobody"), "run") for source in SOURCES]
    wrong += [
        start("file", planted_url(node.port, rest="nowhere"), "run"),
        start("file", planted_url(node.port).replace("amqp:", "amqps:"), "run"),
    ]
    away = [
        start("environment", ABSENT, "run"),
        start("file", ABSENT.replace("127.0.0.1", "host.invalid"), "run"),
    ]

    assert {await one.end() for one in wrong} == {78}
    for one in away:
        await one.says("broker_unavailable", 3)
    assert {await one.end(stop=True) for one in away} == {0}
    assert all("wrong user or password" in one.text for one in wrong[: len(SOURCES)])
    assert_no_secret(*(one.text for one in (*wrong, *away)))


async def test_a_client_raises_no_password(node: PrivateNode, start):
    refused = planted_url(node.port, user="nobody")
    asked = [
        start("environment", url, *command)
        for url, command in (
            (refused, ["query", "stats"]),
            (refused, ["tail"]),
            (ABSENT, ["prefs", "list", "--json"]),
        )
    ]
    texts = []
    for url in (refused, ABSENT, ABSENT.replace("amqp:", "http:")):
        with pytest.raises(RecorderError) as raised:
            async with RecorderClient(url):
                pass
        texts.append("".join(traceback.format_exception(raised.value)) + repr(raised.value))
    async with RecorderClient(planted_url(node.port), timeout=0.3) as client:
        texts.append(repr(client))
        with pytest.raises(RecorderError) as raised:
            await client.stats()
        texts.append("".join(traceback.format_exception(raised.value)))

    assert {await one.end() for one in asked} == {69, 78}
    assert_no_secret(*texts, *(one.text for one in asked))
