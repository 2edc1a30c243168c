"""A list of events, and one event with all its fields."""

import json
from collections.abc import Sequence
from typing import Final

from rich.text import Text

from jarvis_recorder.cli.output.screen import CLUSTER, NODE, SEVERITY, Column, Screen
from jarvis_recorder.cli.output.units import ago
from jarvis_recorder.wire.rpc.results import OneEvent, StoredEvent

_MEDIUM: Final = 100
_WIDE: Final = 120


class EventTable:
    """
    Events in the order of the pages, as a table.

    From the first page with events of several clusters on (none counts as one), a column names them.
    """

    def __init__(self) -> None:
        self._clusters: set[str | None] = set()

    def __call__(
        self, screen: Screen, events: Sequence[StoredEvent], *, continued: bool = False
    ) -> None:
        """Show a page; no headings if it continues one with the same columns."""
        had_several = len(self._clusters) > 1
        self._clusters.update(event.cluster for event in events)
        have_several = len(self._clusters) > 1
        clock = screen.clock(event.timestamp for event in events)
        columns = (
            Column("id", "dim", "right"),
            Column(clock.heading()),
            Column("severity"),
            Column("type", from_width=_MEDIUM),
            Column("source", from_width=_WIDE),
            *([CLUSTER] if have_several else []),
            Column("node", "cyan", most=NODE),
            Column("resolved by", "green", most=NODE, from_width=_WIDE),
            Column("summary", wraps=True),
        )
        rows = [
            (
                str(event.id),
                clock.text(event.timestamp),
                severity(event.severity),
                event.type,
                event.source,
                *([event.cluster or "-"] if have_several else []),
                event.node or "-",
                event.resolved_by or ("yes" if event.resolved else "-"),
                _summary(screen, event),
            )
            for event in events
        ]
        screen.table(columns, rows, continued=continued and have_several is had_several)


def severity(value: str) -> Text:
    """Return a severity in its colour."""
    return Text(value, SEVERITY.get(value, ""))


def _summary(screen: Screen, event: StoredEvent) -> str | Text:
    """Return the summary, marked if the event is resolved and no column shows it."""
    if not (event.resolved and screen.is_terminal and screen.width < _WIDE):
        return event.summary
    return Text.assemble(("✓ ", "green"), (event.summary, "dim"))


def show_event(screen: Screen, answer: OneEvent) -> None:
    """Show all fields of one event."""
    event = answer.event
    clock = screen.clock([event.timestamp, event.resolved_at, event.recorded_at])
    when = f"{clock.named(event.timestamp)}, {ago(event.timestamp, screen.now)}"
    resolution = "no"
    if event.resolved:
        resolution = f"{clock.named(event.resolved_at)} by {event.resolved_by or 'no one named'}"
    screen.facts(
        [
            ("event", str(event.id)),
            ("time", when + (", when it came in" if event.stamped else "")),
            ("severity", severity(event.severity)),
            ("type", event.type),
            ("source", event.source),
            ("node", event.node or "-"),
            ("cluster", event.cluster or "-"),
            ("summary", event.summary),
            ("resolved", resolution),
            ("recorded", clock.named(event.recorded_at)),
            ("message id", event.message_id or "-"),
        ]
    )
    for name, value in (("details", event.details), ("further fields", event.extra)):
        if value is not None:
            screen.blank()
            screen.line((f"{name}:", "dim"), indent=1)
            screen.paragraphs(json.dumps(value, indent=2, ensure_ascii=False), indent=3)
    if event.omitted:
        names = ["further fields" if name == "extra" else name for name in event.omitted]
        left_out = f"not shown: {', '.join(names)}; `query event {event.id}` shows it"
        screen.blank()
        screen.line((left_out, "dim"), indent=1)
