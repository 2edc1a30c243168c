"""The commands that ask a running recorder."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.support import scenario
from tests.support.publisher import publish
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker


@pytest.fixture
async def recorder(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("answering")
    recorder.wait_for("recording")
    return recorder


def start(url, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "jarvis_recorder", *arguments],
        env=os.environ | {"JARVIS_RECORDER_BROKER__URL": url, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(url, *arguments):
    process = start(url, *arguments)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


async def test_what_was_recorded_is_shown_and_changed(amqp_url, recorder):
    await publish(amqp_url, *scenario.FILL)
    await asyncio.to_thread(wait_until, lambda: recorder.count("conversations") == 2, "recorded")

    assert "NODE_DOWN" in run(amqp_url, "query", "events", "--severity", "critical")[1]
    assert "power supply" in run(amqp_url, "query", "turns", "s-1")[1]
    found = json.loads(run(amqp_url, "query", "events", "--json")[1])
    assert found["events"][0]["timestamp"] == "2026-11-23T08:00:00.000000Z"
    assert "resolved by guest" in run(amqp_url, "resolve", "1")[1]
    assert run(amqp_url, "prefs", "set", "ui.theme", "dark")[0] == 0
    assert run(amqp_url, "prefs", "get", "ui.theme")[1] == "dark\n"
    code, out, err = run(amqp_url, "prefs", "set", "ui.theme", "x", "--expected-version", "9")
    assert (code, out) == (1, "")
    assert "stands at version 1" in err
    code, _, err = run(amqp_url, "query", "events", "--set", "broker.url=amqp://127.0.0.1:1/")
    assert code == 69
    assert "Traceback" not in err


async def test_tail_shows_what_is_published_until_it_is_stopped(amqp_url, recorder):
    process = start(amqp_url, "tail", "--json")
    reading = asyncio.create_task(asyncio.to_thread(process.stdout.readline))
    async with asyncio.timeout(20):
        while not reading.done():
            await publish(amqp_url, scenario.FILL[1])
            await asyncio.wait({reading}, timeout=0.5)
    assert json.loads(await reading)["node"] == "pve1"

    process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(process.wait, 10) == 0
    assert process.stderr.read() == ""
    process.stdout.close()
    process.stderr.close()
