"""The incidents, folded from the events next to recording: never in its way, and never in its transaction."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import structlog
from pydantic_core import from_json
from sqlalchemy import (
    Connection,
    Row,
    Text,
    case,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from jarvis_recorder.errors import (
    ConfigurationError,
    DeadlineExceeded,
    OutcomeUnknown,
    RecordRefused,
    StorageDamaged,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.incidents.rules import Rules
from jarvis_recorder.incidents.signals import Condition, Effect, EventFacts, Signal, read_event
from jarvis_recorder.incidents.state import Incident, fold, next_incidents, with_late
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.announcements import announce
from jarvis_recorder.storage.engine import NoRoomForIt, Readers, Writer
from jarvis_recorder.storage.expressions import has_tag, micros
from jarvis_recorder.storage.incident_evidence import (
    NewestSnapshots,
    ShownObjects,
    Sighting,
    seen_once,
)
from jarvis_recorder.storage.incident_pruning import newest_event, thin_recoveries
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
from jarvis_recorder.storage.queries.reading import Pace, Reading
from jarvis_recorder.storage.tables import (
    cluster_snapshots,
    events,
    incident_actions,
    incident_conditions,
    incident_progress,
    incident_signals,
    incidents,
)
from jarvis_recorder.wire.notifications import (
    INCIDENT_OPENED,
    INCIDENT_RECOVERED,
    INCIDENT_RESOLVED,
)
from jarvis_recorder.wire.times import EARLIEST, to_datetime

log = structlog.get_logger(__name__)

Horizon = Callable[[Connection], int]
"""Returns an id of an event up to which none can be added any more."""

# As much as one transaction does; it is some milliseconds.
_EVENTS_AT_ONCE: Final = 10_000
_SIGNALS_AT_ONCE: Final = 200
_PAUSE_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 10.0
# After each step recording has the writer for so many times as long.
_YIELD: Final = 4.0
# What is larger holds no name of a condition.
_MOST_DETAILS: Final = 4_096
_MOST_SUMMARY: Final = 1_000
_NEWS_MICROS: Final = 24 * 3_600 * 1_000_000
_MOST_DOUBTFUL: Final = 5_000

_conditions: Final = incident_conditions.c
_signals: Final = incident_signals.c
_actions: Final = incident_actions.c
_stored: Final = incidents.c
_progress: Final = incident_progress.c
_INSERT_SIGNAL: Final = insert(incident_signals)
_STALE: Final = (
    select(_conditions.id, _conditions.key, _conditions.kind).where(_conditions.stale).limit(10)
)
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


class _Look(NamedTuple):
    """The newest of what incidents are made of, and how far they are."""

    newest_event: int
    newest_snapshot: int
    is_stale: bool
    reached: int


def _look(reading: Reading) -> _Look:
    newest_snapshot = select(func.coalesce(func.max(cluster_snapshots.c.id), 0))
    reached = select(_progress.reached)
    return _Look(
        newest_event(reading.connection),
        reading.connection.execute(newest_snapshot).scalar_one(),
        reading.connection.execute(_STALE.limit(1)).first() is not None,
        reading.connection.execute(reached).scalar_one(),
    )


class _Read(NamedTuple):
    """A signal that an event gave, and the condition it is about."""

    event_id: int
    condition: Condition
    signal: Signal


class IncidentKeeper:
    """
    Keeps the incidents of a database, on any engine.

    What is read of the events, and what follows from it, is one transaction: after a restart the
    incidents are as if there had been none. Of several recorders each does a part.
    """

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        horizon: Horizon,
        *,
        rules: Rules,
        clock: Clock,
        changed: asyncio.Event,
    ) -> None:
        """`changed` is set after each step that may have left a notification."""
        self._writer = writer
        self._readers = readers
        self._looked_at: _Look | None = None
        self._horizon = horizon
        self._rules = rules
        self._clock = clock
        self._changed = changed
        self._snapshots = NewestSnapshots()
        self._has_begun = False
        self.failure: str | None = None
        """The reason for which no step is done until something is changed, None if there is none."""

    async def run(self, stop: asyncio.Event) -> None:
        """
        Fold what is recorded until `stop` is set; while the database is unavailable it waits.

        Raises:
            StorageUncertain, StorageDamaged: As `Writer.run`.
        """
        while not stop.is_set():
            try:
                pause = await self._timed_step()
            except (StorageUnavailable, DeadlineExceeded, OutcomeUnknown, RecordRefused) as error:
                # Recording goes on without them.
                log.warning("incidents_not_folded", error=str(error))
                pause = _AGAIN_SECONDS
            except ConfigurationError as error:
                log.warning("incidents_not_folded", error=str(error))
                self.failure = str(error)
                pause = _AGAIN_SECONDS
            except (StorageUncertain, StorageDamaged):
                raise
            except Exception as error:
                # A fault of this program, which would be there again after a restart.
                self.failure = f"{type(error).__name__}: {error}"
                log.exception("incidents_not_folded")
                pause = _AGAIN_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()

    async def _timed_step(self) -> float:
        """Do a step, and return how long to leave the writer to others."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        is_behind = await self._has_news() and await self.step()
        self.failure = None
        took = _YIELD * (loop.time() - began)
        return took if is_behind else max(_PAUSE_SECONDS, took)

    async def _has_news(self) -> bool:
        """Return whether a step could change anything: without that it takes no turn of the writer."""
        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        look = await self._readers.run(_look, until, 0, pace=Pace.LOOK_UP)
        before, self._looked_at = self._looked_at, look
        return look != before or look.reached < look.newest_event or look.is_stale

    async def step(self) -> bool:
        """Fold the next events; return whether there may be more. On an error nothing is changed."""
        self._writer.require_room()
        try:
            more, told = await self._writer.run(self._work)
        except NoRoomForIt:
            self._writer.crowded.set()
            raise
        if told:
            self._changed.set()
        return more

    def _work(self, connection: Connection) -> tuple[bool, bool]:
        progress = connection.execute(select(incident_progress)).one()
        if progress.rules != self._rules.version():
            if self._has_begun:
                # The two would begin anew in turn, without end.
                raise ConfigurationError(
                    "another recorder of this database has other rules: give all of them the same "
                    "incidents.rules, incidents.quiet_hours and version, and restart this one"
                )
            progress = _begin_anew(connection, self._rules.version())
        horizon = self._horizon(connection)
        upto = max(progress.reached, min(horizon, progress.reached + _EVENTS_AT_ONCE))
        is_told = progress.reached >= progress.told_after
        if not is_told:
            upto = min(upto, progress.told_after)
        found = _candidates(connection, progress.reached, upto)
        if len(found) == _SIGNALS_AT_ONCE:
            upto = found[-1].id
        read = [one for row in found for one in _read(row, self._rules)]
        fold_now = _Fold(connection, self._rules, self._clock())
        fold_now.take(read)
        fold_now.refold_stale()
        fold_now.show(self._snapshots)
        if upto > progress.reached:
            connection.execute(update(incident_progress).values(reached=upto))
        told = is_told and fold_now.tell()
        if read:
            self._writer.require_bounds(connection)
        self._has_begun = True
        return upto < horizon, told


