"""The JSON Schemas of what publishers send, made from the classes that validate it."""

from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from jarvis_recorder.wire.codec import MAX_BATCH
from jarvis_recorder.wire.records import BODIES, Event, Snapshot, Turn
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.topics import DEAD_EXCHANGE, DEAD_QUEUE, EXCHANGE, TOPICS, Kind

DIALECT: Final = GenerateJsonSchema.schema_dialect

_BOUNDS: Final = Field(min_length=1, max_length=MAX_BATCH)
_BATCHES: Final[dict[Kind, Any]] = {
    Kind.EVENT: Annotated[list[Event], _BOUNDS],
    Kind.SNAPSHOT: Annotated[list[Snapshot], _BOUNDS],
    Kind.TURN: Annotated[list[Turn], _BOUNDS],
}

# What is so of every body and cannot be said in a JSON Schema.
_STRICTER: Final = (
    "Fields not named here are kept. Besides: no duplicate keys, no NUL characters, no lone "
    "surrogates, no integers beyond 64 bits, at most 100 levels."
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
    "x-recorder-expiration": "the property expiration, by which the letter would vanish",
}
_MAY_BE_ABSENT: Final = frozenset(("x-recorder-user-id", "x-recorder-expiration"))
_RULES: Final[dict[str, dict[str, Any]]] = {
    "x-recorder-reason": {"enum": [reason.value for reason in Reason]},
    "x-recorder-queue": {"enum": [topic.queue for topic in TOPICS]},
    "x-recorder-received-at": {"format": "date-time"},
    "x-recorder-sha256": {"pattern": "^[0-9a-f]{64}$"},
}


def documents() -> dict[str, dict[str, Any]]:
    """Return every schema by its name."""
    schemas = {}
    for topic in TOPICS:
        kind = topic.kind
        body = BODIES[kind].adapter.json_schema()
        where = f"Published to exchange `{EXCHANGE}` under `{topic.binding}`."
        schemas[kind.value] = _document(
            kind.value, body["title"], f"{body['description']} {where} {_STRICTER}", body
        )
        schemas[f"{kind.value}-batch"] = _document(
            f"{kind.value}-batch",
            f"{body['title']} batch",
            f"Many in one message: each is recorded or dead-lettered by itself. {where}",
            TypeAdapter(_BATCHES[kind]).json_schema(),
        )
    schemas["dead-letter"] = _dead_letter()
    return schemas


def _document(name: str, title: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    head = {
        "$schema": DIALECT,
        "$id": f"urn:jarvis-recorder:schema:{name}",
        "title": title,
        "description": description,
    }
    return head | {key: value for key, value in schema.items() if key not in head}


def _dead_letter() -> dict[str, Any]:
    return _document(
        "dead-letter",
        "Dead letter",
        f"The headers that the recorder adds to what it could not record, before it publishes it "
        f"to `{DEAD_EXCHANGE}`, which feeds `{DEAD_QUEUE}`. Body and properties are the "
        "original's. A letter without them was dead-lettered by the broker: see `x-death`.",
        {
            "type": "object",
            "properties": {
                name: {"type": "string", "description": description, **_RULES.get(name, {})}
                for name, description in _HEADERS.items()
            },
            "required": [name for name in _HEADERS if name not in _MAY_BE_ABSENT],
        },
    )
