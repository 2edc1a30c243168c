"""
Notifications of incidents.

A silenced incident is not announced; if it is still open when the silence ends, it is announced then.
"""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, Select, or_, select, update

from jarvis_recorder.incidents.signals import Effect
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.notifications import announce
from jarvis_recorder.storage.queries.incidents import (
    ACTIVE,
    found_incident,
    is_silenced,
    untold,
)
from jarvis_recorder.storage.tables import (
    events,
    incident_conditions,
    incident_signals,
    incidents,
)
from jarvis_recorder.wire.notifications import INCIDENT_OPENED
from jarvis_recorder.wire.times import to_datetime

_AT_ONCE: Final = 200

_conditions: Final = incident_conditions.c
_signals: Final = incident_signals.c


def tell(
    connection: Connection, condition: str, routing_keys: Iterable[str], body: bytes, now: int
) -> bool:
    """
    Announce changes of an incident of a condition, and return whether anything was announced.

    Where the condition is silenced nothing is, and that it has opened is remembered.
    """
    is_silent = is_silenced(connection, condition, now)
    told = [] if is_silent else [*routing_keys]
    if INCIDENT_OPENED in routing_keys:
        other = _conditions.untold != is_silent
        this = update(incident_conditions).where(_conditions.key == condition, other)
        connection.execute(this.values(untold=is_silent))
    for routing_key in told:
        announce(connection, routing_key, body, now)
    return bool(told)


def tell_of_silenced(connection: Connection, now: int) -> bool:
    """
    Announce what opened in a silence, and is a problem now that no silence is left.

    A few conditions at a time; return whether anything was announced.
    """
    ids = connection.execute(untold(now).limit(_AT_ONCE)).scalars().all()
    if not ids:
        return False
    these = _conditions.id.in_(ids)
    connection.execute(update(incident_conditions).where(these).values(untold=False))
    still = (
        select(_conditions.key)
        .join(incidents, incidents.c.condition_id == _conditions.id)
        .where(these, incidents.c.state.in_(ACTIVE))
    )
    keys = connection.execute(still.distinct()).scalars().all()
    for key in keys:
        announce(connection, INCIDENT_OPENED, found_incident(connection, key, now), now)
    return bool(keys)


def has_problem_in_time(
    connection: Connection, condition: str, begin: int, end: int, most_late: int
) -> bool:
    """
    Return whether one of the problems between two times was recorded soon after its time.

    So is one whose event is pruned, and what opened by hand, without a problem.
    """
    problems = _said(condition).where(
        _signals.timestamp.between(to_datetime(begin), to_datetime(end)),
        _signals.effect == int(Effect.PROBLEM),
    )
    took = micros(events.c.recorded_at) - micros(_signals.timestamp)
    in_time = problems.where(or_(events.c.id.is_(None), took <= most_late))
    return (
        connection.execute(in_time.limit(1)).first() is not None
        or connection.execute(problems.limit(1)).first() is None
    )


def was_recorded(connection: Connection, condition: str, at: int, since: int) -> bool:
    """Return whether an event of that time, of a condition, was recorded since another one."""
    found = _said(condition).where(
        _signals.timestamp == to_datetime(at), events.c.recorded_at >= to_datetime(since)
    )
    return connection.execute(found.limit(1)).first() is not None


def _said(condition: str) -> Select[Any]:
    """Select what was said of a condition, with the events that are stored."""
    return (
        select(_signals.id)
        .join(incident_conditions, _conditions.id == _signals.condition_id)
        .outerjoin(events, events.c.id == _signals.event_id)
        .where(_conditions.key == condition)
    )
