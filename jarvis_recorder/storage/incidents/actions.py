"""The changes people make to incidents, each folded in its own transaction."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from jarvis_recorder.errors import Conflict, InvalidParameter
from jarvis_recorder.incidents.signals import Effect, Signal
from jarvis_recorder.incidents.state import Incident, changed
from jarvis_recorder.storage.engine import EngineStatements
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.incidents.news import tell
from jarvis_recorder.storage.incidents.pruning import FORGOTTEN
from jarvis_recorder.storage.incidents.rows import change_incidents, newest_incidents
from jarvis_recorder.storage.queries.events import nodes_of_events
from jarvis_recorder.storage.queries.incidents import (
    condition_of,
    found_incident,
    incident_row,
    nodes_of,
    silence_of,
)
from jarvis_recorder.storage.queries.words import same_names
from jarvis_recorder.storage.tables import (
    Instant,
    incident_actions,
    incident_conditions,
    incident_signals,
    silences,
)
from jarvis_recorder.wire.notifications import (
    INCIDENT_ACKNOWLEDGED,
    INCIDENT_OPENED,
    INCIDENT_RESOLVED,
)
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import (
    AcknowledgeIncident,
    ReopenIncident,
    ResolveIncident,
    SilenceIncidents,
)
from jarvis_recorder.wire.rpc.results import OneSilence
from jarvis_recorder.wire.times import to_datetime

# More than a person sets; each is compared with each incident of a list.
_MOST_SILENCES: Final = 1_000

_actions: Final = incident_actions.c
_signals: Final = incident_signals.c
_silences: Final = silences.c


def acknowledge_incident(
    connection: Connection, params: AcknowledgeIncident, now: int, _: EngineStatements
) -> bytes:
    """
    Note that a person has seen an incident.

    Raises:
        NotFound: There is none with this key.
        Conflict: It is over, or not the newest of its condition.
    """
    target = _Target(connection, params.key, now)
    if target.incident.is_over:
        raise Conflict("the incident is over")
    return target.apply(Effect.ACKNOWLEDGE, INCIDENT_ACKNOWLEDGED, params.by, params.note)


def resolve_incident(
    connection: Connection, params: ResolveIncident, now: int, _: EngineStatements
) -> bytes:
    """Close an incident; an earlier resolution is kept. Raises as `acknowledge_incident`."""
    target = _Target(connection, params.key, now)
    if target.incident.resolved_at is not None:
        return target.answer()
    return target.apply(Effect.RESOLVE, INCIDENT_RESOLVED, params.by)


def reopen_incident(
    connection: Connection, params: ReopenIncident, now: int, _: EngineStatements
) -> bytes:
    """Open an incident again that is over. Raises as `acknowledge_incident`."""
    target = _Target(connection, params.key, now)
    if not target.incident.is_over:
        return target.answer()
    return target.apply(Effect.REOPEN, INCIDENT_OPENED, params.by)


class _Target:
    """The incident that a change is about."""

    def __init__(self, connection: Connection, key: str, now: int) -> None:
        self._connection = connection
        self._now = now
        row = incident_row(connection, key, now)
        self._row = newest_incidents(connection, [row.condition_id])[row.condition_id]
        self.incident: Incident = self._row.incident
        self._condition: str = row.key
        if self.incident.first_at != row.first_at:
            raise Conflict(f"a newer incident is open of the same condition: {row.key}")

    def answer(self) -> bytes:
        return found_incident(self._connection, self._condition, self._now)

    def apply(
        self, effect: Effect, routing_key: str, by: str | None, note: str | None = None
    ) -> bytes:
        """Store an action, fold it, announce it, and return the incident."""
        # A publisher's clock may be ahead: what is done now is done after all that was heard.
        at = max(self._now, self.incident.heard_at[0])
        signal = Signal(at, effect, by=by, note=note)
        if signal.order() < self.incident.heard_at:
            signal = signal._replace(at=at + 1)
        self._connection.execute(
            insert(incident_actions).values(
                key=self._condition, timestamp=to_datetime(signal.at), effect=int(effect),
                by=by, note=note,
            )
        )  # fmt: skip
        change_incidents(
            self._connection, [self._row._replace(incident=changed(self.incident, signal))]
        )
        answer = self.answer()
        tell(self._connection, self._condition, [routing_key], answer, self._now)
        return answer


def problem_of(connection: Connection, event_id: int) -> Row[Any] | None:
    """Return the problem that an event told of, as stored; None if it is not read yet, or none."""
    return connection.execute(
        select(incident_signals).where(
            _signals.event_id == event_id,
            _signals.effect == int(Effect.PROBLEM),
            _signals.condition_id != FORGOTTEN,
        )
    ).first()


def time_of_resolution(connection: Connection, problem: Row[Any], now: int) -> int:
    """
    Return the time at which a person resolves the event of a problem now.

    It is after the last time that a person opened its incident again, even by a clock ahead.
    """
    this = incident_conditions.c.id == problem.condition_id
    key = select(incident_conditions.c.key).where(this).scalar_subquery()
    reopened = select(micros(func.max(_actions.timestamp))).where(
        _actions.key == key, _actions.effect == int(Effect.REOPEN)
    )
    last: int | None = connection.execute(reopened).scalar()
    return now if last is None else max(now, last + 1)


def note_resolved(connection: Connection, problem: Row[Any], at: int, by: str | None) -> None:
    """Have the incident of a resolved problem folded again: it is closed if that was its last one."""
    connection.execute(
        insert(incident_signals).values(
            condition_id=problem.condition_id,
            timestamp=max(to_datetime(at), problem.timestamp),
            effect=int(Effect.RESOLVE),
            severity=problem.severity,
            by=by,
            event_id=problem.event_id,
            problem_at=problem.timestamp,
        )
    )
    _mark_stale(connection, problem.condition_id)


def note_reopened(connection: Connection, event_id: int) -> None:
    """Have the incident of an event folded again that is not resolved any more."""
    problem = problem_of(connection, event_id)
    if problem is not None:
        of_event = and_(_signals.event_id == event_id, _signals.effect == int(Effect.RESOLVE))
        connection.execute(delete(incident_signals).where(of_event))
        _mark_stale(connection, problem.condition_id)


def _mark_stale(connection: Connection, condition_id: int) -> None:
    by_id = update(incident_conditions).where(incident_conditions.c.id == condition_id)
    connection.execute(by_id.values(stale=True))


def silence_incidents(
    connection: Connection, params: SilenceIncidents, now: int, _: EngineStatements
) -> bytes:
    """
    Publish no notification of the incidents that match, in place of silences with the same values.

    One of those that began before it ends with its beginning, and one that begins after its end
    stays. Where only an end is given that has come, all of them end.

    Raises:
        InvalidParameter: It ends before it begins.
        Conflict: There are a thousand already.
    """
    since = params.since or min(to_datetime(now), params.until)
    if params.until < since:
        raise InvalidParameter("until", "must not be before since")
    values: dict[str, Any] = {
        "key": None if params.key is None else condition_of(connection, params.key),
        "kind": params.kind,
        "cluster": params.cluster,
    }
    nodes = _spelt(connection, params.node)
    same = [
        # It may have been named so before any event was.
        or_(*(_is(_silences.node, node) for node in (params.node, *nodes))),
        *(_is(_silences[name], value) for name, value in values.items()),
    ]
    # A clock that is behind may send such an end, too.
    if params.since is None and params.until <= to_datetime(now):
        connection.execute(delete(silences).where(*same))
    else:
        _end_those_within(connection, same, since, params.until)
    is_over = or_(_silences.until <= to_datetime(now), _silences.until <= _silences.since)
    counted = select(func.count()).select_from(silences).where(~is_over)
    count = connection.execute(counted).scalar_one()
    if count >= _MOST_SILENCES:
        raise Conflict(f"there are {count} silences: end one, or name less in it")
    values |= {"since": since, "until": params.until, "reason": params.reason, "by": params.by}
    added = [
        connection.execute(
            insert(silences).values(**values, node=node).returning(_silences.id)
        ).scalar_one()
        for node in nodes
    ]
    answer = adapter(OneSilence).dump_json(OneSilence(silence_of(connection, added[0])))
    connection.execute(delete(silences).where(is_over))
    return answer


def _end_those_within(
    connection: Connection, same: Iterable[ColumnElement[bool]], since: datetime, until: datetime
) -> None:
    """End silences at a time if they last then; those that begin by `until` have no length left."""
    ends = case((_silences.since < since, literal(since, Instant())), else_=_silences.since)
    begins = or_(_silences.since < until, _silences.since <= since)
    within = (_silences.until > since, begins)
    connection.execute(update(silences).where(*same, *within).values(until=ends))


def _spelt(connection: Connection, node: str | None) -> list[str | None]:
    """Return a node as incidents and events spell it, in each way; as given where none does."""
    if node is None:
        return [None]
    recorded = [*nodes_of(connection), *nodes_of_events(connection)]
    return sorted(same_names([node], recorded), key=lambda one: one != node)


def _is(column: ColumnElement[Any], value: str | None) -> ColumnElement[bool]:
    return column.is_(None) if value is None else column == value
