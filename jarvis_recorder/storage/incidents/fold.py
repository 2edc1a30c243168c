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
from jarvis_recorder.incidents.state import Incident, fold, next_incidents, with_late
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.incidents.dates import date_back
from jarvis_recorder.storage.incidents.evidence import (
    NewestSnapshots,
    SearchedEnough,
    SearchRange,
    Sighting,
    Up,
    shown_names,
)
from jarvis_recorder.storage.incidents.news import (
    has_problem_in_time,
    tell,
    tell_of_silenced,
    was_recorded,
)
from jarvis_recorder.storage.incidents.pruning import thin_recoveries
from jarvis_recorder.storage.incidents.recoveries import Recoveries
from jarvis_recorder.storage.incidents.rows import (
    IncidentRow,
    add_incidents,
    begin_of_incident,
    change_incidents,
    delete_incidents,
    incidents_of,
    newest_incidents,
    to_incident_row,
)
from jarvis_recorder.storage.queries.incidents import ACTIVE, found_incident, key_of
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
from jarvis_recorder.wire.times import EARLIEST, to_datetime, to_datetime_or_none, to_micros

_NEWS_MICROS: Final = 24 * 3_600 * 1_000_000
_MOST_DOUBTFUL: Final = 5_000
# As many as a step folds again before it leaves further conditions to those behind it.
_MOST_FOLDED: Final = 5_000
# As many conditions as snapshots end in one step: to fold and tell of each takes milliseconds.
_MOST_RECOVERED: Final = 50
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
Selects one condition whose incidents must be recomputed from all its signals: an event was resolved
or reopened by hand, or a late signal exceeded the limit of its step.
"""

_SHOWN: Final = (
    select(
        incidents, _conditions.key, _conditions.kind, _conditions.evidence, _conditions.shown_as,
        _conditions.cluster, _conditions.node,
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
    """
    An incident of a condition before and after a step; each may be missing.

    `by_hand`: a person resolved or reopened one of its events. Of an older incident only the end is
    announced.
    """

    condition: str
    before: Incident | None
    after: Incident | None
    by_hand: bool
    is_newest: bool = True

    @property
    def key(self) -> str:
        """The key of the incident, or that of the condition for the newest one."""
        if self.is_newest or self.after is None:
            return self.condition
        return key_of(self.condition, self.after.first_at)


class _Known(NamedTuple):
    """The row of a condition, and its kind."""

    id: int
    kind: str


class _Stored(NamedTuple):
    """A condition as it is stored, with the id of its row."""

    id: int
    condition: Condition


class Fold:
    """
    One step: takes signals, stores what they make of the incidents, and tells of it.

    Rows are read and written for all conditions together, however many have changed.
    """

    def __init__(self, connection: Connection, rules: Rules, now: int, end: int) -> None:
        """Treat times after `end` as errors of a clock: correct them before folding new signals."""
        self._connection = connection
        self._rules = rules
        self._now = now
        self._end = end
        self._changes: list[_Change] = []
        self._ranges: dict[str, SearchRange] = {}
        self._asked: set[str] = set()
        self._events: set[int] = set()
        self._taken_before: list[ReadSignal] = []
        self._shown: dict[tuple[str, int], int] = {}
        self._signals_left = _MOST_FOLDED
        self.has_left = self.is_held = False

    def take(self, read: Sequence[ReadSignal]) -> None:
        """Store the signals that are new, and fold the conditions they are about."""
        known = self._stored_signals({one.event_id for one in read}) if read else set()
        new: list[ReadSignal] = []
        for one in read:
            is_known = (one.event_id, int(one.signal.effect)) in known
            (self._taken_before if is_known else new).append(one)
            if one.signal.effect is Effect.PROBLEM and one.condition.evidence is not None:
                self._asked.add(one.condition.key)
                self._events.add(one.event_id)
        if not new:
            return
        conditions = self._made_conditions(new)
        signals: dict[str, list[Signal]] = defaultdict(list)
        for one in new:
            signals[one.condition.key].append(one.signal)
        self._date_back(conditions, signals)
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
        for one in new:
            if one.event_id in self._events:
                self._look_at(one.condition.key, one.signal.at)

    def _look_at(self, key: str, problem_at: int) -> None:
        self._ranges[key] = self._ranges.get(key, SearchRange()).with_problem(problem_at)

    def refold_stale(self) -> None:
        """
        Fold all signals of a stale condition, unless this step has folded enough.

        It is news of any age where people made the difference, and not signals that came late.
        """
        stale = self._connection.execute(STALE).first()
        if stale is not None and self._signals_left > 0:
            again = self._folded_again(stale.key, _Known(stale.id, stale.kind))
            self._write([again], by_hand=not again.is_heard_otherwise)
            self._mark(stale.id, stale=False)
            if again.is_begun:
                self._look_at(stale.key, again.after[-1].first_at)

    def _date_back(
        self, conditions: Mapping[str, _Known], new: Mapping[str, Sequence[Signal]]
    ) -> None:
        """
        Date back what a clock far ahead has dated, before new signals of the conditions are stored.

        Otherwise none of them would count until then: a resolution would close all that follows.
        """
        ids = [known.id for known in conditions.values()]
        are_ahead = _stored.condition_id.in_(ids) & (_stored.heard_at > to_datetime(self._end))
        ahead = {*self._connection.execute(select(_stored.condition_id).where(are_ahead)).scalars()}
        for key, known in conditions.items():
            if known.id in ahead:
                before = min((self._now, *(one.at for one in new.get(key, ()))))
                date_back(self._connection, known.id, key, end=self._end, before=before)
                self._store([self._folded_again(key, known)])

    def is_any_stale(self) -> bool:
        """Return whether there is a condition to be folded again."""
        return self._connection.execute(STALE).first() is not None

    def _mark(self, condition_id: int, *, stale: bool) -> None:
        this = update(incident_conditions).where(_conditions.id == condition_id)
        self._connection.execute(this.values(stale=stale))

    def show(self, snapshots: NewestSnapshots) -> None:
        """
        Note what snapshots show of the objects of incidents that are a problem, or were.

        What is more than a step may do is left to the next one. `has_left` says whether anything
        is; if it `is_held`, the next step has to read the same events again: after a restart no
        one else knows what was left of them.
        """
        self._go_on(snapshots)
        rows = self._to_be_shown()
        ahead = {
            row.key: _Known(row.condition_id, row.kind)
            for row in rows
            if to_micros(row.heard_at) > self._end
        }
        if ahead:
            self._date_back(ahead, {})
            rows = self._to_be_shown()
        asked = {name for row in rows for name in shown_names(row)}
        is_news = snapshots.has_news(asked)
        shown = snapshots.look(asked, anyway=bool(self._ranges))
        if shown is None:
            return
        looked_at = [row for row in rows if is_news or row.key in self._ranges]
        # So that each comes to its turn, however often there is a newer snapshot.
        looked_at.sort(key=lambda row: row.key not in self._ranges)
        left = self._compare(
            (row, seen)
            for row in looked_at
            if (seen := snapshots.seen_once(shown, row)) is not None
        )
        snapshots.leave(left, self._events)
        self.has_left = bool(left)
        self.is_held = not self._asked.isdisjoint(left)

    def _go_on(self, snapshots: NewestSnapshots) -> None:
        """Look at what was left too, and at the problems of which a restart may have left something."""
        asked, self._ranges = self._ranges, {**snapshots.left}
        for key, look in asked.items():
            self._look_at(key, look.problems)
        unknown = self._events - snapshots.events_left
        for one in self._taken_before:
            if one.event_id in unknown:
                self._look_at(one.condition.key, one.signal.at)

    def _compare(self, sightings: Iterable[tuple[Row[Any], Sighting]]) -> dict[str, SearchRange]:
        """Store what these show, and return what is left, as the step has done enough."""
        recoveries = Recoveries(self._connection)
        newer = []
        recovered: dict[str, list[Signal]] = {}
        conditions = {}
        left: dict[str, SearchRange] = {}
        is_enough = False
        for row, seen in sightings:
            if is_enough or len(recovered) == _MOST_RECOVERED:
                left[row.key] = self._ranges.get(row.key, SearchRange())
                continue
            kept = to_incident_row(row)
            ups = []
            try:
                for up in self._recoveries(recoveries, row, kept, seen):
                    ups.append(up)  # noqa: PERF402 - those before an exception count
            except SearchedEnough as searched:
                is_enough = True
                left[row.key] = SearchRange(searched.upto, searched.upto)
            else:
                if not kept.incident.is_over and _is_older(kept.evidence_at, seen.at):
                    newer.append(kept._replace(evidence_at=seen.at))
            if ups:
                recovered[row.key] = [Signal(up.at, Effect.RECOVERY) for up in ups]
                self._shown |= {(row.key, up.at): up.recorded_at for up in ups}
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
        return left

    def _recoveries(
        self, recoveries: Recoveries, row: Row[Any], kept: IncidentRow, seen: Sighting
    ) -> Iterator[Up]:
        incident = kept.incident
        look = self._ranges.get(row.key, SearchRange())
        since = look.problems
        is_begun = look.snapshots > EARLIEST
        if not is_begun and _is_older(kept.evidence_at, min(incident.last_at, seen.at)):
            since = min(since, kept.evidence_at or incident.first_at)
        if since < incident.last_at or look.problems <= incident.last_at:
            yield from recoveries.between_problems(row, seen, look._replace(problems=since))
        if not incident.is_over and seen.at > incident.last_at:
            # It is down again, maybe: what was looked at before has nothing new of that.
            looked_at = incident.last_at if seen.is_up else kept.evidence_at or incident.last_at
            after = max(incident.last_at, looked_at, look.snapshots)
            last = recoveries.since_last_problem(row, seen, after)
            if last is not None:
                yield last

    def _to_be_shown(self) -> Collection[Row[Any]]:
        """Return the incidents that are a problem, and the newest of those with a new one."""
        rows = {row.id: row for row in self._connection.execute(_DOUBTFUL)}
        if self._ranges:
            same = incidents.alias()
            newest = select(func.max(same.c.first_at)).where(
                same.c.condition_id == _stored.condition_id
            )
            touched = _SHOWN.where(
                _conditions.key.in_(self._ranges),
                _stored.first_at == newest.scalar_subquery(),
            )
            rows |= {row.id: row for row in self._connection.execute(touched)}
        return rows.values()

    def tell(self) -> bool:
        """Announce what has changed, and what was silenced until now; return whether there was any."""
        told = False
        for change in self._changes:
            if keys := _news(change, self._now) or self._late_news(change):
                body = found_incident(self._connection, change.key, self._now)
                told |= tell(self._connection, change.condition, keys, body, self._now)
        return tell_of_silenced(self._connection, self._now) or told

    def _late_news(self, change: _Change) -> list[str]:
        """
        Return the notifications of what was read too late for `_news`, as after a weekend.

        These are the end of what was told, and the next problem of what was not. What was imported
        has neither: it was recorded long ago, or long after its time.
        """
        before, after = change.before, change.after
        begin = self._now - _NEWS_MICROS
        if before is None or after is None or before.is_over or before.openings[-1] >= begin:
            return []
        if ends := _ends(before, after):
            ended_at = max(after.recovered_at or EARLIEST, after.resolved_at or EARLIEST)
            is_new = self._was_recorded(change.condition, ended_at, begin)
            return ends if is_new and self._was_told(change.condition, before) else []
        is_again = before.last_at < after.last_at >= begin and before.acknowledged_at is None
        is_told = not is_again or self._was_told(change.condition, before)
        return [] if is_told else [INCIDENT_OPENED]

    def _was_recorded(self, key: str, at: int, since: int) -> bool:
        """Return whether that which ended an incident was recorded since a time."""
        if (recorded_at := self._shown.get((key, at))) is not None:
            return recorded_at >= since
        return was_recorded(self._connection, key, at, since)

    def _was_told(self, key: str, incident: Incident) -> bool:
        times = incident.openings[-1], incident.last_at
        return has_problem_in_time(self._connection, key, *times, _NEWS_MICROS)

    def _stored_signals(self, events_read: set[int]) -> set[tuple[int, int]]:
        """Return the signals that are stored of these events: on a server it may be another's."""
        rows = select(_signals.event_id, _signals.effect).where(_signals.event_id.in_(events_read))
        return {(row.event_id, row.effect) for row in self._connection.execute(rows)}

    def _made_conditions(self, read: Sequence[ReadSignal]) -> dict[str, _Known]:
        """
        Return the conditions by key, made where they are new.

        The newest problem says what a condition is about, in whatever order they arrived.
        """
        newest: dict[str, ReadSignal] = {}
        for one in read:
            before = newest.setdefault(one.condition.key, one)
            newest[one.condition.key] = max(before, one, key=_authority)
        found = self._conditions(newest)
        if new := [one.condition._asdict() for key, one in newest.items() if key not in found]:
            self._connection.execute(insert(incident_conditions), new)
            found |= self._conditions(one["key"] for one in new)
        for key, one in newest.items():
            if self._says_more(one, found[key]):
                self._change_condition(found[key], one.condition)
                found[key] = _Stored(found[key].id, one.condition)
        return {key: _Known(stored.id, stored.condition.kind) for key, stored in found.items()}

    def _change_condition(self, stored: _Stored, condition: Condition) -> None:
        """Write what a condition is about; by another rule all of it may have ended otherwise."""
        values: dict[str, Any] = condition._asdict()
        if self._rules.resolves(condition.kind) != self._rules.resolves(stored.condition.kind):
            values["stale"] = True
        this = update(incident_conditions).where(_conditions.id == stored.id)
        self._connection.execute(this.values(values))

    def _says_more(self, one: ReadSignal, stored: _Stored) -> bool:
        """Return whether this is a problem, not older than those stored, of another kind or object."""
        if one.signal.effect is not Effect.PROBLEM or one.condition == stored.condition:
            return False
        newest = self._connection.execute(
            select(micros(func.max(_signals.timestamp))).where(
                _signals.condition_id == stored.id, _signals.effect == int(Effect.PROBLEM)
            )
        ).scalar()
        if newest is None or newest != one.signal.at:
            return newest is None or newest < one.signal.at
        return _order(one.condition) > _order(stored.condition)

    def _conditions(self, keys: Iterable[str]) -> dict[str, _Stored]:
        columns = [_conditions[name] for name in Condition._fields]
        rows = select(_conditions.id, *columns).where(_conditions.key.in_(keys))
        return {
            row.key: _Stored(row.id, Condition(*row[1:])) for row in self._connection.execute(rows)
        }

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
                late = min(one.at if one.of is None else one.of for one in ordered)
                folded.append(self._folded_again(key, known, late))
            else:
                self._mark(known.id, stale=True)
        self._write(folded)

    def _continued(
        self, known: _Known, last: Incident, signals: Sequence[Signal]
    ) -> tuple[Incident, ...] | None:
        """Return the incidents after these signals, None if one came too late for that."""
        now: tuple[Incident, ...] = (last,)
        resolves = self._rules.resolves(known.kind)
        for signal in signals:
            if signal.of is not None and signal.of < last.first_at:
                return None
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
            after = fold(
                self._counted(signals), self._rules, resolves=self._rules.resolves(known.kind)
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

    def _write(self, folded: Sequence["_Folded"], *, by_hand: bool = False) -> None:
        """Write the incidents that differ from those there were, and note the changes."""
        self._store(folded)
        for one in folded:
            self._changes += _ended_before(one)
            before = one.before[-1].incident if one.before else None
            after = one.after[-1] if one.after else None
            # Where there was none before, all is made again by other rules.
            is_by_hand = by_hand and before is not None
            self._changes.append(_Change(one.key, before, after, is_by_hand))

    def _store(self, folded: Sequence["_Folded"]) -> None:
        """Write the incidents that differ from those there were."""
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
        delete_incidents(self._connection, gone)
        change_incidents(self._connection, changed)
        add_incidents(self._connection, new)


def _authority(one: ReadSignal) -> tuple[bool, int, tuple[str, ...]]:
    """Return how much a signal decides about its condition: a recovery knows less of that."""
    return one.signal.effect is Effect.PROBLEM, one.signal.at, _order(one.condition)


def _order(condition: Condition) -> tuple[str, ...]:
    """Return the place of a condition among those of one key and one time."""
    return tuple("" if value is None else str(value) for value in condition)


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

    @property
    def is_heard_otherwise(self) -> bool:
        """True if the newest incident has another problem or recovery: no one makes those by hand."""
        before = [_heard(one.incident) for one in self.before[-1:]]
        return before != [_heard(one) for one in self.after[-1:]]


def _heard(incident: Incident) -> tuple[int, int, int, int | None]:
    return incident.first_at, incident.last_at, incident.count, incident.recovered_at


def _news(change: _Change, now: int) -> list[str]:
    """Return the notifications of a change, in their order; none of what is imported, and old."""
    before, after = change.before, change.after
    if after is None:
        return []
    if not change.is_newest:
        ends = max(after.recovered_at or EARLIEST, after.resolved_at or EARLIEST)
        return _ends(before, after) if ends >= now - _NEWS_MICROS else []
    # What people do to an old event is news, unless they did it before it was recorded here.
    said_at = max(after.last_at, after.recovered_at or after.last_at)
    if said_at < now - _NEWS_MICROS and not change.by_hand:
        return []
    news = []
    # An earlier problem that came late moves the beginning, and makes no other incident.
    is_same = before is not None and after.first_at <= before.first_at <= after.last_at
    if before is None or not is_same or _has_opened(before, after):
        news.append(INCIDENT_OPENED)
        before = None
    return news + _ends(before, after)


def _ends(before: Incident | None, after: Incident) -> list[str]:
    """Return the notifications of the end of an incident, in their order."""
    ends = (
        (INCIDENT_RECOVERED, after.recovered_at, before and before.recovered_at),
        (INCIDENT_RESOLVED, after.resolved_at, before and before.resolved_at),
    )
    return [key for key, at, known_at in ends if at is not None and known_at is None]


def _ended_before(folded: _Folded) -> Iterator[_Change]:
    """Yield the changes of the incidents that another one follows."""
    known = {row.incident.first_at: row.incident for row in folded.before}
    for incident in folded.after[:-1]:
        before = known.get(incident.first_at)
        if before not in (None, incident):
            yield _Change(folded.key, before, incident, by_hand=False, is_newest=False)


def _has_opened(before: Incident, after: Incident) -> bool:
    """Return whether an incident that was over opened again, even if it is over by now."""
    ended = [at for at in (before.recovered_at, before.resolved_at) if at is not None]
    return bool(ended) and (not after.is_over or after.last_at > max(ended))


def _signal_row(condition_id: int, signal: Signal, event_id: int | None) -> dict[str, Any]:
    return {
        "condition_id": condition_id,
        "timestamp": to_datetime(signal.at),
        "effect": int(signal.effect),
        "severity": signal.severity,
        "by": signal.by,
        "event_id": event_id,
        "problem_at": to_datetime_or_none(signal.of),
    }


def _signal(row: Any) -> Signal:
    return Signal(row[0], Effect(row[1]), *row[2:])


def _said(condition_id: int, begin: datetime) -> Select[Any]:
    """Select what events and snapshots said of a condition, in order."""
    return (
        select(
            micros(_signals.timestamp), _signals.effect, _signals.severity, _signals.by,
            null().label("note"), micros(_signals.problem_at),
        )
        .where(_signals.condition_id == condition_id, _signals.timestamp >= begin)
        .order_by(_signals.timestamp, _signals.effect, _signals.id)
    )  # fmt: skip


def _done(key: str, begin: datetime) -> Select[Any]:
    """Select what people did about a condition, in order."""
    return (
        select(
            micros(_actions.timestamp), _actions.effect, literal("info"), _actions.by,
            _actions.note, null().label("problem_at"),
        )
        .where(_actions.key == key, _actions.timestamp >= begin)
        .order_by(_actions.timestamp, _actions.effect, _actions.id)
    )  # fmt: skip
