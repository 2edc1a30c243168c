"""
Rows of the system before the recorder, as the records they would have been as messages.

Its times are text without a zone and mean UTC; its JSON is text that nobody had checked. A row
keeps the rules of a message, or says which one it breaks.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from jarvis_recorder.wire import strict_json
from jarvis_recorder.wire.records import BODIES, Record
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.times import parse_rfc3339, to_datetime
from jarvis_recorder.wire.topics import Kind

KINDS: Final = {
    "events": Kind.EVENT,
    "conversations": Kind.TURN,
    "cluster_snapshots": Kind.SNAPSHOT,
}
PREFERENCES: Final = "preferences"

_DATE_LENGTH: Final = 10
_RESOLUTION: Final = frozenset(("resolved", "resolved_at", "resolved_by"))
_JSON: Final = frozenset(("details", "tool_calls", "snapshot"))

Cells = Mapping[str, Any]


class Left(Exception):
    """A row that cannot be taken over; says why, without its values."""


class Resolution(NamedTuple):
    """Whether an event is resolved, when and by whom."""

    resolved: bool
    at: datetime | None
    by: str | None


def record_of(table: str, cells: Cells) -> Record:
    """
    Return the record that a row is; its identity is made of its table and its id.

    Raises:
        Left: It breaks a rule.
    """
    kind = KINDS[table]
    rules = BODIES[kind]
    body: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in cells.items():
        if name == "id" or name in _RESOLUTION or value is None:
            continue
        if name in rules.fields:
            body[name] = _cell(name, value)
        else:
            extra[name] = value.hex() if isinstance(value, bytes) else value
    body["timestamp"] = _spelt(body.get("timestamp"))
    _require_storable([*body.values(), *extra.values()])
    try:
        made = rules.adapter.validate_python(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Left(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    return Record(kind, f"origin:{table}:{cells['id']}", made.timestamp, False, made, extra or None)


def resolution_of(cells: Cells) -> Resolution:
    """
    Return how an event was resolved.

    Raises:
        Left: Its time is none.
    """
    if not cells.get("resolved"):
        return Resolution(False, None, None)
    at, by = cells.get("resolved_at"), cells.get("resolved_by")
    return Resolution(True, None if at is None else moment_of(at), None if by is None else str(by))


def moment_of(text: Any) -> datetime:
    """
    Return the moment that a time of the original's means: UTC where it names no zone.

    Raises:
        Left: It is none.
    """
    try:
        return to_datetime(parse_rfc3339(_spelt(text)))
    except ValueError:
        raise Left("a time that is none") from None


def _spelt(text: Any) -> str:
    """Return a time as RFC 3339 spells it."""
    if not isinstance(text, str):
        raise Left("a time that is no text")
    day, rest = text[:_DATE_LENGTH], text[_DATE_LENGTH + 1 :]
    rest = rest or "00:00:00"
    zoned = rest[-1:] in "Zz" or "+" in rest or "-" in rest
    return f"{day}T{rest}{'' if zoned else 'Z'}"


def _cell(name: str, value: Any) -> Any:
    if name not in _JSON:
        return value
    if not isinstance(value, str):
        raise Left(f"{name}: no text")
    try:
        return strict_json.parse(value.encode())
    except (Refused, UnicodeEncodeError):
        # Nobody had checked it; as a text it is at least not lost.
        return value


def _require_storable(values: list[Any]) -> None:
    for value in values:
        if not isinstance(value, str):
            continue
        if "\0" in value:
            raise Left("a text holds a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Left("a text is not Unicode") from None
