"""
Notifications of incidents.

A silenced incident is not announced; if it is still open when the silence ends, it is announced then.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, select, update

from jarvis_recorder.storage.notifications import announce
from jarvis_recorder.storage.queries.incidents import (
    ACTIVE,
    found_incident,
    is_silenced,
    untold,
)
from jarvis_recorder.storage.tables import incident_conditions, incidents
from jarvis_recorder.wire.notifications import INCIDENT_OPENED

_AT_ONCE: Final = 200

_conditions: Final = incident_conditions.c


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
