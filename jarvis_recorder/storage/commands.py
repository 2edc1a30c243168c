"""The changes a request can make, each in one transaction with its notification."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from jarvis_recorder.errors import Conflict
from jarvis_recorder.storage.batch import rows_of
from jarvis_recorder.storage.dead_letters import reconcile
from jarvis_recorder.storage.engine import EngineStatements
from jarvis_recorder.storage.incidents.actions import (
    acknowledge_incident,
    note_reopened,
    note_resolved,
    problem_of,
    reopen_incident,
    resolve_incident,
    silence_incidents,
    time_of_resolution,
)
from jarvis_recorder.storage.notifications import announce
from jarvis_recorder.storage.queries.events import found_event
from jarvis_recorder.storage.queries.preferences import find_preference
from jarvis_recorder.storage.tables import events, preferences
from jarvis_recorder.wire.notifications import (
    EVENT_RECORDED,
    EVENT_REOPENED,
    EVENT_RESOLVED,
    PREFERENCE_CHANGED,
    ChangedPreference,
    DeletedPreference,
)
from jarvis_recorder.wire.records import Record
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import (
    AcknowledgeIncident,
    DeletePreference,
    ReconcileDeadLetters,
    RecordEvent,
    ReopenEvent,
    ReopenIncident,
    ResolveEvent,
    ResolveIncident,
    SetPreference,
    SilenceIncidents,
)
from jarvis_recorder.wire.rpc.results import Deleted, OnePreference, Preference
from jarvis_recorder.wire.times import to_datetime

Change = Callable[[Connection, Any, int, EngineStatements], bytes]
"""
Makes a change in a transaction that has begun; the third argument is the time in microseconds.

Returns the result as JSON without its large fields: a change that is made must not end in an
error because its result does not fit.
"""


def record_event(
    connection: Connection, params: RecordEvent, now: int, statements: EngineStatements
) -> bytes:
    """
    Record an event once, and return it as stored; add a notification if it is new.

    Raises:
        Conflict: Another event is stored under its identity.
    """
    record = params.as_record(now)
    stored, collisions = statements.insert_all(connection, rows_of([record], now))
    if collisions:
        raise Conflict("another event is stored under this message_id: choose a new one")
    if stored:
        answer = found_event(connection, statements.newest_id(connection, events))
        announce(connection, EVENT_RECORDED, answer, now)
        return answer
    return found_event(connection, _recorded_before(connection, record, statements))


def _recorded_before(connection: Connection, record: Record, statements: EngineStatements) -> int:
    identity = record.message_id or ""
    if record.stamped:
        is_it = statements.is_stamped_as(events, identity)
    else:
        at = to_datetime(record.timestamp)
        is_it = and_(events.c.message_id == identity, events.c.timestamp == at)
    found: int = connection.execute(select(func.min(events.c.id)).where(is_it)).scalar_one()
    return found


def resolve_event(
    connection: Connection, params: ResolveEvent, now: int, _: EngineStatements
) -> bytes:
    """
    Mark an event as resolved and add a notification; an earlier resolution is kept.

    Raises:
        NotFound: No event has this id.
    """
    problem = problem_of(connection, params.id)
    at = now if problem is None else time_of_resolution(connection, problem, now)
    changed = connection.execute(
        update(events)
        .where(events.c.id == params.id, ~events.c.resolved)
        .values(resolved=True, resolved_at=to_datetime(at), resolved_by=params.resolved_by)
    )
    answer = found_event(connection, params.id)
    if changed.rowcount:
        if problem is not None:
            note_resolved(connection, problem, at, params.resolved_by)
        announce(connection, EVENT_RESOLVED, answer, now)
    return answer


def reopen_event(
    connection: Connection, params: ReopenEvent, now: int, _: EngineStatements
) -> bytes:
    """
    Undo the resolution of an event and add a notification; one that is not resolved is kept.

    Raises:
        NotFound: No event has this id.
    """
    changed = connection.execute(
        update(events)
        .where(events.c.id == params.id, events.c.resolved)
        .values(resolved=False, resolved_at=None, resolved_by=None)
    )
    answer = found_event(connection, params.id)
    if changed.rowcount:
        note_reopened(connection, params.id)
        announce(connection, EVENT_REOPENED, answer, now)
    return answer


def set_preference(
    connection: Connection, params: SetPreference, now: int, _: EngineStatements
) -> bytes:
    """
    Set a preference and add a notification.

    Raises:
        Conflict: It is not at the expected version.
    """
    before = find_preference(connection, params.key)
    version = 0 if before is None else before.version
    if params.expected_version not in (None, version):
        raise Conflict(f"the preference is at version {version}, not the one expected")
    after = Preference(params.key, params.value, to_datetime(now), params.updated_by, version + 1)
    values = asdict(after)
    if before is None:
        connection.execute(insert(preferences).values(values))
    else:
        of_key = preferences.c.key == params.key
        connection.execute(update(preferences).where(of_key).values(values))
    answer = adapter(OnePreference).dump_json(OnePreference(after))
    announce(connection, PREFERENCE_CHANGED, answer, now)
    return answer


def delete_preference(
    connection: Connection, params: DeletePreference, now: int, _: EngineStatements
) -> bytes:
    """Delete a preference; add a notification if it existed."""
    of_key = preferences.c.key == params.key
    gone = connection.execute(delete(preferences).where(of_key))
    if gone.rowcount:
        gone_now = ChangedPreference(DeletedPreference(params.key, deleted=True))
        body = adapter(ChangedPreference).dump_json(gone_now)
        announce(connection, PREFERENCE_CHANGED, body, now)
    return adapter(Deleted).dump_json(Deleted(gone.rowcount))


CHANGES: Final[dict[type, Change]] = {
    RecordEvent: record_event,
    ResolveEvent: resolve_event,
    ReopenEvent: reopen_event,
    SetPreference: set_preference,
    DeletePreference: delete_preference,
    ReconcileDeadLetters: reconcile,
    AcknowledgeIncident: acknowledge_incident,
    ResolveIncident: resolve_incident,
    ReopenIncident: reopen_incident,
    SilenceIncidents: silence_incidents,
}
