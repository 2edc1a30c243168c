"""Queries for incidents and silences."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    or_,
    select,
)

from jarvis_recorder.errors import NotFound
from jarvis_recorder.incidents.rules import Rules
from jarvis_recorder.incidents.signals import Effect, Signal
from jarvis_recorder.incidents.state import Transition, transitions
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.incidents.pruning import lack_incidents
from jarvis_recorder.storage.queries.cursors import Beyond, Position, not_shown, read_cursor
from jarvis_recorder.storage.queries.events import EVENTS
from jarvis_recorder.storage.queries.incident_causes import Causes
from jarvis_recorder.storage.queries.json_rows import Line, write_page
from jarvis_recorder.storage.queries.reading import Queries, Query, Reading
from jarvis_recorder.storage.queries.words import same_names
from jarvis_recorder.storage.tables import (
    events,
    incident_actions,
    incident_conditions,
    incident_signals,
    incidents,
    silences,
)
from jarvis_recorder.wire.records import Severity
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import GetIncident, ListIncidents, ListSilences
from jarvis_recorder.wire.rpc.results import (
    IncidentTransition,
    OneIncident,
    Silence,
    StoredIncident,
)
from jarvis_recorder.wire.times import (
    format_rfc3339,
    parse_instant,
    to_datetime,
    to_datetime_or_none,
)

ACTIVE: Final = ("open", "acknowledged", "unknown")
"""The states, as they are stored, of an incident that is a problem."""
_PROBLEMS: Final = frozenset((*ACTIVE, "silenced"))
_MOST_SIGNALS: Final = 2_000
_HOUR: Final = 3_600 * 1_000_000

_stored: Final = incidents.c
_conditions: Final = incident_conditions.c
_signals: Final = incident_signals.c
_actions: Final = incident_actions.c
_silences: Final = silences.c
_PLACE: Final = (_stored.last_at, _stored.id)
_SILENCES: Final = select(
    _silences.key, _silences.node, _silences.kind, _silences.cluster, micros(_silences.since),
    micros(_silences.until), _silences.reason, _silences.by, _silences.id,
)  # fmt: skip


# The times at which people opened an incident again, in one text.
_REOPENED: Final = (
    select(func.aggregate_strings(cast(micros(_actions.timestamp), Text), " "))
    .where(
        _actions.key == _conditions.key,
        _actions.effect == int(Effect.REOPEN),
        _actions.timestamp >= _stored.first_at,
    )
    .correlate(incident_conditions, incidents)
    .scalar_subquery()
)


def list_incidents(clock: Clock, reading: Reading, params: ListIncidents) -> bytes:
    """Return a page of the incidents that match every filter."""
    now = clock()
    filters = [*_filters(reading.connection, params, now)]
    asked = _selected(now).where(*filters).limit(params.limit + 1)
    shape, causes = adapter(StoredIncident), Causes(reading.connection)
    lines = (
        Line(shape.dump_json(_incident(causes, row)), shown)
        for row, shown in not_shown(
            read_cursor(params, int, int, int, int), partial(_beyond, reading, asked)
        )
    )
    total = _total(reading, params, filters)
    is_complete = not lack_incidents(reading.connection)
    more = b',"total":%b,"complete":%b' % (to_json(total), to_json(is_complete))
    return write_page(reading, params, "incidents", lines, more=more)


def _beyond(
    reading: Reading, asked: Select[Any], beyond: Beyond
) -> Iterator[tuple[Row[Any], Position]]:
    """Yield incidents, each with its place."""
    ordered = asked.where(*beyond.only(*_PLACE)).order_by(*beyond.order(*_PLACE))
    for row in reading.rows(ordered):
        yield row, (row.last_at, row.id)


def _total(
    reading: Reading, params: ListIncidents, filters: list[ColumnElement[bool]]
) -> int | None:
    """Return how many match; None where that could mean to read all there ever were."""
    if params.state is None or not {*_several(params.state)} <= _PROBLEMS:
        return None
    matching = (
        select(func.count())
        .select_from(incidents)
        .join(incident_conditions, _conditions.id == _stored.condition_id)
        .where(*filters)
    )
    total: int = reading.connection.execute(matching).scalar_one()
    return total


def get_incident(rules: Rules, clock: Clock, reading: Reading, params: GetIncident) -> bytes:
    """
    Return one incident with its transitions and a page of its events.

    The rules say whether a recovery closed it.

    Raises:
        NotFound: There is none with this key.
    """
    row = incident_row(reading.connection, params.key, clock())
    last = _end(reading.connection, row)
    signals = _signals_of(reading, row, last)
    newest = signals[-_MOST_SIGNALS:]
    changes = _transitions(row, newest, last, resolves=rules.resolves(row.kind))
    shape = adapter(IncidentTransition)
    told = b",".join(
        shape.dump_json(IncidentTransition(to_datetime(one.at), *one[1:])) for one in changes
    )
    is_cut = len(signals) > _MOST_SIGNALS
    more = b',"incident":%b,"transitions":[%b],"truncated":%b' % (
        adapter(StoredIncident).dump_json(_incident(Causes(reading.connection), row)),
        told,
        to_json(is_cut),
    )
    lines = EVENTS.lines(reading, _events(reading, row, last, params))
    return write_page(reading, params, "events", lines, more=more)


def found_incident(connection: Connection, key: str, now: int) -> bytes:
    """Return an incident as JSON; raises as `incident_row`."""
    row = incident_row(connection, key, now)
    return adapter(OneIncident).dump_json(OneIncident(_incident(Causes(connection), row)))


def incident_row(connection: Connection, key: str, now: int) -> Row[Any]:
    """
    Return the incident of this key, or the newest of this condition.

    An event that came late may have moved its beginning back: the key stays good. That of one that
    is deleted names no later one.

    Raises:
        NotFound: There is none.
    """
    newest_first = _selected(now).order_by(_stored.first_at.desc()).limit(1)
    condition, at = _parted(key)
    # A publisher may have named a condition so that it looks like a key.
    row = connection.execute(newest_first.where(_conditions.key == key)).first()
    if row is None and at is not None:
        of = newest_first.where(_conditions.key == condition)
        row = connection.execute(of.where(_stored.first_at <= at)).first()
    if row is None:
        raise NotFound(f"there is no incident {key!r}")
    return row


def nodes_of(connection: Connection) -> list[str]:
    """Return the names of the nodes that incidents are about."""
    named = select(_conditions.node).where(_conditions.node.is_not(None)).distinct()
    return [*connection.execute(named).scalars()]


def condition_of(connection: Connection, key: str) -> str:
    """Return the condition that a key names, with a time or without one."""
    known = select(_conditions.key).where(_conditions.key == key)
    return key if connection.execute(known).first() else _parted(key)[0]


def is_silenced(connection: Connection, key: str, now: int) -> bool:
    """Return whether no one is to be notified now of the incidents of a condition."""
    found = select(_silenced(now)).select_from(incident_conditions).where(_conditions.key == key)
    return bool(connection.execute(found).scalar())


def untold(now: int) -> Select[Any]:
    """Select the conditions that opened while they were silenced, and are silenced no more."""
    return select(_conditions.id).where(_conditions.untold, ~_silenced(now))


def list_silences(clock: Clock, reading: Reading, params: ListSilences) -> bytes:
    """Return a page of the silences that have not ended."""
    now = to_datetime(clock())
    place = (_silences.until, _silences.id)
    beyond = Beyond(read_cursor(params, int, int), is_above=True)
    asked = _SILENCES.where(_silences.until > now, *beyond.only(*place))
    asked = asked.order_by(*place).limit(params.limit + 1)
    shape = adapter(Silence)
    lines = (Line(shape.dump_json(_silence(row)), (row[5], row[8])) for row in reading.rows(asked))
    return write_page(reading, params, "silences", lines)


def silence_of(connection: Connection, row_id: int) -> Silence:
    """Return the silence with this id."""
    return _silence(connection.execute(_SILENCES.where(_silences.id == row_id)).one())


def _silence(row: Row[Any]) -> Silence:
    key, node, kind, cluster, since, until, reason, by = tuple(row)[:8]
    return Silence(key, node, kind, cluster, to_datetime(since), to_datetime(until), reason, by)


def _parted(key: str) -> tuple[str, datetime | None]:
    condition, at_sign, time = key.rpartition("@")
    if at_sign:
        try:
            return condition, to_datetime(parse_instant(time))
        except ValueError:
            pass
    return key, None


def _selected(now: int) -> Select[Any]:
    """Select incidents with what a result says of them; times in microseconds."""
    state = case((and_(_stored.state.in_(ACTIVE), _silenced(now)), "silenced"), else_=_stored.state)
    return select(
        _stored.id, _stored.condition_id, _conditions.key, state.label("state"),
        _stored.severity, _conditions.kind, _conditions.node, _conditions.object,
        _conditions.cluster, _stored.problems,
        micros(_stored.first_at).label("first_at"),
        micros(_stored.last_at).label("last_at"),
        micros(_stored.recovered_at).label("recovered_at"),
        _stored.flapping, _stored.acknowledged_by, _stored.note, _conditions.guessed,
        micros(_stored.evidence_at).label("evidence_at"),
        _conditions.evidence,
        micros(_stored.acknowledged_at).label("acknowledged_at"),
        micros(_stored.resolved_at).label("resolved_at"), _stored.resolved_by, _stored.openings,
        _REOPENED.label("reopened"),
    ).join(incident_conditions, _conditions.id == _stored.condition_id)  # fmt: skip


def _silenced(now: int) -> ColumnElement[bool]:
    """Return whether a silence that is in force now fits the condition."""
    at = to_datetime(now)
    fits = (
        or_(wanted.is_(None), wanted == value)
        for wanted, value in (
            (_silences.key, _conditions.key),
            (_silences.node, _conditions.node),
            (_silences.kind, _conditions.kind),
            (_silences.cluster, func.coalesce(_conditions.cluster, "")),
        )
    )
    return exists().where(_silences.since <= at, _silences.until > at, *fits)


def _filters(
    connection: Connection, params: ListIncidents, now: int
) -> Iterator[ColumnElement[bool]]:
    if params.state is not None:
        yield _in_states(_several(params.state), now)
    for wanted, column in (
        (params.severity, _stored.severity),
        (params.kind, _conditions.kind),
    ):
        if wanted is not None:
            yield column.in_(_several(wanted))
    if params.node is not None:
        yield _conditions.node.in_(same_names(_several(params.node), nodes_of(connection)))
    if params.cluster is not None:
        yield func.coalesce(_conditions.cluster, "") == params.cluster
    if params.since is not None:
        ends = (_stored.last_at, _stored.recovered_at, _stored.resolved_at)
        yield or_(_stored.state.in_(ACTIVE), *(end >= params.since for end in ends))
    if params.until is not None:
        yield _stored.first_at < params.until


def _several(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _in_states(states: list[str], now: int) -> ColumnElement[bool]:
    silenced = _silenced(now)
    active = _stored.state.in_(ACTIVE)
    any_of: list[ColumnElement[bool]] = []
    for state in states:
        if state == "silenced":
            any_of.append(and_(active, silenced))
        elif state == "flapping":
            any_of.append(_stored.flapping)
        elif state in ACTIVE:
            any_of.append(and_(active, _stored.state == state, ~silenced))
        else:
            any_of.append(_stored.state == state)
    chosen = or_(*any_of)
    # So that the index of those that are a problem is used.
    return and_(active, chosen) if {*states} <= _PROBLEMS else chosen


def _incident(causes: Causes, row: Row[Any]) -> StoredIncident:
    return StoredIncident(
        key_of(row.key, row.first_at),
        row.state,
        row.severity,
        row.kind,
        row.node,
        row.object,
        row.cluster,
        row.problems,
        to_datetime(row.first_at),
        to_datetime(row.last_at),
        to_datetime_or_none(row.recovered_at),
        row.flapping,
        row.acknowledged_by,
        row.note,
        row.guessed,
        to_datetime_or_none(row.evidence_at),
        _cause(causes, row),
        to_datetime_or_none(row.acknowledged_at),
        to_datetime_or_none(row.resolved_at),
        row.resolved_by,
    )


def key_of(condition: str, first_at: int) -> str:
    """Return the key of the incident of a condition that began at a time in microseconds."""
    return f"{condition}@{format_rfc3339(first_at)}"


def _cause(causes: Causes, row: Row[Any]) -> str | None:
    """Return the key of the incident of the node, if that was down when the guest last failed."""
    if row.evidence != "guest" or not row.node:
        return None
    found = causes.of(row.cluster or "", row.node, _failed_at(row))
    return None if found is None else key_of(*found)


def _failed_at(row: Row[Any]) -> int:
    """Return the newest opening by a problem: what people opened again did not fail then."""
    by_hand = {*map(int, (row.reopened or "").split())}
    openings: list[int] = json.loads(row.openings)
    return next((at for at in reversed(openings) if at not in by_hand), row.first_at)


def _end(connection: Connection, row: Row[Any]) -> datetime | None:
    """Return the beginning of the next incident of the condition, None if there is none."""
    following = select(func.min(_stored.first_at)).where(
        _stored.condition_id == row.condition_id, _stored.first_at > to_datetime(row.first_at)
    )
    found: datetime | None = connection.execute(following).scalar()
    return found


def _within(column: ColumnElement[Any], row: Row[Any], end: datetime | None) -> ColumnElement[bool]:
    """Return whether a time is in an incident: what recovers again and again ends it only once."""
    within = [column >= to_datetime(row.first_at)]
    if end is not None:
        within.append(column < end)
    if row.recovered_at is not None or row.resolved_at is not None:
        last = max(row.last_at, row.recovered_at or row.last_at, row.resolved_at or row.last_at)
        within.append(column <= to_datetime(last))
    return and_(*within)


def _signals_of(reading: Reading, row: Row[Any], end: datetime | None) -> list[Signal]:
    """Return the newest signals of an incident and what people did, and one beyond the most."""
    newest = (
        _said(row)
        .where(_within(_signals.timestamp, row, end))
        .order_by(_signals.timestamp.desc(), _signals.id.desc())
        .limit(_MOST_SIGNALS + 1)
    )
    done = (
        select(micros(_actions.timestamp), _actions.effect, _actions.by, _actions.note)
        .where(_actions.key == row.key, _within(_actions.timestamp, row, end))
        .order_by(_actions.timestamp.desc(), _actions.id.desc())
        .limit(_MOST_SIGNALS + 1)
    )
    signals = [_signal(*said) for said in reading.rows(newest)]
    if end is not None and row.resolved_at is not None:
        # A person has resolved its newest event while the next incident was there already.
        resolved_later = _said(row).where(
            _signals.timestamp == to_datetime(row.resolved_at),
            _signals.timestamp >= end,
            _signals.effect == int(Effect.RESOLVE),
            _signals.problem_at == to_datetime(row.last_at),
        )
        signals += [_signal(*said) for said in reading.rows(resolved_later)]
    signals += [
        Signal(at, Effect(effect), "info", by, note) for at, effect, by, note in reading.rows(done)
    ]
    return sorted(signals, key=Signal.order)


def _said(row: Row[Any]) -> Select[Any]:
    return select(
        micros(_signals.timestamp), _signals.effect, _signals.severity, _signals.by,
        micros(_signals.problem_at),
    ).where(_signals.condition_id == row.condition_id)  # fmt: skip


def _signal(at: int, effect: int, severity: Severity, by: str | None, of: int | None) -> Signal:
    return Signal(at, Effect(effect), severity, by, of=of)


def _transitions(
    row: Row[Any], signals: Iterable[Signal], end: datetime | None, *, resolves: bool
) -> Iterator[Transition]:
    """Yield the changes of state of an incident; the last one may be that the next one began."""
    yield from transitions(signals, resolves=resolves)
    if row.resolved_at is not None and end == to_datetime(row.resolved_at):
        hours = (row.resolved_at - row.last_at) // _HOUR
        yield Transition(row.resolved_at, "resolved", None, f"no alert for {hours} hours")


def _events(
    reading: Reading, row: Row[Any], end: datetime | None, params: GetIncident
) -> Iterator[tuple[int, int]]:
    """Yield time and id of the events of an incident, newest first, one more than are asked for."""
    beyond = Beyond(read_cursor(params, int, int))
    asked = (
        select(micros(_signals.timestamp), _signals.event_id)
        .join(events, events.c.id == _signals.event_id)
        .where(
            _signals.condition_id == row.condition_id,
            _signals.effect.in_((int(Effect.PROBLEM), int(Effect.RECOVERY))),
            _within(_signals.timestamp, row, end),
            *beyond.only(_signals.timestamp, _signals.event_id),
        )
        .order_by(_signals.timestamp.desc(), _signals.event_id.desc())
        .limit(params.limit + 1)
    )
    return iter([(at, event_id) for at, event_id in reading.rows(asked)])


def queries(rules: Rules) -> Queries:
    """Return the queries, for incidents that are made by these rules."""
    return {
        ListIncidents: Query(list_incidents, needs_clock=True),
        GetIncident: Query(partial(get_incident, rules), needs_clock=True),
        ListSilences: Query(list_silences, needs_clock=True),
    }
