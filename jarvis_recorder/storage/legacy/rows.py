"""
Rows of the system before the recorder, as the records they would have been as messages.

Its times are text without a zone and mean UTC; its JSON is text that no one had checked. A row
keeps the rules of a message, read as liberally, or says which one it breaks. A column that may
be empty costs no row: what is wrong there is kept in `extra`.
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
        Left: It breaks a rule in a column that must be filled.
    """
    kind = KINDS[table]
    known = BODIES[kind].fields
    body: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in cells.items():
        if name == "id" or name in _RESOLUTION or value is None:
            continue
        try:
            storable = _storable(_cell(name, value)) if name in known else _kept(value)
        except RowRejected:
            if name not in _OPTIONAL[kind]:
                raise
            extra[name] = _kept(value)
        else:
            (body if name in known else extra)[name] = storable
    body["timestamp"] = _spelt(body.get("timestamp"))
    if _moment_or_none(at := cells.get("resolved_at")) is None and at is not None:
        extra["resolved_at"] = _kept(at)
    made = _validated(kind, body, extra)
    assert made.timestamp is not None
    return Record(kind, f"origin:{table}:{cells['id']}", made.timestamp, False, made, extra or None)


def _validated(kind: Kind, body: dict[str, Any], extra: dict[str, Any]) -> Body:
    """Return the body; what is not kept in it as it was written goes to `extra`."""
    validate = BODIES[kind].adapter.validate_python
    with suppress(ValidationError):
        return _as_body(validate(body))
    eased = liberal.eased(kind, body, b"")
    extra |= liberal.changed(kind, body, eased)
    try:
        return _as_body(validate(eased))
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
    for one in found:
        name = str(one["loc"][0])
        if name not in _OPTIONAL[kind]:
            where = ".".join(map(str, one["loc"]))
            raise RowRejected(f"{where}: {one['msg'].removeprefix('Value error, ')}")
        if name in eased:
            extra[name] = body[name]
            del eased[name]
    return _as_body(validate(eased))


def _as_body(made: Any) -> Body:
    body: Body = made
    return body


def resolution_of(cells: Cells) -> Resolution:
    """Return how an event was resolved; at no moment where its time is none."""
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
    Return the moment that a time of the original's means: UTC where it names no zone.

    Raises:
        Left: It is none.
    """
    try:
        return to_datetime(parse_rfc3339(_spelt(text)))
    except ValueError:
        raise RowRejected("a time that is none") from None


def _spelt(text: Any) -> str:
    """Return a time as RFC 3339 spells it."""
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
        # No one had checked it; as a text it is at least not lost.
        return value


def _storable(value: Any) -> Any:
    """
    Return a value that the database can hold.

    Raises:
        Left: It cannot.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise RowRejected("a text holds a NUL character")
        if _text(value) is not value:
            raise RowRejected("a text is not Unicode")
    return value


def _kept(value: Any) -> Any:
    """Return a value as JSON can hold it, bytes in hexadecimal."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return _text(value) if isinstance(value, str) else value


def _text(value: Any) -> str:
    """Return a text; bytes of it that are not Unicode as escapes."""
    text = value if isinstance(value, str) else str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text
