"""Published records, one a line, for people or as JSON."""

from dataclasses import asdict
from typing import Any

from pydantic_core import to_json
from rich.text import Text

from jarvis_recorder.cli.output.sanitize import sanitize_json
from jarvis_recorder.cli.output.screen import ROLE, SEVERITY, Screen
from jarvis_recorder.wire.records import Event, Record, Snapshot, Turn
from jarvis_recorder.wire.times import format_rfc3339, to_datetime


def show_record(screen: Screen, record: Record) -> None:
    """Show a record as one line, cut at the width of the terminal."""
    moment = to_datetime(record.timestamp)
    when = screen.clock([moment]).text(moment, "%H:%M:%S")
    screen.drawing([Text.assemble((when, "dim"), " ", *_summary(record.body))])
    screen.flush()


def _summary(body: Event | Snapshot | Turn) -> list[Text]:
    match body:
        case Event():
            colour = SEVERITY.get(body.severity, "")
            return [
                Text(f"{body.severity:<9}", colour),
                Text(f" {body.node or '-':<10} ", "cyan"),
                Text(body.summary),
            ]
        case Turn():
            return [
                Text(f"{body.role:<9}", ROLE.get(body.role, "")),
                Text(f" {body.session_id:<10} ", "cyan"),
                Text(body.content),
            ]
    name = body.cluster or "-"
    return [Text(f"{'snapshot':<9}", "dim"), Text(f" {name:<10} ", "cyan"), _outline(body.snapshot)]


def _outline(snapshot: dict[str, Any]) -> Text:
    """Return the fields of a snapshot in a few words."""
    parts = (
        f"{len(value)} {name}" if isinstance(value, list | dict) else name
        for name, value in snapshot.items()
    )
    return Text(", ".join(parts) or "empty", "dim")


def record_json(record: Record, encoding: str) -> str:
    """Return a record as one line of JSON: kind, identity, time, the fields of its body."""
    body = asdict(record.body)
    for envelope in ("id", "timestamp"):
        del body[envelope]
    if body.get("cost_usd") is not None:
        body["cost_usd"] = format(body["cost_usd"], "f")
    document = {
        "kind": record.kind.value,
        "message_id": record.message_id,
        "timestamp": format_rfc3339(record.timestamp),
        "stamped": record.stamped,
        **body,
        "extra": record.extra,
    }
    return sanitize_json(to_json(document).decode(), encoding)
