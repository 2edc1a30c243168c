"""What the cluster was like around a moment."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Table, select

from jarvis_recorder.storage.conversations import stored_turn
from jarvis_recorder.storage.events import stored_event
from jarvis_recorder.storage.snapshots import snapshot_in_force
from jarvis_recorder.storage.tables import conversations, events
from jarvis_recorder.wire.answers import Timeline
from jarvis_recorder.wire.questions import TimelineAround

MOST_SHOWN: Final = 1_000


def timeline_around(connection: Connection, question: TimelineAround) -> Timeline:
    """Return the snapshot in force, and what happened and was said in the window, in order."""
    moment = question.timestamp
    half = timedelta(seconds=question.window_seconds / 2)
    since, until = moment - half, moment + half
    of_node = [] if question.node is None else [events.c.node == question.node]
    happened, more_happened = _nearest(connection, events, moment, half, of_node)
    said, more_said = _nearest(connection, conversations, moment, half, [])
    return Timeline(
        moment,
        since,
        until,
        snapshot_in_force(connection, moment),
        [stored_event(row) for row in happened],
        [stored_turn(row) for row in said],
        more_happened or more_said,
    )


def _nearest(
    connection: Connection,
    table: Table,
    moment: datetime,
    half: timedelta,
    conditions: list[ColumnElement[bool]],
) -> tuple[list[Row[Any]], bool]:
    """Return the rows nearest to the moment in order, and whether there are more."""
    time, number = table.c.timestamp, table.c.id
    rows = select(table).where(*conditions).limit(MOST_SHOWN + 1)
    before = rows.where(time >= moment - half, time < moment).order_by(time.desc(), number.desc())
    after = rows.where(time >= moment, time < moment + half).order_by(time, number)
    found = [*connection.execute(before), *connection.execute(after)]
    nearest = sorted(found, key=lambda row: abs(row.timestamp - moment))[:MOST_SHOWN]
    in_order = sorted(nearest, key=lambda row: (row.timestamp, row.id))
    return in_order, len(found) > len(nearest)
