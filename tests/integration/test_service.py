"""The recorder's notifications to systemd, read from the notification socket."""

import asyncio
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import aio_pika
import pytest
from yarl import URL

from jarvis_recorder.broker.topology import QUEUES
from jarvis_recorder.storage import revisions
from tests.support.engines import rows
from tests.support.proxy import SwallowingProxy
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until
from tests.support.service_manager import notify_socket

pytestmark = [pytest.mark.broker, pytest.mark.slow]

WATCHDOG_SECONDS = 1.0
NO_BROKER = "amqp://guest:guest@127.0.0.1:1/"


@pytest.fixture
def systemd(monkeypatch):
    """Listen as systemd would; recorders started meanwhile know of it."""
    with notify_socket(WATCHDOG_USEC=str(round(WATCHDOG_SECONDS * 1e6))) as listener:
        for name, value in listener.environment.items():
            monkeypatch.setenv(name, value)
        yield listener


async def consumers(url):
    """Return how many read each queue that the recorder reads."""
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        names = [queue.name for queue in QUEUES if not queue.name.endswith(".dead")]
        queues = [await channel.declare_queue(name, passive=True) for name in names]
        return [queue.declaration_result.consumer_count for queue in queues]


def passed(seconds):
    """Let time pass in which something must, or must not, be heard."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, "time passes", seconds + 5)


async def test_it_is_ready_when_the_schema_is_there_and_every_queue_has_its_consumer(
    amqp_url, start_recorder, systemd, database
):
    recorder = start_recorder(amqp_url)
    systemd.wait_for("READY")

    assert await consumers(amqp_url) == [1, 1, 1, 1]
    assert rows(database, "SELECT version_num FROM alembic_version") == [(revisions.HEAD,)]
    ready = next(heard.at for heard in systemd.heard if "READY" in heard.facts)
    systemd.wait_for("STATUS", "recording: ", after=ready)
    assert not systemd.since(ready, "EXTEND_TIMEOUT_USEC")
    assert recorder.stop() == 0
    assert systemd.all("READY") == ["1"]
    assert systemd.heard[-1].facts == {"STOPPING": "1", "STATUS": "stopping"}


async def test_the_status_tells_how_it_goes(amqp_url, start_recorder, systemd):
    recorder = start_recorder(amqp_url)
    systemd.wait_for("READY")
    batch = [event(number, id=f"e-{number}") for number in range(500)]
    await publish(amqp_url, (EVENT_KEY, batch, {}), (EVENT_KEY, b"junk", {}))

    systemd.wait_for("STATUS", "500 stored, 1 dead-lettered")

    rates = [status.split("/s")[0] for status in systemd.all("STATUS") if "/s" in status]
    assert max(float(rate.removeprefix("recording: ")) for rate in rates) > 0
    assert recorder.stop() == 0


async def test_it_asks_for_more_time_as_long_as_the_broker_is_away(start_recorder, systemd):
    recorder = start_recorder(NO_BROKER)
    systemd.wait_for("STATUS", "waiting for the broker")
    began = time.monotonic()
    passed(2 * WATCHDOG_SECONDS)

    assert systemd.since(began, "EXTEND_TIMEOUT_USEC")
    assert not systemd.all("READY")
    assert recorder.stop() == 0
    assert systemd.all("STOPPING") == ["1"]


def test_what_ends_it_is_its_last_status(amqp_url, start_recorder, systemd):
    recorder = start_recorder(amqp_url.replace("guest:guest", "guest:wrong"))

    assert recorder.process.wait(15) == 78
    wait_until(lambda: "wrong user or password" in systemd.all("STATUS")[-1], "it says why")
    assert not systemd.all("READY")


async def test_a_broker_that_goes_away_is_no_reason_to_be_restarted(
    amqp_url, start_recorder, systemd
):
    address = URL(amqp_url)
    async with SwallowingProxy(address.port) as port:
        recorder = start_recorder(str(address.with_host("127.0.0.1").with_port(port)))
        await asyncio.to_thread(systemd.wait_for, "READY")
    systemd.wait_for("STATUS", "waiting for the broker")
    began = time.monotonic()
    passed(2 * WATCHDOG_SECONDS)

    assert len(systemd.since(began, "WATCHDOG")) >= 2
    assert not systemd.since(began, "EXTEND_TIMEOUT_USEC"), "it has been ready"
    assert recorder.stop() == 0


async def test_the_watchdog_is_fed_while_idle_while_busy_and_while_the_storage_is_away(
    amqp_url, start_recorder, systemd, database
):
    recorder = start_recorder(amqp_url)
    systemd.wait_for("READY")
    began = time.monotonic()
    passed(WATCHDOG_SECONDS)
    assert len(systemd.since(began, "WATCHDOG")) >= 2, "idle"

    batch = [event(number) for number in range(5_000)]
    await publish(
        amqp_url, *((EVENT_KEY, batch, {"message_id": f"b-{number}"}) for number in range(10))
    )
    busy = time.monotonic()
    wait_until(lambda: recorder.count() == 50_000, "all is recorded", 60)
    assert len(systemd.since(busy, "WATCHDOG")) >= (time.monotonic() - busy) / WATCHDOG_SECONDS - 1

    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await publish(amqp_url, (EVENT_KEY, event(1), {"message_id": "waiting"}))
        systemd.wait_for("STATUS", "waiting for the storage")
        away = time.monotonic()
        systemd.wait_for("WATCHDOG", after=away)
        passed(0.1)
        systemd.wait_for("WATCHDOG", after=time.monotonic())
    systemd.wait_for("STATUS", "50001 stored")
    assert recorder.stop() == 0


async def test_the_watchdog_is_silent_while_the_writer_hangs(
    amqp_url, start_recorder, systemd, tmp_path, monkeypatch
):
    """A sync that does not come back is what a disk does that is gone."""
    source = tmp_path / "hang.c"
    source.write_text(
        "#include <stdlib.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n"
        'static void hang(void) { while (access(getenv("HANG_SYNC"), F_OK) == 0) usleep(10000); }\n'
        "int fsync(int fd) { hang(); return syscall(SYS_fsync, fd); }\n"
        "int fdatasync(int fd) { hang(); return syscall(SYS_fdatasync, fd); }\n"
    )
    library, switch = tmp_path / "hang.so", tmp_path / "hang"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    with monkeypatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(library))
        patch.setenv("HANG_SYNC", str(switch))
        recorder = start_recorder(amqp_url)
    systemd.wait_for("READY")
    switch.touch()
    await publish(amqp_url, (EVENT_KEY, event(1), {"message_id": "slow"}))
    systemd.wait_for("STATUS", "has not answered")

    hung = time.monotonic()
    passed(2 * WATCHDOG_SECONDS)
    assert systemd.since(hung, "STATUS"), "the loop turns"
    assert not systemd.since(hung, "WATCHDOG")

    switch.unlink()
    back = time.monotonic()
    systemd.wait_for("WATCHDOG", after=back)
    wait_until(lambda: recorder.count() == 1, "what hung is recorded")
    assert recorder.stop() == 0


async def test_the_journal_learns_where_a_process_hung_that_the_watchdog_ends(
    amqp_url, start_recorder, systemd
):
    recorder = start_recorder(amqp_url)
    systemd.wait_for("READY")

    recorder.process.send_signal(signal.SIGABRT)

    assert recorder.process.wait(10) == -signal.SIGABRT
    text = str(list(recorder.lines()))
    assert "Fatal Python error: Aborted" in text
    assert "aiosqlite" in text, "all threads, the writer's with them"
