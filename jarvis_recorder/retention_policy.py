"""
The retention rules. Pure: each decides by the facts of a row alone.

An unresolved alert never expires, nor does the newest snapshot of a cluster: a request for
the cluster's current state always has a result.
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
The lead over the clock from which a time counts as in the future.

A local time taken for UTC lies up to fourteen hours ahead; what such a publisher sends
is the newest there is, and counts as current.
"""
UNSET: Final = 1_577_836_800_000_000
"""The beginning of 2020, before any recorder: a clock that shows less was never set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """
    The days for which each kind is kept; 0 is for ever.

    Snapshots of a cluster older than `snapshots_hourly_after` or `snapshots_daily_after` days
    are thinned to the last of each hour, or of each day.
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
        """Return the time before which an event may expire, None if none does."""
        return _before(min((days for days in self.events.values() if days), default=0), now)

    def turn_horizon(self, now: int) -> int | None:
        """Return the time before which a turn expires, None if none does."""
        return _before(self.turns, now)

    def snapshot_horizon(self, now: int) -> int | None:
        """Return the time before which a snapshot may expire, None if none does."""
        ages = (self.snapshots_hourly_after, self.snapshots_daily_after, self.snapshots)
        return _before(min((days for days in ages if days), default=0), now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """
    The bounds of a database: in time by `policy`, in bytes by the others, where 0 means no bound.

    `budget` is the most that database and log take together, `keep_free` the disk space they leave.
    """

    policy: RetentionPolicy = field(default_factory=RetentionPolicy)
    budget: int = 0
    keep_free: int = 0


UNBOUNDED: Final = Bounds()
"""Keeps everything, whatever space it takes."""


class ExpiringEvent(NamedTuple):
    """The facts that decide about an event; its age counts from `timestamp`, in microseconds."""

    id: int
    timestamp: int
    severity: str
    is_open_alert: bool


class SnapshotFacts(NamedTuple):
    """The facts that decide about a snapshot; its age counts from `timestamp`, in microseconds."""

    id: int
    timestamp: int


def event_horizons(policy: RetentionPolicy, now: int) -> dict[Severity, int]:
    """Return for each severity the time before which its events expire, none where none does."""
    return {severity: now - days * DAY for severity, days in policy.events.items() if days}


def events_to_go(events: Sequence[ExpiringEvent], policy: RetentionPolicy, now: int) -> list[int]:
    """Return the ids of the expired events."""
    horizons = event_horizons(policy, now)
    return [
        event.id
        for event in events
        if not event.is_open_alert
        and (horizon := horizons.get(event.severity)) is not None  # type: ignore[call-overload]
        and event.timestamp < horizon
    ]


def snapshots_to_go(
    snapshots: Sequence[SnapshotFacts], policy: RetentionPolicy, now: int
) -> list[int]:
    """
    Return the ids of one cluster's snapshots that are expired or thinned out.

    `snapshots` are in the order of their times. The last one is never returned, as its successor
    is not known. A snapshot in the future succeeds none: the newest before it stays.
    """
    gone = _before(policy.snapshots, now)
    daily = _before(policy.snapshots_daily_after, now)
    hourly = _before(policy.snapshots_hourly_after, now)
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
    Return the policies to apply in turn while there is too little space, each keeping less.

    The last day always stays whole: an operator may be looking at it.
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
