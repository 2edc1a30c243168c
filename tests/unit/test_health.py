"""The health checks, and their texts for each failure."""

from pathlib import Path

import pytest

from jarvis_recorder.monitoring.health import (
    LEAST_FREE_BYTES,
    LONGEST_LAG_SECONDS,
    LONGEST_SILENCE_SECONDS,
    Storage,
    health_checks,
    is_ready,
)
from jarvis_recorder.net.listen_address import host_and_port, reachable_at
from jarvis_recorder.ports import StorageHealth
from jarvis_recorder.telemetry.status import RecorderStatus, State

NOW = 1_800_000_000_000_000
HEALTH = StorageHealth(0, 4096, 0, LEAST_FREE_BYTES)
WELL = Storage(None, 0.0, HEALTH)


def at_work() -> RecorderStatus:
    status = RecorderStatus(connected=True, answering=True)
    status.attach()
    return status


def failed(status: RecorderStatus, storage: Storage = WELL) -> set[str]:
    checks = health_checks(status, storage, NOW)
    assert all(check.remedy for check in checks if not check.ok), "each says what to do"
    assert is_ready(checks) is all(check.ok for check in checks)
    return {check.name for check in checks if not check.ok}


def test_what_records_and_answers_is_ready():
    assert failed(at_work()) == set()


def test_what_has_just_begun_is_not_ready():
    assert failed(RecorderStatus()) == {"broker", "consumers", "answering"}


def test_an_alarm_of_the_broker_is_told_with_its_reason_until_it_ends_everywhere():
    status = at_work()
    status.note_alarm("recording", "low on disk")
    status.note_alarm("answering", "low on disk")

    assert failed(status) == {"broker"}
    (check,) = [check for check in health_checks(status, WELL, NOW) if not check.ok]
    assert check.detail.endswith("accepts nothing: low on disk")

    status.note_alarm("answering", None)
    assert failed(status) == {"broker"}
    status.note_alarm("recording", None)
    assert failed(status) == set()


def test_messages_that_wait_for_the_queue_of_dead_letters_are_told_with_their_number():
    status = at_work()
    status.dead_letters_waiting = 2_000

    assert failed(status) == {"dead_letters"}
    (check,) = [check for check in health_checks(status, WELL, NOW) if not check.ok]
    assert "2,000 messages wait" in check.detail


def test_a_session_that_is_gone_is_told_at_once():
    status = at_work()
    status.detach()
    assert failed(status) == {"broker", "consumers"}
    assert status.state is State.CONNECTING


def test_what_stops_is_not_ready_while_it_finishes():
    status = at_work()
    status.state = State.STOPPING
    assert failed(status) == {"consumers"}


@pytest.mark.parametrize(
    ("storage", "check"),
    [
        (Storage("the database is locked", 0.0, HEALTH), "storage"),
        (Storage(None, LONGEST_SILENCE_SECONDS + 0.1, HEALTH), "storage"),
        (Storage(None, 0.0, HEALTH._replace(free_bytes=LEAST_FREE_BYTES - 1)), "disk"),
        (Storage(None, 0.0, HEALTH._replace(quarantined=Path("damaged"))), "damage"),
        (Storage(None, 0.0, HEALTH._replace(incidents_failure="OverflowError")), "incidents"),
    ],
)
def test_a_storage_that_refuses_hangs_or_is_full_is_reported(storage, check):
    assert failed(at_work(), storage) == {check}


def test_a_storage_that_was_not_probed_yet_is_no_fault():
    assert failed(at_work(), Storage(None, 0.0, None)) == set()


def test_a_storage_that_did_not_take_the_last_batch_is_reported():
    status = at_work()
    status.state = State.STORAGE_UNAVAILABLE
    assert failed(status) == {"storage"}


@pytest.mark.parametrize(
    ("age", "expected"),
    [(-60.0, set()), (LONGEST_LAG_SECONDS, set()), (LONGEST_LAG_SECONDS + 1, {"commits"})],
)
def test_messages_that_wait_without_a_commit_are_reported(age, expected):
    """A clock that was set back makes nobody ill."""
    status = at_work()
    with status.under_way(NOW - round(age * 1e6)):
        assert failed(status) == expected
    assert failed(status) == set()


@pytest.mark.parametrize(
    ("age", "expected"), [(LONGEST_LAG_SECONDS, set()), (LONGEST_LAG_SECONDS + 1, {"commits"})]
)
def test_messages_that_are_not_even_decoded_are_reported(age, expected):
    status = at_work()
    status.oldest_undecoded = NOW - round(age * 1e6)

    assert failed(status) == expected
    assert status.lag_seconds(NOW) == age
    with status.under_way(NOW):
        assert failed(status) == expected


@pytest.mark.parametrize(
    ("listen", "parts", "asked_at"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464), ("127.0.0.1", 9464)),
        ("0.0.0.0:80", ("0.0.0.0", 80), ("127.0.0.1", 80)),
        ("[::]:80", ("::", 80), ("::1", 80)),
        ("pve.lan:0", ("pve.lan", 0), ("pve.lan", 0)),
    ],
)
def test_an_address_is_read(listen, parts, asked_at):
    assert host_and_port(listen) == parts
    assert reachable_at(listen) == asked_at


@pytest.mark.parametrize(
    "listen",
    ["9464", ":9464", "::1:9464", "host:", "host:x", "h:65536", "h:-1", "h:\u0661", "[]:1"],
)
def test_what_is_no_address_is_refused(listen):
    with pytest.raises(ValueError, match="HOST:PORT"):
        host_and_port(listen)
