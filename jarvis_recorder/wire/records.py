"""
The bodies that publishers send, and the record that is stored.

The classes are the single source of the rules for a body: they validate it and they
generate the JSON Schemas in `schemas/`.
"""

import re
from dataclasses import fields
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, WithJsonSchema
from pydantic.dataclasses import dataclass
from pydantic_core import to_json

from jarvis_recorder.wire.identity import NIL
from jarvis_recorder.wire.strict_json import WrittenFloat, dump
from jarvis_recorder.wire.times import is_unset, parse_instant, parse_strictly
from jarvis_recorder.wire.topics import Kind

_COST: Final = r"^[0-9]{1,30}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?$"
_DECIMAL: Final = re.compile(_COST, re.ASCII).fullmatch
_ZERO: Final = re.compile(r"-?0{1,30}(\.0{1,40})?([eE][+-]?[0-9]{1,3})?", re.ASCII).fullmatch


def _instant(value: Any) -> Any:
    """Return the instant of an RFC 3339 text; the error for any other names the wrong part."""
    if isinstance(value, str):
        if is_unset(value):
            raise ValueError("a time must have been set: this is what Go and .NET write for none")
        try:
            return parse_strictly(value)
        except ValueError as error:
            parse_instant(value)
            raise error from None
    parse_instant(value)
    raise ValueError("a time must be a text, such as 2026-01-31T08:00:00Z")


def _that_was_set(identity: str) -> str:
    if identity == NIL:
        raise ValueError("an identity must have been set: this is what .NET and Go write for none")
    return identity


def _decimal(value: Any) -> Any:
    """Accept a number or its text; refuse an absurd magnitude before it is written out."""
    if isinstance(value, WrittenFloat):
        value = value.written
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return value
    if isinstance(value, str) and _DECIMAL(value) is None and _ZERO(value) is None:
        raise ValueError("must be a decimal number from 0")
    number = Decimal(value)
    if not -30 <= number.adjusted() <= 30:
        if number.is_zero():
            return Decimal(0)
        raise ValueError("must be a decimal number below 1e30 with at most 30 places")
    return number.copy_abs() if number.is_zero() else number


