"""The demo does what it shows."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import aio_pika
import httpx
import pytest

from tests.support.gateway import free_port
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker


def demo(url, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "demo", "--broker", url, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "80", "JARVIS_RECORDER_LOG__LEVEL": "no setting takes part"},
    )


def test_everything_is_recorded_once_or_dead_lettered(amqp_url, tmp_path):
    answer = demo(amqp_url, "--json", "--keep", tmp_path)

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stderr == ""
    outcome = json.loads(answer.stdout)
    assert outcome["mismatches"] == []
    assert {name: counts["rows"] for name, counts in outcome["recorded"].items()} == {
        "events": 178,
        "conversations": 13,
        "cluster_snapshots": 60,
    }
    assert outcome["duplicates"]["recognised"] == 13
    assert sorted(one["headers"]["x-recorder-reason"] for one in outcome["dead_letters"]) == [
        *["id_collision"],
        *["invalid"] * 5,
        *["not_json", "too_large", "undecodable", "unsupported_encoding"],
    ]
    with closing(sqlite3.connect(tmp_path / "recorder.db")) as connection:
        severest = "SELECT summary FROM events WHERE severity = 'critical'"
        assert connection.execute(severest).fetchall() == [
            ("[Monitor] NODE_DOWN: pve changed from online to offline",)
        ]
        cost = "SELECT count(*) FROM conversations WHERE model = 'claude' AND cost_usd > '0'"
        assert connection.execute(cost).fetchone() == (4,)


def test_it_reads_at_eighty_columns(amqp_url):
    answer = demo(amqp_url)

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert max(map(len, answer.stdout.splitlines())) <= 80
    assert "…" not in answer.stdout.replace("…   ", ""), "nothing but session ids is cut short"


async def test_it_takes_no_message_that_is_somebody_elses(amqp_url):
    assert demo(amqp_url, "--json").returncode == 0
    await publish(amqp_url, (EVENT_KEY, event(), {"message_id": "not the demo's"}))

    answer = demo(amqp_url, "--json")

    assert answer.returncode == 78
    assert "queue jarvis.recorder.events is in use (1 messages, 0 consumers)" in answer.stderr
    assert await first_id(amqp_url, "jarvis.recorder.events") == "not the demo's"


async def first_id(url, queue):
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        message = await (await channel.get_queue(queue)).get()
        await message.ack()
        return message.message_id


def test_the_dashboard_shows_the_story_going_on_until_it_is_asked_to_stop(amqp_url):
    arguments = ["demo", "--ui", "--broker", amqp_url, "--listen", f"127.0.0.1:{free_port()}"]
    with subprocess.Popen(
        [sys.executable, "-m", "jarvis_recorder", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            said = [process.stdout.readline().split() for _ in range(2)]
            with httpx.Client(base_url=said[0][1]) as client:
                assert "<title>jarvis recorder</title>" in client.get("/").text
                login = client.post("/api/auth/login", json={"password": said[1][1]}).json()
                client.headers["Authorization"] = f"Bearer {login['token']}"
                told = client.get("/api/stats").json()["holdings"]["events"]["count"]
                wait_until(
                    lambda: client.get("/api/stats").json()["holdings"]["events"]["count"] > told,
                    "something more happens",
                )
        finally:
            process.send_signal(signal.SIGINT)

    assert process.returncode == 0
