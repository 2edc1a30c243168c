"""The messages to a service manager, and the times at which the watchdog sends each."""

import asyncio
import os
import socket
import tempfile
from pathlib import Path

import pytest

from jarvis_recorder.daemon import watchdog as pulse_module
from jarvis_recorder.daemon.watchdog import Watchdog
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.runtime.systemd import ServiceManager
from jarvis_recorder.telemetry.status import RecorderStatus, State
from tests.support.service_manager import notify_socket


def test_what_is_said_arrives_as_one_message_in_one_line_each():
    with notify_socket() as systemd:
        assert ServiceManager(systemd.environment).tell(READY=1, STATUS="one\nSTOPPING=1\x1b[2J")
        systemd.wait_for("READY")

    assert systemd.heard[0].facts == {"READY": "1", "STATUS": "one STOPPING=1 [2J"}


def test_a_socket_may_have_a_path():
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(path))
            assert ServiceManager({"NOTIFY_SOCKET": str(path)}).tell(READY=1)
            assert listener.recv(100) == b"READY=1"


def test_no_one_and_somebody_who_does_not_listen_stop_nothing(tmp_path):
    assert not ServiceManager({}).listens
    assert not ServiceManager({}).tell(READY=1)
    assert not ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "none")}).tell(READY=1)


def test_a_manager_that_does_not_read_is_not_waited_for():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind("")
        name = deaf.getsockname()[1:].decode()
        manager = ServiceManager({"NOTIFY_SOCKET": f"@{name}"})
        taken = [manager.tell(STATUS="x" * 1_000) for _ in range(2_000)]

    assert taken[0]
    assert not taken[-1]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getpid())}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_meant_for_one_process(environment, seconds):
    assert ServiceManager(environment).watchdog_seconds == seconds


@pytest.fixture
def systemd(monkeypatch):
    """A manager that wants to hear from us every 40 ms."""
    monkeypatch.setattr(pulse_module, "_STARTING_SECONDS", 0.01)
    with notify_socket(WATCHDOG_USEC="40000") as listener:
        yield listener


@pytest.fixture
def status():
    return RecorderStatus()


@pytest.fixture
def pulse(systemd, status):
    return Watchdog(ServiceManager(systemd.environment), status, lambda: 5_000_000, asyncio.Event())


async def until(listener, name, part=""):
    await asyncio.to_thread(listener.wait_for, name, part)


async def answers():
    """Answer at once, as an idle writer does."""


async def test_it_asks_for_more_time_while_the_database_is_being_opened(pulse, systemd):
    async with pulse:
        await until(systemd, "EXTEND_TIMEOUT_USEC")

    assert not systemd.all("READY")
    assert set(systemd.all("STATUS")) == {"opening the database"}


@pytest.mark.parametrize(
    ("state", "answering"),
    [(State.RECORDING, False), (State.CONNECTING, True), (State.STORAGE_UNAVAILABLE, True)],
)
async def test_it_is_not_ready_before_it_both_records_and_answers(
    pulse, systemd, status, state, answering
):
    async with pulse:
        with pulse.watching(answers):
            status.state, status.answering = state, answering
            await until(systemd, "EXTEND_TIMEOUT_USEC")
            assert not systemd.all("READY")

            status.state, status.answering = State.RECORDING, True
            await until(systemd, "READY")
            status.answering = False
            await until(systemd, "STATUS", "not answering")

    assert systemd.all("READY") == ["1"], "it is said once"


async def test_without_an_answer_the_watchdog_is_not_fed(pulse, systemd, status):
    status.state, status.answering = State.RECORDING, True
    back = asyncio.Event()
    async with pulse:
        with pulse.watching(back.wait):
            await until(systemd, "STATUS", "has not answered")
            fed = len(systemd.all("WATCHDOG"))
            await asyncio.sleep(0.2)
            assert len(systemd.all("WATCHDOG")) == fed

            back.set()
            await asyncio.to_thread(systemd.wait_for, "WATCHDOG", after=systemd.heard[-1].at)


async def test_the_lag_is_the_age_of_the_oldest_message_under_way(pulse, systemd, status):
    status.state, status.answering = State.RECORDING, True
    async with pulse:
        with pulse.watching(answers):
            await until(systemd, "STATUS", "lag 0.0 s")
            with status.under_way(3_500_000):
                await until(systemd, "STATUS", "lag 1.5 s")
            assert status.oldest is None


async def test_what_ends_the_recorder_is_its_last_status(pulse, systemd):
    with pytest.raises(ConfigurationError):
        async with pulse:
            raise ConfigurationError("wrong user\nor password")
    await until(systemd, "STATUS", "failed: wrong user or password")
