"""The recoveries that snapshots show: when, and as often as without a backlog."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from jarvis_recorder.incidents.signals import Effect
from jarvis_recorder.retention_policy import UNSET
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.incidents.evidence import (
    OlderSnapshots,
    ProblemTime,
    SearchRange,
    Sighting,
    Up,
)
from jarvis_recorder.storage.tables import events, incident_actions, incident_signals
from jarvis_recorder.wire.times import to_datetime, to_micros

_MOST_SIGNALS: Final = 200

_signals: Final = incident_signals.c
_actions: Final = incident_actions.c
_SAID: Final = (int(Effect.PROBLEM), int(Effect.RECOVERY))


class Recoveries:
    """The recoveries of one step; what is read of older snapshots for them is bounded."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._older = OlderSnapshots(connection)

    def between_problems(self, row: Row[Any], seen: Sighting, look: SearchRange) -> Iterator[Up]:
        """
        Yield when the object of a condition was first shown up, after each problem that was not over.

        Raises:
            SearchedEnough: As `OlderSnapshots.first_up`.
        """
        said = self._said(row.condition_id, look.problems)
        for (at, effect), (following, next_effect) in pairwise(said):
            if effect == next_effect == Effect.PROBLEM:
                problem = self._problem(row.condition_id, at)
                after = max(at, look.snapshots)
                up_at = self._older.first_up(problem, seen, after, following)
                if up_at is not None:
                    yield up_at

    def since_last_problem(self, row: Row[Any], seen: Sighting, last_at: int) -> Up | None:
        """
        Return when an object was first shown up, since it failed or was opened again.

        It may be down in the newest snapshot, and up in one that was stored with it. Raises as
        `between_problems`.
        """
        if not seen.is_up and not self._older.has_any(seen.cluster, last_at, seen.at):
            return None
        reopened = select(micros(func.max(_actions.timestamp))).where(
            _actions.key == row.key, _actions.effect == int(Effect.REOPEN)
        )
        problem = self._problem(row.condition_id, to_micros(row.last_at))
        reopened_at = self._connection.execute(reopened).scalar() or problem.at
        problem = problem._replace(at=max(problem.at, reopened_at))
        after = max(last_at, problem.at)
        if seen.at <= after:
            return None
        up_at = self._older.first_up(problem, seen, after, seen.at)
        if up_at is None and seen.is_up:
            shown_at = problem.shown_at(seen.at, seen.recorded_at)
            return None if shown_at is None else Up(shown_at, seen.recorded_at)
        return up_at

    def _problem(self, condition_id: int, at: int) -> ProblemTime:
        """Return a problem by its time; the clock of one whose event is pruned counts as right."""
        recording = (
            select(micros(events.c.recorded_at))
            .join(incident_signals, _signals.event_id == events.c.id)
            .where(
                _signals.condition_id == condition_id,
                _signals.timestamp == to_datetime(at),
                _signals.effect == int(Effect.PROBLEM),
            )
        )
        recorded_at = self._connection.execute(recording.limit(1)).scalar()
        if recorded_at is None or recorded_at < UNSET:
            return ProblemTime(at, 0)
        return ProblemTime(at, max(0, at - recorded_at))

    def _said(self, condition_id: int, since: int) -> list[tuple[int, int]]:
        """Return the newest problems and recoveries with their times, oldest first."""
        signals = select(micros(_signals.timestamp), _signals.effect).where(
            _signals.condition_id == condition_id
        )
        before = (
            signals.where(
                _signals.effect == int(Effect.PROBLEM), _signals.timestamp < to_datetime(since)
            )
            .order_by(_signals.timestamp.desc())
            .limit(1)
        )
        last = self._connection.execute(before).first()
        start = since if last is None else last[0]
        newest_first = (
            signals.where(_signals.effect.in_(_SAID), _signals.timestamp >= to_datetime(start))
            .order_by(_signals.timestamp.desc(), _signals.effect.desc())
            .limit(_MOST_SIGNALS)
        )
        found = self._connection.execute(newest_first).all()
        return [(at, effect) for at, effect in reversed(found)]
