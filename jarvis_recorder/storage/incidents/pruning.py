"""The deletion of incidents that are over, and of signals whose events are deleted."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from jarvis_recorder.incidents.signals import Effect
from jarvis_recorder.storage.expired_rows import Position, following, rows_from
from jarvis_recorder.storage.tables import (
    events,
    incident_actions,
    incident_conditions,
    incident_progress,
    incident_signals,
    incidents,
)
from jarvis_recorder.wire.records import Severity
from jarvis_recorder.wire.times import EARLIEST, to_datetime

FORGETTING: Final = "forgetting"
"""In place of the version of the rules while what other rules made is being deleted."""

# Rows read, and rows deleted, in one transaction.
_AT_ONCE: Final = 500
# The rows that are deleted in the time that the statements of one incident take.
_AN_INCIDENT: Final = 5
_MOST_THINNED: Final = 500
# Events later than this may give a recovery another time, and never another state.
_LATE: Final = 2 * 24 * 3_600 * 1_000_000
_HOUR: Final = 3_600 * 1_000_000
FORGOTTEN: Final = 0
"""
In the place of a condition: the signal of an alert whose incident has expired.

An unresolved alert stays for ever, its recovery does not: read again by other rules, it would open
an incident for ever.
"""

_stored: Final = incidents.c
_signals: Final = incident_signals.c
_actions: Final = incident_actions.c
_conditions: Final = incident_conditions.c


def forget_events(connection: Connection, ids: Sequence[int]) -> None:
    """
    Have no signal name these events, which are to be deleted in the same transaction.

    Afterwards `clamp_progress` has to be called.
    """
    expired = _signals.condition_id == FORGOTTEN
    connection.execute(delete(incident_signals).where(_signals.event_id.in_(ids), expired))
    named = update(incident_signals).where(_signals.event_id.in_(ids))
    connection.execute(named.values(event_id=None))
    tell_after_another(connection, ids)


def tell_after_another(connection: Connection, gone: Sequence[int]) -> None:
    """
    Tell after the last event that is left, if it was to be after one of these, which go.

    Of an event that is gone it would never be known that it was read.
    """
    told_after = incident_progress.c.told_after
    left = select(func.max(events.c.id)).where(events.c.id < told_after, events.c.id.not_in(gone))
    beyond = update(incident_progress).where(told_after.in_(gone))
    connection.execute(beyond.values(told_after=func.coalesce(left.scalar_subquery(), 0)))


def clamp_progress(connection: Connection) -> None:
    """Read the next event, and tell of it, even if it gets the id of a deleted one, as in SQLite."""
    newest = newest_event(connection)
    for noted in (incident_progress.c.reached, incident_progress.c.told_after):
        beyond = update(incident_progress).where(noted > newest)
        connection.execute(beyond.values({noted: newest}))


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


def expire_incidents(
    horizons: Mapping[Severity, int], connection: Connection, after: Position
) -> Position | None:
    """
    Delete a few incidents that, by their severity, were over before a horizon.

    One stays as long as an older one of its condition does, which would be folded otherwise without
    it: what was said and done later ended that one, or would count as of that one. Of one with very
    many signals only as many go at once, the oldest first, and the incident with the last of them:
    what is left of it is over, too. While the incidents are being made again, none is deleted.
    Return where the next step begins, None at the end.
    """
    if _are_being_made(connection):
        return None
    is_old = or_(
        *(
            (_stored.severity == severity) & _was_over(to_datetime(horizon))
            for severity, horizon in horizons.items()
        )
    )
    is_expired = _stored.state.in_(("recovered", "resolved")) & is_old
    columns = (_stored.condition_id, _stored.first_at, is_expired.label("is_expired"))
    query = rows_from(_stored.last_at, after, max(horizons.values()), *columns)
    rows = connection.execute(query).all()
    room = _AT_ONCE
    for row in rows:
        if row.is_expired and not _has_older(connection, row):
            room -= _expire(connection, row, room)
        if room <= 0:
            return after
        after = Position(row[1], row[0])
    return following(rows)


def _was_over(at: datetime) -> ColumnElement[bool]:
    """Return the condition for an incident of which nothing was said, and nothing done, since then."""
    ends = (_stored.recovered_at, _stored.resolved_at)
    return and_(_stored.last_at < at, *(or_(end.is_(None), end < at) for end in ends))


def _are_being_made(connection: Connection) -> bool:
    """Return whether a condition may lack incidents that its signals, or its events, make."""
    stale = select(_conditions.id).where(_conditions.stale).limit(1)
    return _are_unread(connection) or connection.execute(stale).first() is not None


def lack_incidents(connection: Connection) -> bool:
    """Return whether a condition may have no incident yet, as while they are being made again."""
    has_one = exists().where(_stored.condition_id == _conditions.id)
    without = select(_conditions.id).where(_conditions.stale, ~has_one).limit(1)
    return _are_unread(connection) or connection.execute(without).first() is not None


def _are_unread(connection: Connection) -> bool:
    """Return whether events of before an upgrade, or of other rules, are yet to be read."""
    progress = connection.execute(select(incident_progress)).one()
    return bool(progress.rules == FORGETTING or progress.reached < progress.told_after)


def _expire(connection: Connection, row: Any, most: int) -> int:
    """
    Delete an incident with what was said and done until the next one, or with its condition.

    It has to be the oldest of its condition: what is left is folded as before only where nothing is
    missing between. If that is more than so many rows, it deletes only as many of them, and not the
    incident. Return how many it has deleted, and a few more for the incident itself.
    """
    others = select(_stored.first_at).where(
        _stored.condition_id == row.condition_id, _stored.first_at > row.first_at
    )
    end = connection.execute(others.order_by(_stored.first_at).limit(1)).scalar()
    this = _conditions.id == row.condition_id
    key = select(_conditions.key).where(this).scalar_subquery()
    said = select(_signals.id).where(_signals.condition_id == row.condition_id)
    done = select(_actions.id).where(_actions.key == key)
    if end is not None:
        said, done = said.where(_signals.timestamp < end), done.where(_actions.timestamp < end)
    gone = _delete_signals(connection, said.order_by(_signals.timestamp), most)
    gone += _delete_some(connection, incident_actions, done, most - gone)
    if gone == most:
        return gone
    connection.execute(delete(incidents).where(_stored.id == row.id))
    if end is None:
        connection.execute(delete(incident_conditions).where(this))
    return gone + _AN_INCIDENT


def _has_older(connection: Connection, row: Any) -> bool:
    """Return whether an older incident of the condition is kept."""
    older = select(_stored.id).where(
        _stored.condition_id == row.condition_id, _stored.first_at < row.first_at
    )
    return connection.execute(older.limit(1)).first() is not None


def expire_well(horizon: int, connection: Connection, after: int) -> int | None:
    """
    Delete a few signals of before a time, of conditions that never were a problem.

    Those conditions that have no other signal go with them; at the end, what people did before that
    time under keys of no condition, as of former rules. Return the id of the condition that the
    next step begins after, None at the end, and while the incidents are being made again.
    """
    if _are_being_made(connection):
        return None
    an_incident = exists().where(_stored.condition_id == _conditions.id)
    page = select(_conditions.id, an_incident).where(_conditions.id > after)
    rows = connection.execute(page.order_by(_conditions.id).limit(_AT_ONCE)).all()
    well = [condition_id for condition_id, has_incident in rows if not has_incident]
    old = select(_signals.id).where(
        _signals.condition_id.in_(well), _signals.timestamp < to_datetime(horizon)
    )
    if _delete_signals(connection, old, _AT_ONCE) == _AT_ONCE:
        return after
    a_signal = exists().where(_signals.condition_id == _conditions.id)
    connection.execute(delete(incident_conditions).where(_conditions.id.in_(well), ~a_signal))
    if len(rows) == _AT_ONCE:
        return int(rows[-1].id)
    has_condition = exists().where(_conditions.key == _actions.key)
    gone = select(_actions.id).where(_actions.timestamp < to_datetime(horizon), ~has_condition)
    _delete_some(connection, incident_actions, gone, _AT_ONCE)
    return None


def _delete_some(connection: Connection, table: Table, ids: Select[Any], most: int) -> int:
    """Delete so many of these rows at most, the first ones; return how many."""
    return connection.execute(delete(table).where(table.c.id.in_(ids.limit(most)))).rowcount


def _delete_signals(connection: Connection, signals: Select[Any], most: int) -> int:
    """
    Delete so many of these signals at most, the first ones; return how many.

    Those of alerts that are still stored are remembered as `FORGOTTEN`.
    """
    ids = connection.execute(signals.limit(most)).scalars().all()
    of_alert = (_signals.effect == int(Effect.PROBLEM), _signals.event_id.is_not(None))
    these = _signals.id.in_(ids)
    remembered = update(incident_signals).where(these, *of_alert)
    connection.execute(remembered.values(condition_id=FORGOTTEN))
    connection.execute(delete(incident_signals).where(these, _signals.condition_id != FORGOTTEN))
    return len(ids)
