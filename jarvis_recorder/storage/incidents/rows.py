"""Incidents as rows of their table, read and written many at a time."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, insert, select, update

from jarvis_recorder.incidents.state import Incident, state_of
from jarvis_recorder.storage.tables import incidents
from jarvis_recorder.wire.times import EARLIEST, to_datetime, to_datetime_or_none, to_micros

_columns: Final = incidents.c
_WRITTEN: Final = (
    "first_at", "last_at", "heard_at", "heard_effect", "problems", "severity", "openings",
    "flapping", "recovered_at", "resolved_at", "resolved_by", "acknowledged_at",
    "acknowledged_by", "note", "evidence_at", "state",
)  # fmt: skip
# Made once: for a few rows SQLAlchemy takes longer to make a statement than to execute it.
_INSERT: Final = insert(incidents)
_UPDATE: Final = (
    update(incidents)
    .where(_columns.id == bindparam("row_id"))
    .values({name: bindparam(f"new_{name}", type_=_columns[name].type) for name in _WRITTEN})
)
_DELETE: Final = delete(incidents).where(_columns.id == bindparam("row_id"))
_OF_CONDITION: Final = (
    select(incidents)
    .where(
        _columns.condition_id == bindparam("condition_id"),
        _columns.first_at >= bindparam("since", type_=_columns.first_at.type),
    )
    .order_by(_columns.first_at)
)


class IncidentRow(NamedTuple):
    """An incident as it is stored, and the time of the newest snapshot that shows its object."""

    id: int
    condition_id: int
    incident: Incident
    evidence_at: int | None


def newest_incidents(connection: Connection, conditions: Iterable[int]) -> dict[int, IncidentRow]:
    """Return the newest incident of each of these conditions that has one, by condition."""
    newest = (
        select(_columns.condition_id, func.max(_columns.first_at).label("first_at"))
        .where(_columns.condition_id.in_(conditions))
        .group_by(_columns.condition_id)
        .subquery()
    )
    is_it = and_(
        _columns.condition_id == newest.c.condition_id, _columns.first_at == newest.c.first_at
    )
    rows = connection.execute(select(incidents).join(newest, is_it))
    return {row.condition_id: to_incident_row(row) for row in rows}


def incidents_of(
    connection: Connection, condition_id: int, since: int = EARLIEST
) -> list[IncidentRow]:
    """Return the incidents of a condition that began at a time or later, oldest first."""
    asked = {"condition_id": condition_id, "since": to_datetime(since)}
    return [*map(to_incident_row, connection.execute(_OF_CONDITION, asked))]


def begin_of_incident(connection: Connection, condition_id: int, at: int) -> int:
    """Return the beginning of the incident that a time is in or behind; `EARLIEST` if there is none."""
    begun = select(func.max(_columns.first_at)).where(
        _columns.condition_id == condition_id, _columns.first_at <= to_datetime(at)
    )
    found = connection.execute(begun).scalar()
    return EARLIEST if found is None else to_micros(found)


def add_incidents(connection: Connection, new: Sequence[tuple[int, Incident]]) -> None:
    """Insert incidents of these conditions."""
    if new:
        connection.execute(
            _INSERT,
            [{"condition_id": of, **_values(incident, None)} for of, incident in new],
        )


def change_incidents(connection: Connection, changed: Sequence[IncidentRow]) -> None:
    """Write these incidents over the rows with their ids."""
    if changed:
        rows = [(one.id, _values(one.incident, one.evidence_at)) for one in changed]
        connection.execute(
            _UPDATE,
            [
                {"row_id": row_id, **{f"new_{name}": value for name, value in values.items()}}
                for row_id, values in rows
            ],
        )


def delete_incidents(connection: Connection, ids: Sequence[int]) -> None:
    """Delete the rows with these ids."""
    if ids:
        connection.execute(_DELETE, [{"row_id": row_id} for row_id in ids])


def to_incident_row(row: Row[Any]) -> IncidentRow:
    """Return a row of the table with its incident."""
    incident = Incident(
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
    return IncidentRow(row.id, row.condition_id, incident, _micros(row.evidence_at))


def _values(incident: Incident, evidence_at: int | None) -> dict[str, Any]:
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
        "recovered_at": to_datetime_or_none(incident.recovered_at),
        "resolved_at": to_datetime_or_none(incident.resolved_at),
        "resolved_by": incident.resolved_by,
        "acknowledged_at": to_datetime_or_none(incident.acknowledged_at),
        "acknowledged_by": incident.acknowledged_by,
        "note": incident.note,
        "evidence_at": to_datetime_or_none(evidence_at),
        "state": state_of(incident, evidence_at),
    }


def _micros(time: datetime | None) -> int | None:
    return None if time is None else to_micros(time)
