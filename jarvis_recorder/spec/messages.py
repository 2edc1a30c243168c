"""The schemas of messages, generated from the classes that validate and write them."""

from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter

from jarvis_recorder.spec.json_schema import IN_DEFS, Schema, schema_of
from jarvis_recorder.wire.codec import MAX_BATCH
from jarvis_recorder.wire.notifications import Notification
from jarvis_recorder.wire.records import BODIES, Event, Snapshot, Turn
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.topics import DEAD_EXCHANGE, DEAD_QUEUE, EXCHANGE, TOPICS, Kind, Topic

_BOUNDS: Final = Field(min_length=1, max_length=MAX_BATCH)
_BATCHES: Final[dict[Kind, Any]] = {
    Kind.EVENT: Annotated[list[Event], _BOUNDS],
    Kind.SNAPSHOT: Annotated[list[Snapshot], _BOUNDS],
    Kind.TURN: Annotated[list[Turn], _BOUNDS],
}

# True of every body, but not expressible in JSON Schema.
_STRICTER: Final = (
    "Fields not named here are kept. Besides: no duplicate keys, no NUL characters, no lone "
    "surrogates, at most 100 levels."
)

_HEADERS: Final = {
    "x-recorder-reason": "why it could not be recorded",
    "x-recorder-error": "for people: says where, never repeats a value",
    "x-recorder-queue": "the queue it was taken from",
    "x-recorder-exchange": "the exchange it was published to",
    "x-recorder-routing-key": "the routing key it was published with",
    "x-recorder-received-at": "when it was refused, UTC",
    "x-recorder-version": "the version of the recorder that refused it",
    "x-recorder-sha256": "of the body, in hexadecimal",
    "x-recorder-user-id": "the property user_id, which only that user may publish again",
    "x-recorder-expiration": "the property expiration, by which the dead letter would vanish",
    "x-recorder-replays": "how often it was replayed before",
}
_MAY_BE_ABSENT: Final = frozenset(
    ("x-recorder-user-id", "x-recorder-expiration", "x-recorder-replays")
)
_RULES: Final[dict[str, dict[str, Any]]] = {
    "x-recorder-reason": {"enum": [reason.value for reason in Reason]},
    "x-recorder-queue": {"enum": [topic.queue for topic in TOPICS]},
    "x-recorder-received-at": {"format": "date-time"},
    "x-recorder-sha256": {"pattern": "^[0-9a-f]{64}$"},
}


def body(topic: Topic) -> Schema:
    """Return the schema of one body."""
    schema = schema_of(BODIES[topic.kind].adapter)
    description = f"{schema['description']} {_published(topic)} {_STRICTER}"
    return schema | {"description": description}


def batch(topic: Topic, *, refs: str = IN_DEFS) -> Schema:
    """Return the schema of an array of bodies."""
    schema = schema_of(TypeAdapter(_BATCHES[topic.kind]), refs=refs)
    return {
        "title": f"{topic.kind.capitalize()} batch",
        "description": "Many in one message: each is recorded or dead-lettered by itself. "
        f"{_published(topic)}",
        **schema,
    }


def _published(topic: Topic) -> str:
    return f"Published to exchange `{EXCHANGE}` under `{topic.binding}`."


def notice(announced: Notification, *, refs: str = IN_DEFS) -> Schema:
    """Return the schema of a notification."""
    schema = schema_of(adapter(announced.body), "serialization", refs=refs)
    description = (
        f"{announced.occasion} Announced on exchange `{EXCHANGE}` under "
        f"`{announced.routing_key}`, after the commit, at least once; every time with the "
        "same `message_id`."
    )
    return schema | {"title": announced.routing_key, "description": description}


def dead_letter() -> Schema:
    """Return the schema of the headers that explain a dead letter."""
    return {
        "title": "Dead letter",
        "description": "The headers that the recorder adds to what it could not record, before "
        f"it publishes it to `{DEAD_EXCHANGE}`, which feeds `{DEAD_QUEUE}`. Body and properties "
        "are the original's. A letter without them was dead-lettered by the broker: see "
        "`x-death`.",
        "type": "object",
        "properties": {
            name: {"type": "string", "description": description, **_RULES.get(name, {})}
            for name, description in _HEADERS.items()
        },
        "required": [name for name in _HEADERS if name not in _MAY_BE_ABSENT],
    }
