"""A list of incidents, and one with its history."""

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from jarvis_recorder.cli.output.events import severity
from jarvis_recorder.cli.output.screen import CLUSTER, NODE, Column, Screen
from jarvis_recorder.cli.output.units import ago, duration
from jarvis_recorder.wire.rpc.results import (
    IncidentHistory,
    IncidentPage,
    OneIncident,
    Silence,
    StoredIncident,
)

_MEDIUM: Final = 100
_STATES: Final = {
    "open": "bold red",
    "unknown": "yellow",
    "acknowledged": "cyan",
    "silenced": "dim",
    "recovered": "green",
    "resolved": "green",
}


def show_incidents(
    screen: Screen, incidents: Sequence[StoredIncident], *, continued: bool = False
) -> None:
    """Show incidents, one a row."""
    clock = screen.clock(incident.first_at for incident in incidents)
    has_clusters = any(incident.cluster for incident in incidents)
    columns = (
        Column("state"),
        Column("severity"),
        Column("kind", most=32),
        Column("object", most=24),
        *([CLUSTER] if has_clusters else []),
        Column("node", "cyan", most=NODE),
        Column("count", justify="right"),
        Column(clock.heading("since")),
        Column("lasted", from_width=_MEDIUM),
        Column("key", "dim", wraps=True),
    )
    rows: list[tuple[str | Text, ...]] = [
        (
            _state(incident),
            severity(incident.severity),
            incident.kind,
            incident.object or "-",
            *([incident.cluster or "-"] if has_clusters else []),
            incident.node or "-",
            f"{incident.count:,}",
            clock.text(incident.first_at),
            _lasted(screen, incident),
            incident.key.rpartition("@")[0],
        )
        for incident in incidents
    ]
    screen.table(columns, rows, continued=continued)


def not_complete(answer: IncidentPage) -> str | None:
    """Return that incidents may be missing, None if each is there."""
    if answer.complete:
        return None
    return "The incidents are being made again of the stored events: more may be open."


def show_incident(screen: Screen, answer: OneIncident) -> None:
    """Show all fields of an incident."""
    _show_facts(screen, answer.incident)


def history_of(answer: IncidentHistory) -> str:
    """Return the state of an incident and how it came to that, for below its events."""
    incident = answer.incident
    changes = " → ".join(
        f"{one.at:%Y-%m-%d %H:%M:%S}Z {one.state}"
        + (f" by {one.by}" if one.by else "")
        + (f" ({one.reason})" if one.reason else "")
        for one in answer.transitions
    )
    first = "… → " if answer.truncated else ""
    return f"{incident.key}: {incident.state}, {incident.count:,} alerts. {first}{changes}"


def show_silences(screen: Screen, silences: Sequence[Silence], *, continued: bool = False) -> None:
    """Show silences, one a row."""
    clock = screen.clock(at for one in silences for at in (one.since, one.until))
    columns = (
        Column("key"), Column("node", "cyan", most=NODE), Column("kind"), CLUSTER,
        Column(clock.heading("from")), Column(clock.heading("until")), Column("by", most=NODE), Column("reason", wraps=True),
    )  # fmt: skip
    rows = [
        (
            one.key or "any", one.node or "any", one.kind or "any",
            "any" if one.cluster is None else one.cluster or "-",
            clock.text(one.since), clock.text(one.until), one.by or "-", one.reason or "-",
        )
        for one in silences
    ]  # fmt: skip
    screen.table(columns, rows, continued=continued)


def _show_facts(screen: Screen, incident: StoredIncident) -> None:
    clock = screen.clock([incident.first_at, incident.last_at, incident.recovered_at])
    seen = "-"
    if incident.acknowledged_by:
        seen = f"by {incident.acknowledged_by}"
    screen.facts(
        [
            ("incident", incident.key),
            ("state", _state(incident)),
            ("severity", severity(incident.severity)),
            ("kind", incident.kind),
            ("object", incident.object or "-"),
            ("node", incident.node or "-"),
            ("cluster", incident.cluster or "-"),
            ("alerts", f"{incident.count:,}"),
            ("first", f"{clock.named(incident.first_at)}, {ago(incident.first_at, screen.now)}"),
            ("last", f"{clock.named(incident.last_at)}, {ago(incident.last_at, screen.now)}"),
            ("lasted", _lasted(screen, incident)),
            ("seen", seen),
            ("note", incident.note or "-"),
            ("part of", incident.caused_by or "-"),
        ]
    )


def _state(incident: StoredIncident) -> Text:
    text = Text(incident.state, _STATES.get(incident.state, ""))
    return text.append(", flapping", "yellow") if incident.flapping else text


def _lasted(screen: Screen, incident: StoredIncident) -> str:
    end = incident.recovered_at or incident.resolved_at or screen.now
    return duration(end - incident.first_at)
