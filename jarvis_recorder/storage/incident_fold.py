"""One step of the incidents: what new signals and snapshots make of them, in one transaction."""

import contextlib
import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Connection,
    CursorResult,
    Row,
    Select,
    func,
    insert,
    literal,
    null,
    select,
    update,
)

from jarvis_recorder.incidents.rules import Rules
from jarvis_recorder.incidents.signals import Condition, Effect, Signal
from jarvis_recorder.incidents.state import Incident, fold_ordered, next_incidents, with_late
from jarvis_recorder.storage.announcements import announce
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.incident_evidence import NewestSnapshots, Sighting
from jarvis_recorder.storage.incident_pruning import thin_recoveries
from jarvis_recorder.storage.incident_recoveries import Recoveries
from jarvis_recorder.storage.incident_rows import (
    IncidentRow,
    add_incidents,
    begin_of_incident,
    change_incidents,
    delete_incidents,
    incidents_of,
    newest_incidents,
    to_incident_row,
)
from jarvis_recorder.storage.queries.incidents import ACTIVE, found_incident, is_silenced
from jarvis_recorder.storage.tables import (
    incident_actions,
    incident_conditions,
    incident_signals,
    incidents,
)
from jarvis_recorder.wire.notifications import (
    INCIDENT_OPENED,
    INCIDENT_RECOVERED,
    INCIDENT_RESOLVED,
)
from jarvis_recorder.wire.times import EARLIEST, to_datetime

_NEWS_MICROS: Final = 24 * 3_600 * 1_000_000
_MOST_DOUBTFUL: Final = 5_000
# As many as a step folds again before it leaves further conditions to those behind it.
_MOST_FOLDED: Final = 5_000
# Not all in memory before the first is folded, and on a server not all in one turn of the loop.
_FETCHED_AS_READ: Final = {"stream_results": True, "max_row_buffer": 1_000}

_conditions: Final = incident_conditions.c
_signals: Final = incident_signals.c
_actions: Final = incident_actions.c
_stored: Final = incidents.c
_INSERT_SIGNAL: Final = insert(incident_signals)
STALE: Final = (
    select(_conditions.id, _conditions.key, _conditions.kind).where(_conditions.stale).limit(1)
)
"""
A condition of which an event was resolved, or opened again, or of which a signal came late in a step
that had folded enough: all is to be folded again.
"""

_SHOWN: Final = (
    select(
        incidents, _conditions.key, _conditions.kind, _conditions.evidence, _conditions.shown_as,
        _conditions.cluster,
    )
    .join(incident_conditions, _conditions.id == _stored.condition_id)
    .where(_conditions.evidence.is_not(None))
)  # fmt: skip
# The incidents that are a problem, and may be shown otherwise by a snapshot.
_DOUBTFUL: Final = (
    _SHOWN.where(_stored.state.in_(ACTIVE)).order_by(_stored.last_at.desc()).limit(_MOST_DOUBTFUL)
)


class ReadSignal(NamedTuple):
    """A signal that an event gave, and the condition it is about."""

    event_id: int
    condition: Condition
    signal: Signal


class _Change(NamedTuple):
    """The newest incident of a condition before and after a step; each may be missing."""

    key: str
    before: Incident | None
    after: Incident | None


class _Known(NamedTuple):
    """The row of a condition, and its kind."""

    id: int
    kind: str


