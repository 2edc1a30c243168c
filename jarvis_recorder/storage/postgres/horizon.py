"""The events that no transaction under way can still precede."""

import time
from typing import Any, Final

import structlog
from sqlalchemy import Connection, text

log = structlog.get_logger(__name__)

_PATIENCE_SECONDS: Final = 60.0
# The locks are read after the events. A transaction takes its lock before its ids, and keeps it until
# others see its rows. Not its number: of the numbers the oldest under way may be another database's.
_LOOK: Final = text(
    "SELECT (SELECT coalesce(max(id), 0) FROM events), (SELECT reached FROM incident_progress),"
    " ARRAY(SELECT ARRAY[virtualtransaction, coalesce(pid::text, 'prepared')] FROM pg_locks"
    " WHERE relation = CAST('events' AS regclass) AND mode = 'RowExclusiveLock' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),"
    " pg_postmaster_start_time()"
)


class Horizon:
    """
    A function that returns an id of an event up to which none can be added any more.

    Several recorders insert at once, and a lower id may be committed later than a higher one. An id
    that was visible is final once no transaction that was writing events then does so any more. It
    may be asked in a transaction in which each statement sees what others have committed.
    """

    def __init__(self) -> None:
        self._newest = 0
        self._writers: dict[str, str] = {}
        self._server: Any = None
        self._since = 0.0
        self._is_said = False

    def __call__(self, connection: Connection) -> int:
        newest, reached, locks, server = connection.execute(_LOOK).one()
        writers = dict(locks)
        # A server that was promoted, or restored, may give the ids of lost events again.
        if reached >= self._newest or server != self._server:
            self._newest, self._server, self._since = newest, server, time.monotonic()
            self._writers = writers if newest > reached else {}
            self._is_said = False
        else:
            self._writers = {one: writers[one] for one in self._writers if one in writers}
        if self.failure is not None and not self._is_said:
            log.warning("incidents_held_up", error=self.failure)
            self._is_said = True
        return reached if self._writers else self._newest

    @property
    def failure(self) -> str | None:
        """The transactions that have held up the events for a minute, None if there are none."""
        if not self._writers or time.monotonic() - self._since < _PATIENCE_SECONDS:
            return None
        return (
            "a transaction that writes to the table events has been open for more than a minute, and"
            " later events wait for its end; end it on the server, by pg_terminate_backend or ROLLBACK"
            f" PREPARED: {', '.join(f'{one} ({pid})' for one, pid in self._writers.items())}"
        )
