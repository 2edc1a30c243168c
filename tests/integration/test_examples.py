"""Every example does what it says, against a running recorder."""

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import aio_pika
import pytest

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
CLIENT = ROOT / "docs" / "client.md"
ANY_BROKER = "amqp://guest:guest@localhost:5672/"


def npm_ci() -> None:
    """Install what the examples in Node.js need, where it is not there."""
    if not (EXAMPLES / "node_modules" / "amqplib").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=EXAMPLES, check=True)


def test_the_examples_are_tried():
    """A new example has to be named below."""
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".mjs", ".sh")}
    assert names == {
        "python_client.py", "aio_pika_plain.py", "node_amqplib.mjs", "shell_amqp_tools.sh",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        ((sys.executable, "python_client.py"), None),
        ((sys.executable, "aio_pika_plain.py"), None),
        pytest.param(
            ("node", "node_amqplib.mjs"),
            npm_ci,
            marks=pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
        ),
        pytest.param(
            ("./shell_amqp_tools.sh",),
            None,
            marks=pytest.mark.skipif(
                shutil.which("amqp-publish") is None, reason="amqp-tools is not installed"
            ),
        ),
    ],
)
async def test_an_example_publishes_and_asks(amqp_url, start_recorder, command, needs):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("answering")
    recorder.wait_for("recording")
    if needs:
        needs()

    await until_its_event_is_printed([*command, amqp_url])

    assert recorder.count() >= 1


async def test_the_client_of_the_docs_publishes_and_asks(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("answering")
    recorder.wait_for("recording")
    (program,) = re.findall(r"```python\n(.+?)```", CLIENT.read_text(), re.DOTALL)
    assert ANY_BROKER in program

    await until_its_event_is_printed([sys.executable, "-c", program.replace(ANY_BROKER, amqp_url)])


async def until_its_event_is_printed(command: list[str]) -> None:
    """Run a program again and again: it may ask before its event is recorded."""
    async with asyncio.timeout(60):
        while True:
            done = await asyncio.to_thread(
                subprocess.run,
                command,
                cwd=EXAMPLES,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            if "pve1 changed from online to offline" in done.stdout:
                return


@pytest.mark.skipif(shutil.which("amqp-publish") is None, reason="amqp-tools is not installed")
async def test_the_shell_example_gives_up_and_leaves_no_queue_behind(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("answering")
    assert recorder.stop() == 0

    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-x", "shell_amqp_tools.sh", amqp_url],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 69
    assert "does a recorder run" in done.stderr
    words = (word.partition("=") for word in done.stderr.split())
    queue = next(value for name, _, value in words if name == "replies")
    async with await aio_pika.connect(amqp_url, timeout=60) as connection:
        channel = await connection.channel()
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.get_queue(queue, ensure=True)
