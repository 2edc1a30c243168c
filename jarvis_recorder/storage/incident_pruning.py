"""The deletion of incidents that are over, and of signals whose events are deleted."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, func, or_, select, update

from jarvis_recorder.incidents.signals import Effect
from jarvis_recorder.retention_policy import RetentionPolicy, event_horizons
from jarvis_recorder.storage.tables import (
    events,
    incident_actions,
    incident_conditions,
    incident_progress,
    incident_signals,
    incidents,
)
from jarvis_recorder.wire.times import EARLIEST, to_datetime

FORGETTING: Final = "forgetting"
"""In place of the version of the rules while what other rules made is being deleted."""

_AT_ONCE: Final = 100
_MOST_THINNED: Final = 500
# Events later than this may give a recovery another time, and never another state.
_LATE: Final = 2 * 24 * 3_600 * 1_000_000
_HOUR: Final = 3_600 * 1_000_000

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
    for name in ("reached", "told_after"):
        beyond = update(incident_progress).where(progress[name] > newest)
        connection.execute(beyond.values({name: newest}))


def newest_event(connection: Connection) -> int:
    """Return the highest id of an event, 0 if there is none."""
    newest: int = connection.execute(select(func.coalesce(func.max(events.c.id), 0))).scalar_one()
    return newest


def thin_recoveries(connection: Connection, condition_id: int, new: Sequence[int]) -> None:
    """
    Delete the recoveries between recoveries that are two days older than the times of new signals.

    What says each minute that it is well leaves some tens of signals a day, and not a thousand.
    """
    end = max(*new, EARLIEST + _LATE + _HOUR) - _LATE
    begin = max(min(new) - _LATE - _HOUR, EARLIEST)
    old = (
        select(_signals.id, _signals.effect)
        .where(
            _signals.condition_id == condition_id,
            _signals.timestamp >= to_datetime(begin),
            _signals.timestamp < to_datetime(end),
        )
        .order_by(_signals.timestamp, _signals.effect)
        .limit(_MOST_THINNED)
    )
    said = connection.execute(old).all()
    between = [
        this.id
        for before, this, after in zip(said, said[1:], said[2:], strict=False)
        if before.effect == this.effect == after.effect == Effect.RECOVERY
    ]
    if between:
        connection.execute(delete(incident_signals).where(_signals.id.in_(between)))


def expire_incidents(connection: Connection, keeping: RetentionPolicy, now: int) -> bool:
    """
    Delete some incidents that are over, as old as the policy keeps events of their severity.

    With them go the signals of conditions that never were a problem. Return whether there may be
    more. While the incidents are being made again, none is deleted.
    """
    if _are_being_made(connection):
        return False
    horizons = event_horizons(keeping, now)
    old = [
        (_stored.severity == severity) & (_stored.last_at < to_datetime(horizon))
        for severity, horizon in horizons.items()
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
    if len(rows) == _AT_ONCE:
        return True
    _expire_well(connection, min(horizons.values()))
    return False


def _are_being_made(connection: Connection) -> bool:
    """Return whether a condition may lack incidents that its signals, or its events, make."""
    progress = connection.execute(select(incident_progress)).one()
    stale = select(_conditions.id).where(_conditions.stale).limit(1)
    return (
        progress.rules == FORGETTING
        or progress.reached < progress.told_after
        or connection.execute(stale).first() is not None
    )


def _expire_well(connection: Connection, horizon: int) -> None:
    """Delete old signals of conditions without an incident, and those that have no other."""
    never = _conditions.id.not_in(select(_stored.condition_id))
    ids = select(_conditions.id).where(never).scalar_subquery()
    connection.execute(
        delete(incident_signals).where(
            _signals.condition_id.in_(ids), _signals.timestamp < to_datetime(horizon)
        )
    )
    without = _conditions.id.not_in(select(_signals.condition_id))
    connection.execute(delete(incident_conditions).where(never, without))


def _expire(connection: Connection, row: Any) -> None:
    """Delete an incident with its signals, and its condition if there is no other of it."""
    others = select(_stored.first_at).where(
        _stored.condition_id == row.condition_id, _stored.id != row.id
    )
    connection.execute(delete(incidents).where(_stored.id == row.id))
    gone = delete(incident_signals).where(_signals.condition_id == row.condition_id)
    if connection.execute(others.limit(1)).first() is None:
        connection.execute(gone)
        this = _conditions.id == row.condition_id
        key = select(_conditions.key).where(this).scalar_subquery()
        connection.execute(delete(incident_actions).where(incident_actions.c.key == key))
        connection.execute(delete(incident_conditions).where(this))
        return
    following = others.where(_stored.first_at > row.first_at).order_by(_stored.first_at).limit(1)
    after = connection.execute(following).scalar()
    gone = gone.where(_signals.timestamp >= row.first_at)
    connection.execute(gone if after is None else gone.where(_signals.timestamp < after))
