"""Health turns red within 5 s of a failure, says which, and turns green again by itself."""

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aio_pika
import pytest

from jarvis_recorder.demo.node import private_node
from tests.support.engines import SQLITE, on_both
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import RecorderProcess, wait_until

pytestmark = pytest.mark.broker

RED_SECONDS = 5.0


def ready(recorder: RecorderProcess) -> bool:
    return recorder.readiness()["ready"]


def turns_green(recorder: RecorderProcess) -> None:
    wait_until(lambda: ready(recorder), "ready")


def turns_red(recorder: RecorderProcess, *names: str) -> dict[str, str]:
    """Return what each failed check says, once all of these have failed."""

    def found():
        answer = recorder.readiness()
        return answer if answer["failed"] >= set(names) else None

    answer = wait_until(found, f"not ready: {names}", RED_SECONDS)
    assert all(check["remedy"] for check in answer["checks"] if not check["ok"])
    return {check["name"]: check["detail"] for check in answer["checks"] if not check["ok"]}


@on_both
async def test_it_is_ready_once_it_records_and_answers(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    turns_green(recorder)

    status, body = recorder.get("/livez")
    assert (status, '"alive":true' in body) == (200, True)
    assert recorder.readiness()["failed"] == set()
    assert recorder.get("/elsewhere")[0] == 404
    assert recorder.stop() == 0


def test_a_broker_that_goes_away_and_comes_back(start_recorder):
    with private_node() as node:
        recorder = start_recorder(node.url)
        turns_green(recorder)
        node.kill()
        turns_red(recorder, "broker", "consumers", "answering")
        assert recorder.get("/livez")[0] == 200
        node.start()
        turns_green(recorder)
        assert recorder.stop() == 0


async def delete(url: str, queue: str) -> None:
    async with await aio_pika.connect(url, timeout=60) as connection:
        channel = await connection.channel()
        await channel.queue_delete(queue)


@pytest.mark.parametrize(
    ("queue", "check"),
    [("jarvis.recorder.turns", "consumers"), ("jarvis.recorder.rpc", "answering")],
)
async def test_a_deleted_queue_is_reported_and_made_again(amqp_url, start_recorder, queue, check):
    recorder = start_recorder(amqp_url)
    await asyncio.to_thread(turns_green, recorder)
    # It is made anew within a fraction of a second: somebody has to look all the time.
    red = asyncio.create_task(asyncio.to_thread(turns_red, recorder, check))
    await delete(amqp_url, queue)
    await red
    await asyncio.to_thread(turns_green, recorder)
    assert recorder.stop() == 0


@on_both
async def test_a_database_that_is_away_while_nothing_is_to_be_recorded(
    amqp_url, start_recorder, recorded, engine
):
    recorder = start_recorder(amqp_url)
    turns_green(recorder)
    why = "SQLITE_BUSY" if engine == SQLITE else "connection"
    with recorded.away():
        # Before that it may be said that the database has not answered in time.
        wait_until(lambda: why in turns_red(recorder, "storage")["storage"], why)
    turns_green(recorder)
    assert recorder.stop() == 0


async def test_a_database_file_that_was_moved_away(amqp_url, start_recorder, database):
    recorder = start_recorder(amqp_url)
    turns_green(recorder)
    database.rename(database.with_name("elsewhere.db"))
    assert await asyncio.to_thread(recorder.process.wait, RED_SECONDS) == 1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MiB. Mounting needs root, in CI as in a container."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=700", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


async def test_a_full_disk_while_nothing_is_to_be_recorded(amqp_url, start_recorder, disk):
    recorder = start_recorder(amqp_url, path=disk / "recorder.db")
    turns_green(recorder)
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 50_000))
    assert "MiB free" in turns_red(recorder, "disk")["disk"]

    await publish(
        amqp_url,
        *(
            (EVENT_KEY, event(number, details="x" * 1_000), {"message_id": f"full-{number}"})
            for number in range(500)
        ),
    )
    turns_red(recorder, "disk", "storage")
    ballast.unlink()
    turns_green(recorder)
    assert recorder.stop() == 0


async def test_a_stop_waits_for_no_one_who_asks(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    turns_green(recorder)
    served = recorder.wait_for("health_served")
    with closing(socket.create_connection((served["host"], served["port"]))):
        began = time.monotonic()
        assert recorder.stop(8.0) == 0
    assert time.monotonic() - began < 8.0


async def test_an_address_in_use_is_a_clear_error(amqp_url, start_recorder, tmp_path):
    recorder = start_recorder(amqp_url)
    served = recorder.wait_for("health_served")
    address = f"{served['host']}:{served['port']}"
    second = start_recorder(amqp_url, f"http.listen={address}", path=tmp_path / "second.db")
    assert second.process.wait(15) == 78
    said = str(list(second.lines()))
    assert f"http.listen: cannot listen on {address}" in said
    assert "Traceback" not in said
    assert recorder.stop() == 0


async def test_nothing_listens_where_no_address_is_given(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url, "http.listen=")
    recorder.wait_for("answering")
    assert recorder.stop() == 0
    assert not recorder.logged("health_served")


def test_idle_connections_make_no_one_ill(amqp_url, start_recorder):
    """A probe that only connects, or says half of what it wants, shuts out no other."""
    recorder = start_recorder(amqp_url)
    turns_green(recorder)
    served = recorder.wait_for("health_served")
    for sent in (b"", b"GET /livez HTTP/1.1\r\nX-A: "):
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                address = (served["host"], served["port"])
                one = stack.enter_context(socket.create_connection(address, 5))
                with contextlib.suppress(OSError):
                    one.sendall(sent)
            assert recorder.get("/livez")[0] == 200
            assert recorder.get("/readyz")[0] == 200
