"""The last known good time, stored in a table of the server."""

from sqlalchemy import Connection, text

from jarvis_recorder.storage.trusted_time import newest_recorded
from jarvis_recorder.wire.times import to_datetime, to_micros


def known_good(connection: Connection) -> int | None:
    """Return the last known good time in microseconds; None if nothing is recorded."""
    moment = connection.execute(text("SELECT max(moment) FROM known_time")).scalar()
    return newest_recorded(connection) if moment is None else to_micros(moment)


def remember(moment: int, connection: Connection) -> None:
    """Store a time as known good; of several recorders the latest counts."""
    at = {"moment": to_datetime(moment)}
    changed = connection.execute(
        text("UPDATE known_time SET moment = greatest(moment, :moment)"), at
    )
    if not changed.rowcount:
        connection.execute(text("INSERT INTO known_time VALUES (:moment)"), at)
