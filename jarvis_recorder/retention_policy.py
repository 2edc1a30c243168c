"""
What is kept for how long. Pure: rules, and what they say of a row.

An alert that nobody has resolved is never old enough to go, nor is the newest snapshot of a
cluster: whoever asks what state it is in now gets an answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, NamedTuple

from jarvis_recorder.wire.records import Severity

DAY: Final = 86_400 * 1_000_000
HOUR: Final = 3_600 * 1_000_000
FUTURE: Final = 15 * HOUR
"""
How far ahead of the clock a moment may lie without being one of the future.

A local time that was taken for UTC lies up to fourteen hours ahead: whatever such a publisher sends
is in force all the same, as it is the newest there is.
"""
UNSET: Final = 1_577_836_800_000_000
"""The beginning of 2020, before any recorder: a clock that shows less has not been set yet, and tells nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """
    For how many days each kind is kept; 0 is for ever.

    Of the snapshots of a cluster the last of each hour, or of each day, is kept once they are
    as old as `snapshots_hourly_after` or `snapshots_daily_after` days.
    """

    events: Mapping[Severity, int] = field(default_factory=dict)
    snapshots_hourly_after: int = 0
    snapshots_daily_after: int = 0
    snapshots: int = 0
    turns: int = 0

    @property
    def keeps_everything(self) -> bool:
        return self == RetentionPolicy(events=dict.fromkeys(self.events, 0))

    def event_horizon(self, now: int) -> int | None:
        """Return before which moment an event may have to go, None where none has to."""
        return _before(min((days for days in self.events.values() if days), default=0), now)

    def turn_horizon(self, now: int) -> int | None:
        """Return before which moment a turn has to go."""
        return _before(self.turns, now)

    def snapshot_horizon(self, now: int) -> int | None:
        """Return before which moment a snapshot may have to go."""
        ages = (self.snapshots_hourly_after, self.snapshots_daily_after, self.snapshots)
        return _before(min((days for days in ages if days), default=0), now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """
    The bounds of a database: in time by `policy`, in bytes by the others, where 0 is none.

    `budget` is what database and log may take together, `keep_free` what they leave of the disk.
    """

    policy: RetentionPolicy = field(default_factory=RetentionPolicy)
    budget: int = 0
    keep_free: int = 0


UNBOUNDED: Final = Bounds()
"""Everything is kept, whatever room it takes."""


class EventFacts(NamedTuple):
    """What decides about an event; `timestamp` in microseconds."""

    id: int
    timestamp: int
    severity: str
    is_open_alert: bool


class SnapshotFacts(NamedTuple):
    """What decides about a snapshot; `timestamp` in microseconds."""

    id: int
    timestamp: int


def events_to_go(events: Sequence[EventFacts], keeping: RetentionPolicy, now: int) -> list[int]:
    """Return the ids of those that are too old."""
    horizons = {severity: _before(days, now) for severity, days in keeping.events.items()}
    return [
        event.id
        for event in events
        if not event.is_open_alert
        and (horizon := horizons.get(event.severity)) is not None  # type: ignore[call-overload]
        and event.timestamp < horizon
    ]


def snapshots_to_go(
    snapshots: Sequence[SnapshotFacts], keeping: RetentionPolicy, now: int
) -> list[int]:
    """
    Return the ids of those of one cluster that are too old, or too many.

    They are in the order of their times; about the last one nothing is said, since it is not
    known whether another follows. One of the future follows none: the newest before it stays.
    """
    gone = _before(keeping.snapshots, now)
    daily = _before(keeping.snapshots_daily_after, now)
    hourly = _before(keeping.snapshots_hourly_after, now)
    return [
        this.id
        for this, following in pairwise(snapshots)
        if following.timestamp <= now + FUTURE
        and (
            _is_before(this, gone)
            or (_is_before(this, daily) and _in_one(DAY, this, following))
            or (_is_before(this, hourly) and _in_one(HOUR, this, following))
        )
    ]


def eviction_steps() -> Sequence[RetentionPolicy]:
    """
    Return what goes first where there is too little room, each keeping less than the one before.

    The last day stays whole, whatever happens: it is what somebody is looking at.
    """
    thinned = RetentionPolicy(snapshots_hourly_after=1)
    sparse = replace(thinned, snapshots_daily_after=7)
    without_info = replace(sparse, events={"info": 1})
    without_warnings = replace(without_info, events={"info": 1, "warning": 1})
    few_snapshots = replace(without_warnings, snapshots=30)
    few_turns = replace(few_snapshots, turns=30)
    without_errors = replace(few_turns, events=dict.fromkeys(("info", "warning", "error"), 1))
    last_day = RetentionPolicy(
        events=dict.fromkeys(("info", "warning", "error", "critical"), 1),
        snapshots_hourly_after=1,
        snapshots_daily_after=1,
        snapshots=1,
        turns=1,
    )
    return (
        thinned,
        sparse,
        without_info,
        without_warnings,
        few_snapshots,
        few_turns,
        without_errors,
        last_day,
    )


def _before(days: int, now: int) -> int | None:
    return now - days * DAY if days else None


def _is_before(snapshot: SnapshotFacts, horizon: int | None) -> bool:
    return horizon is not None and snapshot.timestamp < horizon


def _in_one(span: int, one: SnapshotFacts, other: SnapshotFacts) -> bool:
    return one.timestamp // span == other.timestamp // span
