"""Whether the recorder is well: judged from facts, each finding with what to do about it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from jarvis_recorder.telemetry.check import LEAST_FREE_BYTES
from jarvis_recorder.telemetry.status import Progress, State

LONGEST_SILENCE_SECONDS: Final = 3.0
LONGEST_LAG_SECONDS: Final = 10.0
_MIB: Final = 1024 * 1024


class Check(NamedTuple):
    """One thing that has to be so; `remedy` says what to do where it is not."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


class Storage(NamedTuple):
    """What the storage has said; `free_bytes` is None until it has."""

    refusal: str | None
    silent_seconds: float
    free_bytes: int | None
    quarantined: Path | None = None


def judge(progress: Progress, storage: Storage, now: int) -> Sequence[Check]:
    """Return all checks; the recorder is ready if each is ok. `now` is in microseconds."""
    return (
        _broker(progress),
        _consumers(progress),
        _answering(progress),
        _commits(progress, now),
        _dead_letters(progress),
        _storage(progress, storage),
        _disk(storage),
        _damage(storage),
    )


def is_ready(checks: Sequence[Check]) -> bool:
    return all(check.ok for check in checks)


def _broker(progress: Progress) -> Check:
    if progress.connected:
        return Check("broker", True, "connected")
    return Check(
        "broker",
        False,
        "not connected",
        "see that RabbitMQ runs and that broker.url leads to it; the log says what failed",
    )


def _consumers(progress: Progress) -> Check:
    if progress.state is State.STOPPING:
        return Check("consumers", False, "stopping", "start the recorder again")
    if progress.attached:
        return Check("consumers", True, "every queue is consumed")
    return Check(
        "consumers",
        False,
        "not all queues are consumed",
        "see that the queues exist and may be read; the recorder tries again by itself",
    )


def _answering(progress: Progress) -> Check:
    if progress.answering:
        return Check("answering", True, "questions are answered")
    return Check(
        "answering",
        False,
        "no questions are answered",
        "see that the queue of requests exists and may be read; it is tried again by itself",
    )


def _commits(progress: Progress, now: int) -> Check:
    if progress.oldest is None:
        return Check("commits", True, "nothing waits")
    lag = progress.lag_seconds(now)
    if lag <= LONGEST_LAG_SECONDS:
        return Check("commits", True, f"the oldest message has waited {lag:.1f} s")
    return Check(
        "commits",
        False,
        f"no commit for {lag:.0f} s although messages wait",
        "see what holds the database or slows its disk down; the broker keeps the messages",
    )


def _dead_letters(progress: Progress) -> Check:
    if not progress.letters_waiting:
        return Check("dead_letters", True, "none is waiting for their queue")
    return Check(
        "dead_letters",
        False,
        f"the queue of dead letters takes nothing: {progress.letters_waiting:,} messages wait for it",
        "if it is full make room: `jarvis-recorder dead export`, then `dead drop` or `dead replay`; "
        "else see whether the broker is in an alarm",
    )


def _storage(progress: Progress, storage: Storage) -> Check:
    refusal = storage.refusal
    if refusal is None and storage.silent_seconds > LONGEST_SILENCE_SECONDS:
        refusal = f"the database has not answered for {storage.silent_seconds:.0f} s"
    if refusal is None and progress.state is State.STORAGE_UNAVAILABLE:
        refusal = "the database does not take the records"
    if refusal is None:
        return Check("storage", True, "writable")
    return Check(
        "storage",
        False,
        refusal,
        "end what holds the database, or mend its disk; nothing is lost while the broker has room",
    )


def _disk(storage: Storage) -> Check:
    free = storage.free_bytes
    if free is None:
        return Check("disk", True, "not asked yet")
    if free >= LEAST_FREE_BYTES:
        return Check("disk", True, f"{free // _MIB:,} MiB free")
    return Check(
        "disk",
        False,
        f"only {free / _MIB:.1f} MiB free",
        "make room on the disk of store.url, or move the database to a larger one",
    )


def _damage(storage: Storage) -> Check:
    if storage.quarantined is None:
        return Check("damage", True, "none is waiting to be looked at")
    return Check(
        "damage",
        False,
        f"the database was damaged, and recording goes on in a new one; {storage.quarantined}",
        "see what can be saved of it, then `jarvis-recorder db acknowledge`",
    )
