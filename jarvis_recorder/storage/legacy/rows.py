"""
The conversion of the original system's rows into records, by the rules of messages.

Its times are text without a zone, in UTC; its JSON is unchecked text. A row is read as
liberally as a message, or rejected with the rule it breaks. An optional column never costs
its row: an invalid value is kept in `extra`.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields
from datetime import datetime
from math import isfinite
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from jarvis_recorder.wire import liberal, strict_json
from jarvis_recorder.wire.records import BODIES, BODY_CLASSES, Body, Record
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.times import parse_rfc3339, to_datetime
from jarvis_recorder.wire.topics import Kind
from jarvis_recorder.wire.validation import errors_of

KINDS: Final = {
    "events": Kind.EVENT,
    "conversations": Kind.TURN,
    "cluster_snapshots": Kind.SNAPSHOT,
}
PREFERENCES: Final = "preferences"

_DATE_LENGTH: Final = 10
_RESOLUTION: Final = frozenset(("resolved", "resolved_at", "resolved_by"))
_OPTIONAL: Final = {
    kind: frozenset(one.name for one in fields(body) if one.default is not MISSING) - {"timestamp"}
    for kind, body in BODY_CLASSES.items()
}
_JSON: Final = frozenset(("details", "tool_calls", "snapshot"))

Cells = Mapping[str, Any]


class RowRejected(Exception):
    """A row that cannot be imported; the message says why, without the row's values."""


class Resolution(NamedTuple):
    """The resolution of an event: if it is resolved, the time and the name."""

    resolved: bool
    at: datetime | None
    by: str | None


def record_of(table: str, cells: Cells) -> Record:
    """
    Convert a row to a record, identified by its table and id.

    Raises:
        RowRejected: It breaks a rule in a required column.
    """
    if not isinstance(cells["id"], int):
        raise RowRejected("an id that is no integer")
    kind = KINDS[table]
    known = BODIES[kind].fields
    body: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in cells.items():
        if name == "id" or name in _RESOLUTION or value is None:
            continue
        try:
            taken = storable(_cell(name, value)) if name in known else _kept(value)
        except RowRejected:
            if name not in _OPTIONAL[kind]:
                raise
            extra[name] = _kept(value)
        else:
            (body if name in known else extra)[name] = taken
    body["timestamp"] = _spelt(body.get("timestamp"))
    if _moment_or_none(at := cells.get("resolved_at")) is None and at is not None:
        extra["resolved_at"] = _kept(at)
    made = _validated(kind, body, extra)
    assert made.timestamp is not None
    return Record(kind, f"origin:{table}:{cells['id']}", made.timestamp, False, made, extra or None)


def storable(value: Any) -> Any:
    """
    Return the value if the database can store it.

    Raises:
        RowRejected: It cannot.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise RowRejected("a text holds a NUL character")
        if _text(value) is not value:
            raise RowRejected("a text is not Unicode")
    return value


def _validated(kind: Kind, body: dict[str, Any], extra: dict[str, Any]) -> Body:
    """Return the body; values that it cannot hold as written go to `extra`."""
    validate = BODIES[kind].adapter.validate_python
    with suppress(ValidationError):
        return _as_body(validate(body))
    eased = liberal.eased(kind, body, b"")
    extra |= liberal.changed(kind, body, eased)
    try:
        return _as_body(validate(eased))
    except ValidationError as error:
        found = errors_of(error)
    for one in found:
        name = one.path.partition(".")[0]
        if name not in _OPTIONAL[kind]:
            raise RowRejected(str(one))
        if name in eased:
            extra[name] = body[name]
            del eased[name]
    return _as_body(validate(eased))


def _as_body(made: Any) -> Body:
    body: Body = made
    return body


def resolution_of(cells: Cells) -> Resolution:
    """Return an event's resolution, without a time if the stored one is invalid."""
    if not cells.get("resolved"):
        return Resolution(False, None, None)
    by = cells.get("resolved_by")
    return Resolution(
        True, _moment_or_none(cells.get("resolved_at")), None if by is None else _text(by)
    )


def _moment_or_none(text: Any) -> datetime | None:
    try:
        return moment_of(text)
    except RowRejected:
        return None


def moment_of(text: Any) -> datetime:
    """
    Parse one of the original's times, which is UTC if it names no zone.

    Raises:
        RowRejected: It is not a time.
    """
    try:
        return to_datetime(parse_rfc3339(_spelt(text)))
    except ValueError:
        raise RowRejected("a time that is none") from None


def _spelt(text: Any) -> str:
    """Return a time in the form of RFC 3339."""
    if not isinstance(text, str):
        raise RowRejected("a time that is no text")
    day, rest = text[:_DATE_LENGTH], text[_DATE_LENGTH + 1 :]
    rest = rest or "00:00:00"
    zoned = rest[-1:] in "Zz" or "+" in rest or "-" in rest
    return f"{day}T{rest}{'' if zoned else 'Z'}"


def _cell(name: str, value: Any) -> Any:
    if name not in _JSON:
        return value
    if not isinstance(value, str):
        raise RowRejected(f"{name}: no text")
    try:
        return strict_json.parse(value.encode())
    except (Refused, UnicodeEncodeError):
        # Unchecked in the original; as text it is at least not lost.
        return value


def _kept(value: Any) -> Any:
    """Return a value in a form that JSON can hold, bytes in hexadecimal."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return _text(value) if isinstance(value, str) else value


def _text(value: Any) -> str:
    """Return a value as text, with escapes for NUL, and for bytes that are not Unicode."""
    text = value if isinstance(value, str) else str(value)
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text