def _begin_anew(connection: Connection, version: str) -> Row[Any]:
    """Forget what other rules made of the events; what people did is kept, and what is pruned."""
    values: dict[str, Any] = {"reached": 0, "rules": version}
    if connection.execute(select(_progress.rules)).scalar_one():
        kept = select(_signals.condition_id).where(_signals.event_id.is_(None))
        connection.execute(delete(incident_signals).where(_signals.event_id.is_not(None)))
        connection.execute(delete(incidents))
        connection.execute(delete(incident_conditions).where(_conditions.id.not_in(kept)))
        connection.execute(update(incident_conditions).values(stale=True))
        values["told_after"] = newest_event(connection)
    connection.execute(update(incident_progress).values(values))
    return connection.execute(select(incident_progress)).one()


def _candidates(connection: Connection, after: int, upto: int) -> Sequence[Row[Any]]:
    """Return the events that may be signals, with what of them decides."""
    columns = events.c
    details, extra = cast(columns.details, Text), cast(columns.extra, Text)
    rows = (
        select(
            columns.id, micros(columns.timestamp).label("at"), columns.type, columns.severity,
            columns.node, columns.cluster,
            func.substr(columns.summary, 1, _MOST_SUMMARY).label("summary"),
            case((func.length(details) <= _MOST_DETAILS, details)).label("details"),
            case((func.length(extra) <= _MOST_DETAILS, extra)).label("extra"),
            columns.resolved, columns.resolved_by,
        )
        .where(columns.id > after, columns.id <= upto, columns.type != "metric")
        .where(
            or_(
                columns.type == "alert",
                has_tag(columns.summary),
                details.contains('"incident"'),
                extra.contains('"subject"'),
            )
        )
        .order_by(columns.id)
        .limit(_SIGNALS_AT_ONCE)
    )  # fmt: skip
    return connection.execute(rows).all()


