"""The last known good time, stored in the file's header."""

from typing import Final

from sqlalchemy import Connection

from jarvis_recorder.retention_policy import UNSET
from jarvis_recorder.storage.sqlite.connections import driver_of
from jarvis_recorder.storage.trusted_time import newest_recorded

# In the header an application has 31 bits of its own: every copy has it, and it needs no table.
_MINUTE: Final = 60 * 1_000_000


def known_good(connection: Connection) -> int | None:
    """Return the last known good time in microseconds; None if nothing is recorded."""
    (minutes,) = driver_of(connection).execute("PRAGMA user_version").fetchone()
    if minutes * _MINUTE >= UNSET:
        return int(minutes) * _MINUTE
    return newest_recorded(connection)


def remember(moment: int, connection: Connection) -> None:
    """Store a time as known good."""
    minutes = min(max(moment // _MINUTE, 0), 2**31 - 1)
    driver_of(connection).execute(f"PRAGMA user_version = {minutes}").close()
