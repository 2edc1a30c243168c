"""Health checks of a running recorder, each with a remedy."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from jarvis_recorder.ports import StorageHealth
from jarvis_recorder.telemetry.check import LEAST_FREE_BYTES
from jarvis_recorder.telemetry.status import RecorderStatus, State

LONGEST_SILENCE_SECONDS: Final = 3.0
LONGEST_LAG_SECONDS: Final = 10.0
_MIB: Final = 1024 * 1024


class HealthCheck(NamedTuple):
    """The result of one check; `remedy` is the fix if it is not ok."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


class Storage(NamedTuple):
    """The storage's latest answer; `health` is None before the first."""

    refusal: str | None
    silent_seconds: float
    health: StorageHealth | None


def health_checks(status: RecorderStatus, storage: Storage, now: int) -> Sequence[HealthCheck]:
    """Return all checks; the recorder is ready if each is ok. `now` is in microseconds."""
    return (
        _broker(status),
        _consumers(status),
        _answering(status),
        _commits(status, now),
        _dead_letters(status),
        _storage(status, storage),
        _disk(storage.health),
        _damage(storage.health),
        _incidents(storage.health),
    )


def is_ready(checks: Sequence[HealthCheck]) -> bool:
    return all(check.ok for check in checks)


def _broker(status: RecorderStatus) -> HealthCheck:
    if not status.connected:
        return HealthCheck(
            "broker",
            False,
            "not connected",
            "see that RabbitMQ runs and that broker.url leads to it; the log says what failed",
        )
    if status.alarms:
        reasons = ", ".join(sorted(set(status.alarms.values())))
        return HealthCheck(
            "broker",
            False,
            f"connected, but the broker is in an alarm and accepts nothing: {reasons}",
            "give the broker's machine memory or disk, as `rabbitmq-diagnostics alarms` says; until "
            "then no one can publish, and replies and dead letters wait",
        )
    return HealthCheck("broker", True, "connected")


def _consumers(status: RecorderStatus) -> HealthCheck:
    if status.state is State.STOPPING:
        return HealthCheck("consumers", False, "stopping", "start the recorder again")
    if status.attached:
        return HealthCheck("consumers", True, "every queue is consumed")
    return HealthCheck(
        "consumers",
        False,
        "not all queues are consumed",
        "see that the queues exist and may be read; the recorder tries again by itself",
    )


def _answering(status: RecorderStatus) -> HealthCheck:
    if status.answering:
        return HealthCheck("answering", True, "requests are answered")
    return HealthCheck(
        "answering",
        False,
        "no requests are answered",
        "see that the queue of requests exists and may be read; it is tried again by itself",
    )


def _commits(status: RecorderStatus, now: int) -> HealthCheck:
    if status.waiting_since is None:
        return HealthCheck("commits", True, "nothing waits")
    lag = status.lag_seconds(now)
    if lag <= LONGEST_LAG_SECONDS:
        return HealthCheck("commits", True, f"the oldest message has waited {lag:.1f} s")
    return HealthCheck(
        "commits",
        False,
        f"no commit for {lag:.0f} s although messages wait",
        "see what holds the database or slows its disk down, or who sends messages that take long "
        "to read; the broker keeps the messages",
    )


def _dead_letters(status: RecorderStatus) -> HealthCheck:
    if not status.dead_letters_waiting:
        return HealthCheck("dead_letters", True, "none is waiting for their queue")
    return HealthCheck(
        "dead_letters",
        False,
        f"the queue of dead letters takes nothing: {status.dead_letters_waiting:,} messages wait for it",
        "if it is full make room: `jarvis-recorder dead export`, then `dead drop` or `dead replay`; "
        "else see whether the broker is in an alarm",
    )


def _storage(status: RecorderStatus, storage: Storage) -> HealthCheck:
    refusal = storage.refusal
    if refusal is None and storage.silent_seconds > LONGEST_SILENCE_SECONDS:
        refusal = f"the database has not answered for {storage.silent_seconds:.0f} s"
    if refusal is None and status.state is State.STORAGE_UNAVAILABLE:
        refusal = "the database does not take the records"
    if refusal is None:
        return HealthCheck("storage", True, "writable")
    return HealthCheck(
        "storage",
        False,
        refusal,
        "end what holds the database, or fix its disk; nothing is lost while the broker has room",
    )


def _disk(health: StorageHealth | None) -> HealthCheck:
    free = health.free_bytes if health else None
    if free is None:
        return HealthCheck("disk", True, "not known: it is a server's, or was not asked yet")
    if free >= LEAST_FREE_BYTES:
        return HealthCheck("disk", True, f"{free // _MIB:,} MiB free")
    return HealthCheck(
        "disk",
        False,
        f"only {free / _MIB:.1f} MiB free",
        "make room on the disk of store.url, or move the database to a larger one",
    )


def _damage(health: StorageHealth | None) -> HealthCheck:
    if health is None or health.quarantined is None:
        return HealthCheck("damage", True, "none is waiting to be looked at")
    return HealthCheck(
        "damage",
        False,
        f"the database was damaged, and recording continues in a new one; {health.quarantined}",
        "see what can be saved of it, then `jarvis-recorder db acknowledge`",
    )


def _incidents(health: StorageHealth | None) -> HealthCheck:
    if health is None or health.incidents_failure is None:
        return HealthCheck("incidents", True, "they are kept")
    return HealthCheck(
        "incidents",
        False,
        f"they are not kept, though events are recorded: {health.incidents_failure}",
        "do what it says; where it names a line of the program, report it as a bug",
    )
