"""
Records before they are published: created from plain values, written as messages. Pure.

A record is valid once it is created, by the same classes that the recorder validates it with.
It holds its identity and its time, so publishing the same record twice stores it once.
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import uuid_utils
from pydantic import ValidationError
from pydantic_core import to_json

from jarvis_recorder.client.errors import invalid
from jarvis_recorder.errors import InvalidParameter, MessageTooLarge
from jarvis_recorder.wire import strict_json
from jarvis_recorder.wire.amqp.properties import encode_message
from jarvis_recorder.wire.records import (
    BODIES,
    Event,
    EventType,
    Record,
    Role,
    Severity,
    Snapshot,
    Source,
    Turn,
)
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.times import format_datetime, format_rfc3339, to_micros
from jarvis_recorder.wire.topics import TOPICS, Kind

Extra = Mapping[str, Any]

_MAX_SHORT_STRING: Final = 255
_MAX_BYTES: Final = {topic.kind: topic.max_bytes for topic in TOPICS}


class OutgoingMessage(NamedTuple):
    """A record as a message for the broker."""

    routing_key: str
    message_id: str
    properties: bytes
    body: bytes


def new_event(
    *,
    type: EventType,
    source: Source,
    summary: str,
    severity: Severity = "info",
    node: str | None = None,
    cluster: str | None = None,
    details: Any = None,
    timestamp: datetime | None = None,
    message_id: str | None = None,
    extra: Extra | None = None,
) -> Record:
    """
    Return an event, ready to be published; `extra` holds fields of your own.

    Without a `message_id` it gets a UUIDv7, and without a `timestamp` the current time. With
    a `message_id` alone its time is only that of the message: creating it again later with the
    same `message_id` creates the same event.

    Raises:
        InvalidParameter: A value the recorder would refuse; the message names the field.
    """
    body = {
        "type": type,
        "source": source,
        "summary": summary,
        "severity": severity,
        "node": node,
        "cluster": cluster,
        "details": details,
    }
    return _record(Kind.EVENT, body, timestamp, message_id, extra)


def new_snapshot(
    snapshot: dict[str, Any],
    *,
    cluster: str = "",
    timestamp: datetime | None = None,
    message_id: str | None = None,
    extra: Extra | None = None,
) -> Record:
    """Return the whole state of a cluster, ready to be published; otherwise as `new_event`."""
    body = {"snapshot": snapshot, "cluster": cluster}
    return _record(Kind.SNAPSHOT, body, timestamp, message_id, extra)


def new_turn(
    *,
    session_id: str,
    role: Role,
    content: str,
    model: str | None = None,
    tokens_used: int | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cost_usd: Decimal | int | str | None = None,
    tool_calls: Any = None,
    timestamp: datetime | None = None,
    message_id: str | None = None,
    extra: Extra | None = None,
) -> Record:
    """Return a turn of a conversation, ready to be published; otherwise as `new_event`."""
    body = {
        "session_id": session_id,
        "role": role,
        "content": content,
        "model": model,
        "tokens_used": tokens_used,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cost_usd": cost_usd,
        "tool_calls": tool_calls,
    }
    return _record(Kind.TURN, body, timestamp, message_id, extra)


def _record(
    kind: Kind,
    body: dict[str, Any],
    timestamp: datetime | None,
    message_id: str | None,
    extra: Extra | None,
) -> Record:
    stamped = timestamp is None and message_id is not None
    moment = timestamp or datetime.now(UTC)
    if moment.tzinfo is None:
        raise InvalidParameter("timestamp", "timestamp: a time without an offset names no instant")
    if extra and (known := BODIES[kind].fields & extra.keys()):
        raise InvalidParameter("extra", f"extra: {min(known)} is a field of its own")
    try:
        validated = BODIES[kind].adapter.validate_python(
            {**body, "id": message_id, "timestamp": None if stamped else format_datetime(moment)}
        )
    except ValidationError as error:
        raise invalid(error) from None
    identity = message_id or str(uuid_utils.uuid7())
    return Record(kind, identity, to_micros(moment), stamped, validated, dict(extra or {}) or None)


def to_message(record: Record, app_id: str) -> OutgoingMessage:
    """
    Return a record as a message.

    Raises:
        InvalidParameter: Something in it is not JSON that every reader agrees on.
        MessageTooLarge: The recorder would refuse it for its size.
    """
    body = _body(record)
    if len(body) > _MAX_BYTES[record.kind]:
        raise MessageTooLarge(f"the body is larger than {_MAX_BYTES[record.kind]} bytes")
    identity = record.message_id or str(uuid_utils.uuid7())
    if len(identity.encode()) > _MAX_SHORT_STRING:
        raise InvalidParameter("message_id", "message_id: must be at most 255 bytes")
    properties = encode_message(identity, max(record.timestamp, 0), app_id)
    return OutgoingMessage(routing_key(record), identity, properties, body)


def _body(record: Record) -> bytes:
    document = dict(record.extra or {})
    for field in fields(record.body):
        value = getattr(record.body, field.name)
        if value is not None and field.name not in ("id", "timestamp"):
            document[field.name] = value
    if not record.stamped:
        document["timestamp"] = format_rfc3339(record.timestamp)
    try:
        body = to_json(document)
        # A body that cannot be stored is refused here, to the caller, not dead-lettered later.
        strict_json.parse(body)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter("", f"this cannot be sent as JSON: {error}") from error
    except Refused as refusal:
        raise InvalidParameter("", refusal.error) from refusal
    return body


def routing_key(record: Record) -> str:
    """Return the routing key of a record (docs/protocol.md); the body holds the same values."""
    match record.body:
        case Event():
            return f"cluster.event.{record.body.type}.{record.body.severity}"
        case Snapshot(cluster=cluster):
            key = f"cluster.snapshot.{cluster}" if cluster else "cluster.snapshot"
            return key if len(key.encode()) <= _MAX_SHORT_STRING else "cluster.snapshot"
        case Turn():
            return f"chat.turn.{record.body.role}"