class Fold:
    """
    One step: takes signals, stores what they make of the incidents, and tells of it.

    Rows are read and written for all conditions together, however many have changed.
    """

    def __init__(self, connection: Connection, rules: Rules, now: int) -> None:
        self._connection = connection
        self._rules = rules
        self._now = now
        self._changes: list[_Change] = []
        self._first_problems: dict[str, int] = {}
        self._signals_left = _MOST_FOLDED

    def take(self, read: Sequence[ReadSignal]) -> None:
        """Store the signals that are new, and fold the conditions they are about."""
        known = self._stored_signals({one.event_id for one in read}) if read else set()
        new = [one for one in read if (one.event_id, int(one.signal.effect)) not in known]
        if not new:
            return
        conditions = self._made_conditions(new)
        signals: dict[str, list[Signal]] = defaultdict(list)
        for one in new:
            signals[one.condition.key].append(one.signal)
            if one.signal.effect is Effect.PROBLEM and one.condition.evidence is not None:
                first = self._first_problems.get(one.condition.key, one.signal.at)
                self._first_problems[one.condition.key] = min(first, one.signal.at)
        self._connection.execute(
            _INSERT_SIGNAL,
            [
                _signal_row(conditions[one.condition.key].id, one.signal, one.event_id)
                for one in new
            ],
        )
        self._fold(conditions, signals)
        for key, said in signals.items():
            if recovered := [one.at for one in said if one.effect is Effect.RECOVERY]:
                thin_recoveries(self._connection, conditions[key].id, recovered)

    def refold_stale(self) -> None:
        """Fold all signals of a stale condition, unless this step has folded enough."""
        stale = self._connection.execute(STALE).first()
        if stale is not None and self._signals_left > 0:
            again = self._folded_again(stale.key, _Known(stale.id, stale.kind))
            self._write([again])
            self._mark(stale.id, stale=False)
            if again.is_begun:
                self._first_problems[stale.key] = again.after[-1].first_at

    def is_any_stale(self) -> bool:
        """Return whether there is a condition to be folded again."""
        return self._connection.execute(STALE).first() is not None

    def _mark(self, condition_id: int, *, stale: bool) -> None:
        this = update(incident_conditions).where(_conditions.id == condition_id)
        self._connection.execute(this.values(stale=stale))

    def show(self, snapshots: NewestSnapshots) -> None:
        """Note what snapshots show of the objects of incidents that are a problem, or were."""
        rows = self._to_be_shown()
        asked = {(row.evidence, row.shown_as) for row in rows}
        shown = snapshots.look(asked, anyway=bool(self._first_problems))
        if shown is not None:
            self._compare(rows, {row.id: snapshots.seen_once(shown, row) for row in rows})

    def _compare(self, rows: Iterable[Row[Any]], seen_by: Mapping[int, Sighting | None]) -> None:
        recoveries = Recoveries(self._connection)
        newer = []
        recovered: dict[str, list[Signal]] = {}
        conditions = {}
        for row in rows:
            if (seen := seen_by[row.id]) is None:
                continue
            kept = to_incident_row(row)
            times = [*self._recoveries(recoveries, row, kept, seen)]
            if not kept.incident.is_over and _is_older(kept.evidence_at, seen.at):
                newer.append(kept._replace(evidence_at=seen.at))
            if times:
                recovered[row.key] = [Signal(at, Effect.RECOVERY) for at in times]
                conditions[row.key] = _Known(row.condition_id, row.kind)
        change_incidents(self._connection, newer)
        if recovered:
            self._connection.execute(
                _INSERT_SIGNAL,
                [
                    _signal_row(conditions[key].id, signal, None)
                    for key, signals in recovered.items()
                    for signal in signals
                ],
            )
            self._fold(conditions, recovered)

    def _recoveries(
        self, recoveries: Recoveries, row: Row[Any], kept: IncidentRow, seen: Sighting
    ) -> Iterator[int]:
        incident = kept.incident
        since = self._first_problems.get(row.key, incident.last_at)
        if _is_older(kept.evidence_at, min(incident.last_at, seen.at)):
            since = min(since, kept.evidence_at or incident.first_at)
        if since < incident.last_at or row.key in self._first_problems:
            yield from recoveries.between_problems(row, seen, since)
        if not incident.is_over and seen.is_up and seen.at > incident.last_at:
            last = recoveries.since_last_problem(row, seen, incident.last_at)
            if last is not None:
                yield last

    def _to_be_shown(self) -> Collection[Row[Any]]:
        """Return the incidents that are a problem, and the newest of those with a new one."""
        rows = {row.id: row for row in self._connection.execute(_DOUBTFUL)}
        if self._first_problems:
            same = incidents.alias()
            newest = select(func.max(same.c.first_at)).where(
                same.c.condition_id == _stored.condition_id
            )
            touched = _SHOWN.where(
                _conditions.key.in_(self._first_problems),
                _stored.first_at == newest.scalar_subquery(),
            )
            rows |= {row.id: row for row in self._connection.execute(touched)}
        return rows.values()

    def tell(self) -> bool:
        """Announce what has changed, except of silenced incidents; return whether there was any."""
        told = False
        for change in self._changes:
            keys = _news(change, self._now)
            if keys and not is_silenced(self._connection, change.key, self._now):
                body = found_incident(self._connection, change.key, self._now)
                for routing_key in keys:
                    announce(self._connection, routing_key, body, self._now)
                told = True
        return told

    def _stored_signals(self, events_read: set[int]) -> set[tuple[int, int]]:
        """Return the signals that are stored of these events: on a server it may be another's."""
        rows = select(_signals.event_id, _signals.effect).where(_signals.event_id.in_(events_read))
        return {(row.event_id, row.effect) for row in self._connection.execute(rows)}

    def _made_conditions(self, read: Sequence[ReadSignal]) -> dict[str, _Known]:
        """Return the conditions by key, made where they are new."""
        wanted: dict[str, Condition] = {}
        for one in read:
            # A recovery knows less of what it is about than the problem.
            if one.condition.key not in wanted or one.signal.effect is Effect.PROBLEM:
                wanted[one.condition.key] = one.condition
        found = self._conditions(wanted)
        if new := [one._asdict() for key, one in wanted.items() if key not in found]:
            self._connection.execute(insert(incident_conditions), new)
            found |= self._conditions(one["key"] for one in new)
        named = [
            one.condition
            for one in read
            if one.signal.effect is Effect.PROBLEM and not one.condition.guessed
        ]
        for condition in {one.key: one for one in named}.values():
            # A publisher's own name says nothing of kind and node: the last problem does.
            this = update(incident_conditions).where(_conditions.key == condition.key)
            self._connection.execute(this.values(condition._asdict()))
        return found

    def _conditions(self, keys: Iterable[str]) -> dict[str, _Known]:
        rows = select(_conditions.key, _conditions.id, _conditions.kind).where(
            _conditions.key.in_(keys)
        )
        return {row.key: _Known(row.id, row.kind) for row in self._connection.execute(rows)}

    def _fold(
        self, conditions: Mapping[str, _Known], signals: Mapping[str, Sequence[Signal]]
    ) -> None:
        """
        Fold new signals into the newest incidents, or all if one of them came late.

        Where this step has folded enough of them, the condition becomes stale.
        """
        newest = newest_incidents(self._connection, [known.id for known in conditions.values()])
        folded = []
        for key, new in signals.items():
            known = conditions[key]
            ordered = sorted(new, key=Signal.order)
            last = newest.get(known.id)
            if last is None and all(one.effect is not Effect.PROBLEM for one in ordered):
                # Of what never was a problem there is no incident, however often it is well.
                continue
            now = None if last is None else self._continued(known, last.incident, ordered)
            if last is not None and now is not None:
                folded.append(_Folded(key, known.id, [last], now))
            elif self._signals_left > 0:
                folded.append(self._folded_again(key, known, ordered[0].at))
            else:
                self._mark(known.id, stale=True)
        self._write(folded)

    def _continued(
        self, known: _Known, last: Incident, signals: Sequence[Signal]
    ) -> tuple[Incident, ...] | None:
        """Return the incidents after these signals, None if one came too late for that."""
        now: tuple[Incident, ...] = (last,)
        resolves = self._resolves(known)
        for signal in signals:
            if signal.order() >= now[-1].heard_at:
                now = next_incidents(now, signal, self._rules, resolves=resolves)
                continue
            late = with_late(now[-1], signal)
            if late is None:
                return None
            now = (*now[:-1], late)
        return now

    def _folded_again(self, key: str, known: _Known, late: int | None = None) -> "_Folded":
        """Fold all signals again, or those since the incident before a late one."""
        begin = EARLIEST if late is None else begin_of_incident(self._connection, known.id, late)
        before = incidents_of(self._connection, known.id, begin)
        since = to_datetime(begin)
        with self._read(_said(known.id, since)) as said, self._read(_done(key, since)) as done:
            signals = heapq.merge(map(_signal, said), map(_signal, done), key=Signal.order)
            after = fold_ordered(
                self._counted(signals), self._rules, resolves=self._resolves(known)
            )
        return _Folded(key, known.id, before, after)

    def _read(self, statement: Select[Any]) -> contextlib.closing[CursorResult[Any]]:
        return contextlib.closing(
            self._connection.execute(statement, execution_options=_FETCHED_AS_READ)
        )

    def _counted(self, signals: Iterable[Signal]) -> Iterator[Signal]:
        for signal in signals:
            self._signals_left -= 1
            yield signal

    def _resolves(self, known: _Known) -> bool:
        rule = self._rules.kinds.get(known.kind)
        return rule is not None and rule.resolves

    def _write(self, folded: Sequence["_Folded"]) -> None:
        """Write the incidents that differ from those there were, and note the changes."""
        new, changed, gone = [], [], []
        for one in folded:
            old = {row.incident.first_at: row for row in one.before}
            for incident in one.after:
                row = old.pop(incident.first_at, None)
                if row is None:
                    new.append((one.condition_id, incident))
                elif row.incident != incident:
                    changed.append(row._replace(incident=incident))
            gone += [row.id for row in old.values()]
            before = one.before[-1].incident if one.before else None
            self._changes.append(_Change(one.key, before, one.after[-1] if one.after else None))
        delete_incidents(self._connection, gone)
        change_incidents(self._connection, changed)
        add_incidents(self._connection, new)


