"""A database that is damaged under a running recorder costs nothing that the broker still has."""

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.files import PAGE, ids, make
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import RecorderProcess, wait_until

pytestmark = pytest.mark.broker

# More than the recorder's connection keeps in memory, where no damage would reach it.
_MANY = 120_000
_NEW = 500


@pytest.fixture
def filled(database: Path) -> Path:
    return make(database, _MANY)


def damage(database: Path) -> None:
    """Overwrite every page but the first under the recorder's feet."""
    with database.open("r+b") as file:
        size = database.stat().st_size
        file.seek(PAGE)
        file.write(b"\xa5" * (size - PAGE))
        os.fsync(file.fileno())


async def publish_among_the_old(url: str) -> set[str]:
    """Publish events with times all over those that are there, and return their identities."""
    chance = random.Random(20261123)
    times = [f"1970-01-01T00:00:00.{chance.randrange(_MANY):06}Z" for _ in range(_NEW)]
    names = [f"new-{number}" for number in range(_NEW)]
    messages = [
        (EVENT_KEY, event(timestamp=time), {"message_id": name})
        for time, name in zip(times, names, strict=True)
    ]
    await publish(url, *messages)
    return set(names)


async def until_recorded(recorder: RecorderProcess, names: set[str]) -> None:
    def recorded() -> bool:
        return names <= {one for (one,) in recorder.rows("SELECT message_id FROM events")}

    await asyncio.to_thread(wait_until, recorded, "what was not acked is recorded")


def jarvis(recorder: RecorderProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*arguments, f"--set=store.url=sqlite:///{recorder.path}"]
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_recording_stops_says_what_to_do_and_takes_no_message_at_the_next_start(
    amqp_url, start_recorder, filled
):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    damage(filled)
    names = await publish_among_the_old(amqp_url)

    assert await asyncio.to_thread(recorder.process.wait, 20) == 1
    assert "db restore" in recorder.logged("database_damaged")[0]["error"]
    again = start_recorder(amqp_url)
    assert await asyncio.to_thread(again.process.wait, 20) == 1
    assert not again.logged("recording"), "the broker counts no delivery"

    for path in filled.parent.glob("recorder.db*"):
        path.rename(path.with_name(f"aside-{path.name}"))
    new = start_recorder(amqp_url)
    await until_recorded(new, names)
    assert new.stop() == 0
    assert not new.logged("dead_lettered")


async def test_in_quarantine_recording_continues_and_nothing_unacked_is_lost(
    amqp_url, start_recorder, filled
):
    recorder = start_recorder(amqp_url, "store.on_corruption=quarantine")
    recorder.wait_for("recording")
    damage(filled)
    names = await publish_among_the_old(amqp_url)

    aside = (await asyncio.to_thread(recorder.wait_for, "database_quarantined"))["path"]
    await until_recorded(recorder, names)
    assert recorder.logged("quarantine_waits")[0]["path"] == aside
    assert recorder.stop() == 0
    assert ids(filled) >= names

    acknowledged = await asyncio.to_thread(jarvis, recorder, "db", "acknowledge", "--json")
    assert json.loads(acknowledged.stdout)["acknowledged"] == [aside]
    calm = start_recorder(amqp_url)
    await asyncio.to_thread(calm.wait_for, "recording")
    assert calm.stop() == 0
    assert not calm.logged("quarantine_waits")


async def test_damage_that_only_a_request_meets_stops_recording_too(
    amqp_url, start_recorder, filled
):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("answering")
    damage(filled)

    asked = await asyncio.to_thread(
        jarvis, recorder, "query", "events", "--set", f"broker.url={amqp_url}"
    )

    assert asked.returncode != 0
    assert "Traceback" not in asked.stderr
    assert await asyncio.to_thread(recorder.process.wait, 20) == 1
    assert recorder.logged("database_damaged")