def _read(row: Row[Any], rules: Rules) -> Iterable[_Read]:
    """Yield the signals of an event: what it says, and that somebody has resolved it."""
    event = EventFacts(
        row.type, row.severity, row.node, row.cluster, row.summary,
        _object(row.details), _subject(row.extra),
    )  # fmt: skip
    if (found := read_event(event, rules)) is None:
        return
    condition, effect = found
    yield _Read(row.id, condition, Signal(row.at, effect, row.severity))
    if row.resolved and effect is Effect.PROBLEM:
        yield _Read(row.id, condition, Signal(row.at, Effect.RESOLVE, by=row.resolved_by))


def _object(text: str | None) -> Any:
    if text is None or not text.startswith("{"):
        return None
    try:
        return from_json(text)
    except ValueError:  # written by another program
        return None


def _subject(extra: str | None) -> str | None:
    if extra is None or '"subject"' not in extra:
        return None
    attributes = _object(extra)
    event = attributes.get("cloudevent") if isinstance(attributes, dict) else None
    subject = event.get("subject") if isinstance(event, dict) else None
    return subject if isinstance(subject, str) and subject else None


class _Change(NamedTuple):
    """The newest incident of a condition before and after a step; each may be missing."""

    key: str
    before: Incident | None
    after: Incident | None


class _Known(NamedTuple):
    """The row of a condition, and its kind."""

    id: int
    kind: str


class _Fold:
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

    def take(self, read: Sequence[_Read]) -> None:
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
        """Fold all signals of the conditions of which an event was resolved, or opened again."""
        stale = {row.key: _Known(row.id, row.kind) for row in self._connection.execute(_STALE)}
        if stale:
            ids = [known.id for known in stale.values()]
            self._write([self._folded_anew(key, known) for key, known in stale.items()])
            done = update(incident_conditions).where(_conditions.id.in_(ids))
            self._connection.execute(done.values(stale=False))

    def show(self, snapshots: NewestSnapshots) -> None:
        """Note what snapshots show of the objects of incidents that are a problem, or were."""
        # A large snapshot is read only for somebody who wants to know.
        rows = self._to_be_shown()
        asked = {(row.evidence, row.shown_as) for row in rows}
        anyway = bool(self._first_problems)
        if not rows:
            return
        shown = snapshots.look(self._connection, self._now, asked, anyway=anyway)
        if shown is not None:
            self._compare(rows, shown)

    def _compare(self, rows: Iterable[Row[Any]], shown: Sequence[ShownObjects]) -> None:
        recoveries = Recoveries(self._connection)
        newer = []
        recovered: dict[str, list[Signal]] = {}
        conditions = {}
        for row in rows:
            if (seen := seen_once(shown, row)) is None:
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

    def _made_conditions(self, read: Sequence[_Read]) -> dict[str, _Known]:
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
        """Fold new signals into the newest incidents, or all if one of them came late."""
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
            if last is None or now is None:
                folded.append(self._folded_anew(key, known, ordered[0].at))
            else:
                folded.append(_Folded(key, known.id, [last], now))
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

    def _folded_anew(self, key: str, known: _Known, late: int | None = None) -> "_Folded":
        """Fold all signals again, or those since the incident before a late one."""
        begin = EARLIEST if late is None else begin_of_incident(self._connection, known.id, late)
        before = incidents_of(self._connection, known.id, begin)
        signals = _all_signals(self._connection, known.id, key, begin)
        after = fold(signals, self._rules, resolves=self._resolves(known))
        return _Folded(key, known.id, before, after)

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


def _all_signals(
    connection: Connection, condition_id: int, key: str, since: int
) -> Iterator[Signal]:
    begin = to_datetime(since)
    said = select(
        micros(_signals.timestamp), _signals.effect, _signals.severity, _signals.by
    ).where(_signals.condition_id == condition_id, _signals.timestamp >= begin)
    for at, effect, severity, by in connection.execute(said):
        yield Signal(at, Effect(effect), severity, by)
    done = select(micros(_actions.timestamp), _actions.effect, _actions.by, _actions.note).where(
        _actions.key == key, _actions.timestamp >= begin
    )
    for at, effect, by, note in connection.execute(done):
        yield Signal(at, Effect(effect), "info", by, note)
