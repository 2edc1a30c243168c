"""Incidents as rows of their table."""

import json
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, insert, select, update

from jarvis_recorder.incidents.state import Incident, state_of
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.tables import incidents
from jarvis_recorder.wire.times import to_datetime, to_micros

_columns: Final = incidents.c


def newest_incident(connection: Connection, condition_id: int) -> Row[Any] | None:
    """Return the row of the newest incident of a condition, None if there was none."""
    newest_first = (
        select(incidents)
        .where(_columns.condition_id == condition_id)
        .order_by(_columns.first_at.desc())
        .limit(1)
    )
    return connection.execute(newest_first).first()


def store_incident(
    connection: Connection, condition_id: int, incident: Incident, *, is_new: bool
) -> None:
    """Insert or update the row of an incident; its evidence stays as it was."""
    values = _values(incident)
    if is_new:
        values |= {"condition_id": condition_id, "state": state_of(incident, None)}
        connection.execute(insert(incidents).values(values))
        return
    this = and_(
        _columns.condition_id == condition_id,
        _columns.first_at == to_datetime(incident.first_at),
    )
    evidence_at = connection.execute(select(micros(_columns.evidence_at)).where(this)).scalar()
    values["state"] = state_of(incident, evidence_at)
    connection.execute(update(incidents).where(this).values(values))


def to_incident(row: Row[Any]) -> Incident:
    """Return the incident of a row."""
    return Incident(
        first_at=to_micros(row.first_at),
        last_at=to_micros(row.last_at),
        heard_at=(to_micros(row.heard_at), row.heard_effect),
        count=row.problems,
        severity=row.severity,
        openings=tuple(json.loads(row.openings)),
        flapping=row.flapping,
        recovered_at=_micros(row.recovered_at),
        resolved_at=_micros(row.resolved_at),
        resolved_by=row.resolved_by,
        acknowledged_at=_micros(row.acknowledged_at),
        acknowledged_by=row.acknowledged_by,
        note=row.note,
    )


def _values(incident: Incident) -> dict[str, Any]:
    at, effect = incident.heard_at
    return {
        "first_at": to_datetime(incident.first_at),
        "last_at": to_datetime(incident.last_at),
        "heard_at": to_datetime(at),
        "heard_effect": effect,
        "problems": incident.count,
        "severity": incident.severity,
        "openings": json.dumps(incident.openings),
        "flapping": incident.flapping,
        "recovered_at": _datetime(incident.recovered_at),
        "resolved_at": _datetime(incident.resolved_at),
        "resolved_by": incident.resolved_by,
        "acknowledged_at": _datetime(incident.acknowledged_at),
        "acknowledged_by": incident.acknowledged_by,
        "note": incident.note,
    }


def _micros(time: datetime | None) -> int | None:
    return None if time is None else to_micros(time)


def _datetime(moment: int | None) -> datetime | None:
    return None if moment is None else to_datetime(moment)
