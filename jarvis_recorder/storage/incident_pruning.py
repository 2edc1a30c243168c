"""The deletion of incidents that are over, and of signals whose events are deleted."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, func, or_, select, update

from jarvis_recorder.retention_policy import RetentionPolicy, event_horizons
from jarvis_recorder.storage.tables import (
    events,
    incident_actions,
    incident_conditions,
    incident_progress,
    incident_signals,
    incidents,
)
from jarvis_recorder.wire.times import to_datetime

_AT_ONCE: Final = 100

_stored: Final = incidents.c
_signals: Final = incident_signals.c
_conditions: Final = incident_conditions.c


def forget_events(connection: Connection, ids: Sequence[int]) -> None:
    """
    Have no signal name these events, which are to be deleted in the same transaction.

    Afterwards `clamp_progress` has to be called.
    """
    named = update(incident_signals).where(_signals.event_id.in_(ids))
    connection.execute(named.values(event_id=None))


def clamp_progress(connection: Connection) -> None:
    """Read the next event even if it gets the id of a deleted one, as SQLite gives it again."""
    newest = newest_event(connection)
    progress = incident_progress.c
    behind = update(incident_progress).where(progress.reached > newest)
    connection.execute(behind.values(reached=newest))


def newest_event(connection: Connection) -> int:
    """Return the highest id of an event, 0 if there is none."""
    newest: int = connection.execute(select(func.coalesce(func.max(events.c.id), 0))).scalar_one()
    return newest


def expire_incidents(connection: Connection, keeping: RetentionPolicy, now: int) -> bool:
    """
    Delete some incidents that are over, as old as the policy keeps events of their severity.

    Return whether there may be more.
    """
    old = [
        (_stored.severity == severity) & (_stored.last_at < to_datetime(horizon))
        for severity, horizon in event_horizons(keeping, now).items()
    ]
    if not old:
        return False
    rows = connection.execute(
        select(_stored.id, _stored.condition_id, _stored.first_at)
        .where(_stored.state.in_(("recovered", "resolved")), or_(*old))
        .order_by(_stored.last_at)
        .limit(_AT_ONCE)
    ).all()
    for row in rows:
        _expire(connection, row)
    return len(rows) == _AT_ONCE


def _expire(connection: Connection, row: Any) -> None:
    """Delete an incident with its signals, and its condition if there is no other of it."""
    others = select(_stored.first_at).where(
        _stored.condition_id == row.condition_id, _stored.id != row.id
    )
    starts = sorted(connection.execute(others).scalars())
    connection.execute(delete(incidents).where(_stored.id == row.id))
    gone = delete(incident_signals).where(_signals.condition_id == row.condition_id)
    if not starts:
        connection.execute(gone)
        this = _conditions.id == row.condition_id
        key = select(_conditions.key).where(this).scalar_subquery()
        connection.execute(delete(incident_actions).where(incident_actions.c.key == key))
        connection.execute(delete(incident_conditions).where(this))
        return
    after = [start for start in starts if start > row.first_at]
    gone = gone.where(_signals.timestamp >= row.first_at)
    connection.execute(gone.where(_signals.timestamp < after[0]) if after else gone)
