"""A failure of the storage dead-letters nothing and loses nothing."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import fill_up, mounted
from tests.support.engines import on_both
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", 4) as disk:
        yield disk


async def test_a_full_disk_stops_recording_until_there_is_room(
    amqp_url, start_recorder, small_disk
):
    recorder = start_recorder(amqp_url, path=small_disk / "recorder.db")
    recorder.wait_for("recording")
    ballast = fill_up(small_disk, but=100_000)
    messages = [
        (EVENT_KEY, event(number, details="x" * 1_000), {"message_id": f"full-{number}"})
        for number in range(500)
    ]
    await publish(amqp_url, *messages)
    outage = recorder.wait_for("storage_unavailable")

    ballast.unlink()
    room = time.monotonic()
    wait_until(lambda: recorder.count() == len(messages), "all are recorded")

    assert time.monotonic() - room < 10.0
    assert "SQLITE_FULL" in outage["error"]
    recorder.wait_for("storage_available")
    assert recorder.stop() == 0
    assert not recorder.logged("dead_lettered")
    assert recorder.rows("SELECT count(DISTINCT message_id) FROM events") == [(len(messages),)]


async def test_a_disk_that_stays_full_does_not_use_up_the_deliveries(
    amqp_url, start_recorder, small_disk
):
    """More than the intake holds waits: the messages go back once, and not again and again."""
    recorder = start_recorder(amqp_url, path=small_disk / "recorder.db")
    recorder.wait_for("recording")
    large = [event(number, details="x" * 100) for number in range(10_000)]
    await publish(
        amqp_url, *((EVENT_KEY, large, {"message_id": f"large-{number}"}) for number in range(5))
    )
    recorder.wait_for("storage_unavailable")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 15.0, "some time with a full disk", 20.0)

    assert len(recorder.logged("recording")) <= 2
    assert not recorder.logged("dead_lettered")
    recorder.kill()


@on_both
async def test_a_stop_does_not_wait_for_a_database_that_is_away(amqp_url, start_recorder, recorded):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    with recorded.away():
        await publish(amqp_url, (EVENT_KEY, event(1), {"message_id": "waiting"}))
        recorder.wait_for("storage_unavailable")
        assert recorder.stop(10.0) == 0

    again = start_recorder(amqp_url)
    wait_until(lambda: again.count() == 1, "it came again, and is recorded")


@pytest.mark.slow
@on_both
async def test_a_database_that_is_away_for_a_while_only_delays(amqp_url, start_recorder, recorded):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    with recorded.away():
        gone = time.monotonic()
        await publish(
            amqp_url, *((EVENT_KEY, event(n), {"message_id": f"late-{n}"}) for n in range(50))
        )
        recorder.wait_for("storage_unavailable")
        wait_until(lambda: time.monotonic() - gone > 20.0, "20 s have passed")
        assert recorder.count() == 0
    returned = time.monotonic()
    wait_until(lambda: recorder.count() == 50, "all are recorded")

    assert time.monotonic() - returned < 10.0
    assert recorder.stop() == 0
    assert not recorder.logged("dead_lettered")
    assert len(recorder.logged("recording")) == 1, "the broker was not troubled"


async def test_a_failed_sync_ends_the_process(amqp_url, start_recorder, tmp_path):
    """After a failed sync no one knows which pages were written, so nothing may be acked."""
    library = tmp_path / "nosync.so"
    source = tmp_path / "nosync.c"
    source.write_text(
        "#include <errno.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
        'static int fail(void) { if (access(getenv("FAIL_SYNC"), F_OK) == 0) '
        "{ errno = EIO; return -1; } return 0; }\n"
        "int fsync(int fd) { return fail(); }\nint fdatasync(int fd) { return fail(); }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    switch = tmp_path / "fail"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(library))
        patch.setenv("FAIL_SYNC", str(switch))
        recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    switch.touch()
    await publish(amqp_url, (EVENT_KEY, event(1), {"message_id": "unsure"}))

    assert recorder.process.wait(10) == 1
    assert "SQLITE_IOERR_FSYNC" in str(list(recorder.lines()))

    again = start_recorder(amqp_url)
    again.wait_for("recording")
    assert again.stop() == 0
    assert again.count() == 1