def _is_older(evidence_at: int | None, at: int) -> bool:
    return evidence_at is None or evidence_at < at


class _Folded(NamedTuple):
    """The incidents of a condition as they are stored, and as they are now."""

    key: str
    condition_id: int
    before: Sequence[IncidentRow]
    after: tuple[Incident, ...]

    @property
    def is_begun(self) -> bool:
        """True if the newest incident is another than before."""
        begun = [one.incident.first_at for one in self.before[-1:]]
        return bool(self.after) and begun != [self.after[-1].first_at]


def _news(change: _Change, now: int) -> list[str]:
    """Return the notifications of a change, in their order; none of what is imported, and old."""
    if change.after is None or change.after.heard_at[0] < now - _NEWS_MICROS:
        return []
    before, after = change.before, change.after
    is_other = before is None or before.first_at != after.first_at
    was_over = is_other or (before is not None and before.is_over)
    news = []
    if was_over and (is_other or not after.is_over):
        news.append(INCIDENT_OPENED)
    was = (None, None) if is_other or before is None else (before.recovered_at, before.resolved_at)
    if after.recovered_at is not None and was[0] is None:
        news.append(INCIDENT_RECOVERED)
    if after.resolved_at is not None and was[1] is None:
        news.append(INCIDENT_RESOLVED)
    return news


def _signal_row(condition_id: int, signal: Signal, event_id: int | None) -> dict[str, Any]:
    return {
        "condition_id": condition_id,
        "timestamp": to_datetime(signal.at),
        "effect": int(signal.effect),
        "severity": signal.severity,
        "by": signal.by,
        "event_id": event_id,
    }


def _signal(row: Any) -> Signal:
    return Signal(row[0], Effect(row[1]), *row[2:])


def _said(condition_id: int, begin: datetime) -> Select[Any]:
    """Select what events and snapshots said of a condition, in order."""
    return (
        select(
            micros(_signals.timestamp), _signals.effect, _signals.severity, _signals.by,
            null().label("note"),
        )
        .where(_signals.condition_id == condition_id, _signals.timestamp >= begin)
        .order_by(_signals.timestamp, _signals.effect, _signals.id)
    )  # fmt: skip


def _done(key: str, begin: datetime) -> Select[Any]:
    """Select what people did about a condition, in order."""
    return (
        select(
            micros(_actions.timestamp), _actions.effect, literal("info"), _actions.by, _actions.note
        )
        .where(_actions.key == key, _actions.timestamp >= begin)
        .order_by(_actions.timestamp, _actions.effect, _actions.id)
    )
