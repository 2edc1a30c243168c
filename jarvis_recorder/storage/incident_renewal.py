"""The deletion of what other rules made of the events, before the incidents are made again."""

from typing import Any, Final

from sqlalchemy import Connection, Select, Table, delete, exists, select, update

from jarvis_recorder.storage.incident_pruning import FORGETTING, newest_event
from jarvis_recorder.storage.tables import (
    incident_conditions,
    incident_progress,
    incident_signals,
    incidents,
)

_AT_ONCE: Final = 1_000

_conditions: Final = incident_conditions.c
_signals: Final = incident_signals.c


class Renewal:
    """
    Deletes, a thousand rows a step, and has the events read from the first again.

    What people did is kept, and what is pruned. After a restart, with these rules or with the
    former ones, it continues.
    """

    def __init__(self) -> None:
        self._walked = 0

    def step(self, connection: Connection, made_by: str, version: str) -> bool:
        """Do a step; return whether events are read by the rules of this version from now on."""
        if made_by and made_by != FORGETTING:
            # Of what is recorded from now on somebody is to be told.
            told_after = newest_event(connection)
            _note(connection, rules=FORGETTING, told_after=told_after)
        if made_by and self._forget_some(connection):
            return False
        _note(connection, rules=version, reached=0)
        return True

    def _forget_some(self, connection: Connection) -> bool:
        """Delete some of what was made; return whether there may be more."""
        # An event's id is never below 1. The signals of pruned events have none.
        of_events = select(_signals.id).where(_signals.event_id > 0).order_by(_signals.event_id)
        for table, ids in ((incident_signals, of_events), (incidents, select(incidents.c.id))):
            if _delete(connection, table, ids.limit(_AT_ONCE)):
                return True
        following = select(_conditions.id).where(_conditions.id > self._walked)
        found = connection.execute(following.order_by(_conditions.id).limit(_AT_ONCE)).scalars()
        these = found.all()
        if not these:
            self._walked = 0
            return False
        among = _conditions.id.in_(these)
        is_kept = exists().where(_signals.condition_id == _conditions.id)
        connection.execute(delete(incident_conditions).where(among, ~is_kept))
        connection.execute(update(incident_conditions).where(among).values(stale=True))
        self._walked = these[-1]
        return True


def _delete(connection: Connection, table: Table, ids: Select[Any]) -> int:
    return connection.execute(delete(table).where(table.c.id.in_(ids))).rowcount


def _note(connection: Connection, **values: Any) -> None:
    connection.execute(update(incident_progress).values(values))
