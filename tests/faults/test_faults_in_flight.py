"""Faults of storage, broker and process while SQLite's thread has two full batches."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jarvis_recorder.ingest.intake import MAX_BATCH_RECORDS
from tests.support.disks import fill_up, mounted
from tests.support.proxy import SwallowingProxy
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import RecorderProcess, wait_until

pytestmark = pytest.mark.broker

BATCHES = 4
# A disk whose syncs take as long as a file is there, and then fail if another is.
SLOW_DISK = """
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int there(const char *name) { return access(getenv(name), F_OK) == 0; }
static int sync_slowly(void) {
    while (there("HELD_SYNC")) usleep(2000);
    if (there("FAIL_SYNC")) { errno = EIO; return -1; }
    return 0;
}
int fsync(int fd) { return sync_slowly(); }
int fdatasync(int fd) { return sync_slowly(); }
"""
# Writes a file once the thread has two batches. No other writer comes between: one that waits for
# the held sync would have its turn before the second batch.
WATCHED = """
import sys
if "run" in sys.orig_argv:
    import asyncio, os
    from jarvis_recorder.monitoring.storage_probe import StorageProbe
    from jarvis_recorder.storage.sqlite import maintenance, upkeep
    from jarvis_recorder.storage.write_queue import WriteQueue
    maintenance._FIRST_AFTER_SECONDS = upkeep._LOOK_SECONDS = 3_600.0
    StorageProbe.run = lambda _: asyncio.sleep(3_600.0)
    take = WriteQueue.take
    async def watched(turn, place):
        await take(turn, place)
        if len(turn._holders) == 2:
            open(os.environ["TWO_IN_FLIGHT"], "w").close()
    WriteQueue.take = watched
"""


class Disk:
    """The switches of a disk whose syncs can be held, and made to fail."""

    def __init__(self, directory: Path) -> None:
        self.held = directory / "held"
        self.failing = directory / "failing"
        self.two_in_flight = directory / "two"

    def answer(self) -> None:
        self.held.unlink()


@pytest.fixture
def disk(tmp_path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture
def start_on(disk, tmp_path, start_recorder) -> Callable[..., RecorderProcess]:
    """Start recorders on the slow disk."""
    source, library = tmp_path / "slow.c", tmp_path / "slow.so"
    source.write_text(SLOW_DISK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(WATCHED)

    def start(url: str, **where: Path) -> RecorderProcess:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(library))
            patch.setenv("HELD_SYNC", str(disk.held))
            patch.setenv("FAIL_SYNC", str(disk.failing))
            patch.setenv("TWO_IN_FLIGHT", str(disk.two_in_flight))
            patch.setenv("PYTHONPATH", f"{hook}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
            return start_recorder(url, **where)

    return start


def names(batch: int) -> list[str]:
    return [f"{batch}-{number}" for number in range(MAX_BATCH_RECORDS)]


async def until(condition: Callable[[], Any], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what, 60.0)


async def two_in_flight(url: str, recorder: RecorderProcess, disk: Disk) -> None:
    """Publish full batches to a recorder; return once its thread has two and waits for a sync."""
    await asyncio.to_thread(recorder.wait_for, "recording")
    # What the keeper of incidents writes once would be what waits for the disk.
    await until(lambda: recorder.rows("SELECT rules FROM incident_progress") != [("",)], "it kept")
    disk.held.touch()
    for batch in range(BATCHES):
        body = [event(number, id=name) for number, name in enumerate(names(batch))]
        await publish(url, (EVENT_KEY, body, {"message_id": f"batch-{batch}", "delivery_mode": 2}))
    await until(disk.two_in_flight.exists, "two batches are in flight")
    assert recorder.count() == 0


def stored(recorder: RecorderProcess) -> list[str]:
    return [name for (name,) in recorder.rows("SELECT message_id FROM events ORDER BY id")]


ALL = [name for batch in range(BATCHES) for name in names(batch)]


async def all_are_stored_once(recorder: RecorderProcess) -> None:
    """Not in order: a message that returns to its queue may be delivered behind the next one."""
    await asyncio.to_thread(recorder.wait_for, "recording")
    await until(lambda: recorder.count() >= len(ALL), "all are recorded")
    assert sorted(stored(recorder)) == sorted(ALL)
    assert await asyncio.to_thread(recorder.stop) == 0
    assert not recorder.logged("dead_lettered")


async def test_behind_a_failed_sync_nothing_is_stored_or_acked(
    amqp_url, start_recorder, start_on, disk
):
    recorder = start_on(amqp_url)
    await two_in_flight(amqp_url, recorder, disk)
    disk.failing.touch()
    disk.answer()

    assert await asyncio.to_thread(recorder.process.wait, 20) == 1
    assert "SQLITE_IOERR_FSYNC" in str(list(recorder.lines()))
    # The frames of the first may be in the log, although no one knows whether on disk.
    assert stored(recorder) in ([], names(0))

    again = start_recorder(amqp_url)
    await all_are_stored_once(again)


async def test_a_kill_with_two_in_flight_loses_nothing_and_doubles_nothing(
    amqp_url, start_recorder, start_on, disk
):
    recorder = start_on(amqp_url)
    await two_in_flight(amqp_url, recorder, disk)

    recorder.kill()

    await all_are_stored_once(start_recorder(amqp_url))


async def test_a_stop_with_two_in_flight_records_and_acks_both(
    amqp_url, start_recorder, start_on, disk
):
    recorder = start_on(amqp_url)
    await two_in_flight(amqp_url, recorder, disk)

    recorder.process.terminate()
    await asyncio.to_thread(recorder.wait_for, "stopping")
    disk.answer()

    assert await asyncio.to_thread(recorder.process.wait, 20) == 0
    assert stored(recorder)[: 2 * MAX_BATCH_RECORDS] == names(0) + names(1)
    again = start_recorder(amqp_url)
    await all_are_stored_once(again)
    assert again.logged("stopped")[0]["duplicates"] == 0, "what was stored was acked"


async def test_a_connection_lost_with_two_in_flight_costs_only_a_redelivery(
    amqp_url, start_on, disk
):
    proxy = SwallowingProxy(urlsplit(amqp_url).port or 5672)
    async with proxy as port:
        here = amqp_url.replace(f":{urlsplit(amqp_url).port}", f":{port}")
        recorder = start_on(here)
        await two_in_flight(amqp_url, recorder, disk)

        proxy.cut()
        await asyncio.to_thread(recorder.wait_for, "broker_unavailable")
        disk.answer()

        await all_are_stored_once(recorder)
        assert stored(recorder)[: 2 * MAX_BATCH_RECORDS] == names(0) + names(1)
        assert recorder.logged("stopped")[0]["stored"] == len(ALL)


async def test_a_disk_that_gets_full_with_two_in_flight_delays_them_in_their_order(
    amqp_url, start_on, disk, tmp_path
):
    with mounted(tmp_path / "small", 64) as small:
        recorder = start_on(amqp_url, path=small / "recorder.db")
        await two_in_flight(amqp_url, recorder, disk)
        ballast = fill_up(small)
        disk.answer()
        await asyncio.to_thread(recorder.wait_for, "storage_unavailable")
        assert stored(recorder) in ([], names(0))

        ballast.unlink()

        await until(lambda: recorder.count() == len(ALL), "all are recorded")
        assert stored(recorder) == ALL, "nothing went back to the broker"
        await all_are_stored_once(recorder)
        assert "SQLITE_FULL" in str(recorder.logged("storage_unavailable"))