Instant = Annotated[
    int,
    BeforeValidator(_instant),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "description": "RFC 3339, with an offset"}
    ),
]
Identity = Annotated[str, Field(min_length=1, max_length=255)]
OwnIdentity = Annotated[Identity, AfterValidator(_that_was_set)]
EventType = Literal["alert", "action", "status", "metric"]
Severity = Literal["info", "warning", "error", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "error", "critical")
"""From the least to the most severe."""
RANKS: Final = {severity: rank for rank, severity in enumerate(SEVERITIES)}
Source = Literal["monitor", "user", "jarvis", "system"]
Role = Literal["user", "assistant", "system", "tool"]
TypeField = Annotated[EventType, Field(description="what kind of event")]
SeverityField = Annotated[Severity, Field(description="how bad it is")]
SourceField = Annotated[Source, Field(description="who says so")]
Summary = Annotated[
    str, Field(min_length=1, max_length=8192, description="what happened, for people")
]
NodeName = Annotated[str, Field(max_length=255, description="the node it is about")]
ClusterName = Annotated[
    str, Field(max_length=255, description="the cluster, where there are several")
]
Details = Annotated[Any, Field(description="more about it, any JSON")]
Count = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]
Cost = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    Field(ge=0, max_digits=60),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": _COST},
            ]
        }
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """
    The fields that all bodies share.

    Dataclasses with slots, because thousands are alive at once: as models they took twice
    the time to create and most of the memory.
    """

    id: Annotated[
        OwnIdentity | None,
        Field(description="identity, where the message itself has no `message_id`"),
    ] = None
    timestamp: Annotated[Instant | None, Field(description="when it happened")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(_Body):
    """Something that happened in the cluster."""

    type: TypeField
    severity: SeverityField = "info"
    source: SourceField
    summary: Summary
    node: NodeName | None = None
    details: Details = None
    cluster: ClusterName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(_Body):
    """The whole state of a cluster at one time."""

    snapshot: dict[str, Any]
    cluster: ClusterName = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(_Body):
    """One turn of a conversation with the assistant."""

    session_id: Identity
    role: Role
    content: str
    model: Annotated[str, Field(max_length=255)] | None = None
    tokens_used: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cost_usd: Cost | None = None
    tool_calls: Any = None


Body = Event | Snapshot | Turn


class BodyRules(NamedTuple):
    """The validator of one kind of body, and the names of its fields: others are extra."""

    adapter: TypeAdapter[Any]
    fields: frozenset[str]


def _rules(body: type[Event] | type[Snapshot] | type[Turn]) -> BodyRules:
    return BodyRules(TypeAdapter(body), frozenset(field.name for field in fields(body)))


BODY_CLASSES: Final[dict[Kind, type[Event] | type[Snapshot] | type[Turn]]] = {
    Kind.EVENT: Event,
    Kind.SNAPSHOT: Snapshot,
    Kind.TURN: Turn,
}
BODIES: Final = {kind: _rules(body) for kind, body in BODY_CLASSES.items()}


class Record(NamedTuple):
    """
    A body with the envelope that all kinds share.

    `timestamp` is in microseconds since the epoch. The record is `stamped` if the body gave no
    time: then only the identity tells two messages apart. `extra` holds the fields that the
    sender added to the known ones, an object or nothing. `position` is its index in a batch
    message.

    In a `packed` record the fields that may be any JSON are bytes: JSON text in UTF-8.
    """

    kind: Kind
    message_id: str | None
    timestamp: int
    stamped: bool
    body: Body
    extra: Any
    position: int | None = None


EventRow = tuple[Any, ...]
"""An event as the values of `EVENT_COLUMNS`, ready to be stored; those seldom given come last."""
EVENT_COLUMNS: Final = (
    "message_id",
    "timestamp",
    "stamped",
    "type",
    "severity",
    "source",
    "node",
    "summary",
    "details",
    "cluster",
    "extra",
)


def event_row(record: Record) -> EventRow:
    """Return the row of an event, JSON as text."""
    _, message_id, timestamp, stamped, event, extra, _ = record
    assert isinstance(event, Event)
    return (
        message_id,
        timestamp,
        int(stamped),
        event.type,
        event.severity,
        event.source,
        event.node,
        event.summary,
        json_text(event.details),
        # Empty means that the event names no cluster.
        event.cluster or None,
        json_text(extra),
    )


def json_text(value: Any) -> str | None:
    """Return what may be any JSON, `packed` or not, as JSON text; None is no value."""
    if isinstance(value, bytes):
        return value.decode()
    return None if value is None else dump(value)


def identity_of(record: Record | EventRow) -> str | None:
    """Return the identity of a record, which may be a row already."""
    identity: str | None = record.message_id if isinstance(record, Record) else record[0]
    return identity


def kind_of(record: Record | EventRow) -> Kind:
    """Return the kind of a record, which may be a row already."""
    return record.kind if isinstance(record, Record) else Kind.EVENT


OPEN: Final = {Kind.EVENT: "details", Kind.SNAPSHOT: "snapshot", Kind.TURN: "tool_calls"}
"""The field that may be any JSON."""
SILENT: Final = {Kind.EVENT: "severity", Kind.SNAPSHOT: "cluster", Kind.TURN: "role"}
"""The field that the routing key supplies where the body omits it."""


def packed(record: Record) -> Record:
    """
    Return a newly decoded record with its fields that may be any JSON as text.

    As objects they would take up to thirty times as much memory while the record waits.
    """
    kind, message_id, timestamp, stamped, body, extra, position = record
    field = OPEN[kind]
    value = getattr(body, field)
    if value is not None:
        # In place: creating another body would validate it again.
        object.__setattr__(body, field, to_json(value))
    if extra is None:
        return record
    return Record(kind, message_id, timestamp, stamped, body, to_json(extra), position)
