"""The examples, each run as its reader would run it, in front of a real recorder."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import aio_pika
import pytest

pytestmark = pytest.mark.broker

EXAMPLES = Path(__file__).parents[2] / "examples"

needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="Node.js is not installed")
needs_tools = pytest.mark.skipif(
    shutil.which("amqp-publish") is None, reason="amqp-tools is not installed"
)
ALL = [
    pytest.param([sys.executable, "python_client.py"], id="python"),
    pytest.param([sys.executable, "aio_pika_plain.py"], id="aio-pika"),
    pytest.param(["node", "node_amqplib.mjs"], id="amqplib", marks=needs_node),
    pytest.param(["./shell_amqp_tools.sh"], id="amqp-tools", marks=needs_tools),
]


def run(command: list[str], *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    if command[0] == "node" and not (EXAMPLES / "node_modules" / "amqplib").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=EXAMPLES, check=True)
    return subprocess.run(
        [*command, *arguments],
        cwd=EXAMPLES,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("command", ALL)
async def test_an_example_publishes_an_event_and_reads_it_back(command, amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    recorder.wait_for("answering")
    shown = ""
    async with asyncio.timeout(30):
        # Recording and answering do not wait for each other: it may be there a moment later.
        while "cpu of pve1 above 90 %" not in shown:
            ran = await asyncio.to_thread(run, command, amqp_url)
            assert ran.returncode == 0, ran.stderr
            assert ran.stderr == ""
            published, _, shown = ran.stdout.partition("\n")

    identity = published.removeprefix("published ")
    found = "SELECT source, node, severity FROM events WHERE message_id = ?"
    async with asyncio.timeout(30):
        while not recorder.rows(found, identity):
            await asyncio.sleep(0.05)
    assert recorder.rows(found, identity) == [("monitor", "pve1", "warning")]
    assert recorder.count() == len(recorder.rows("SELECT DISTINCT message_id FROM events"))


@pytest.mark.parametrize("command", ALL)
async def test_an_example_takes_the_broker_from_the_environment(command):
    ran = await asyncio.to_thread(run, command, AMQP_URL="amqp://guest:guest@127.0.0.1:1/")

    assert ran.returncode != 0
    assert ran.stdout == ""


async def test_the_python_example_says_what_is_missing():
    ran = await asyncio.to_thread(
        run, [sys.executable, "python_client.py"], "amqp://guest:guest@127.0.0.1:1/"
    )

    assert ran.returncode == 69
    assert "is RabbitMQ running there?" in ran.stderr


@needs_tools
async def test_the_shell_example_leaves_no_queue_behind(amqp_url, start_recorder):
    start_recorder(amqp_url).wait_for("answering")
    names = run(["sh", "-x", "shell_amqp_tools.sh"], amqp_url).stderr
    queue = next(word for word in names.split() if word.startswith("reply_to=")).partition("=")[2]

    connection = await aio_pika.connect(amqp_url, timeout=10)
    async with connection:
        channel = await connection.channel()
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.get_queue(queue, ensure=True)
