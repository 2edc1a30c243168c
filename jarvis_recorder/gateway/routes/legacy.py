"""`/api/memory`: events and preferences, as the original system's frontend calls them."""

from typing import Annotated, Any

from fastapi import Header, Response
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from jarvis_recorder.client.rpc_methods import build_params
from jarvis_recorder.gateway.dependencies import AskFunction, Operating
from jarvis_recorder.gateway.routes.parameters import router
from jarvis_recorder.gateway.schemas import Body, reply, shape
from jarvis_recorder.wire import strict_json
from jarvis_recorder.wire.records import (
    ClusterName,
    EventType,
    Identity,
    NodeName,
    Source,
    Summary,
)
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.rpc import params, results
from jarvis_recorder.wire.rpc.times import GIVEN_SCHEMA

routes = router(tag="memory")


def _details(value: Any) -> Any:
    """Parse a text that is JSON, as the original's frontend sends it; others send an object."""
    if not isinstance(value, str):
        return value
    try:
        parsed = strict_json.parse(value.encode())
    except (Refused, UnicodeEncodeError):
        return value
    return parsed if isinstance(parsed, dict | list) else value


# Other words for a severity, such as Proxmox VE's, are taken, and the word sent is kept.
_AnySeverity = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}],
            "description": "info, warning, error or critical, or another system's word for one",
            "examples": ["info", "warning", "error", "critical"],
        }
    ),
]
# Accepted and kept the same way.
_AnyTime = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [*GIVEN_SCHEMA["anyOf"], {"const": ""}, {"type": "null"}],
            "description": f"{GIVEN_SCHEMA['description']}; an empty text is none",
        }
    ),
]


class NewEvent(Body):
    """
    An event to record, read as `events.record` reads it.

    `details` is JSON, or JSON as a text. Other fields are kept too.
    """

    model_config = ConfigDict(extra="allow")

    type: EventType
    source: Source
    summary: Summary
    severity: _AnySeverity = "info"
    node: NodeName | None = None
    cluster: ClusterName | None = None
    details: Annotated[Any, BeforeValidator(_details)] = None
    timestamp: _AnyTime = None
    id: Identity | None = None
    message_id: Identity | None = None
    extra: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _eased(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        if "messageId" in body and "message_id" not in body:
            body = body | {"message_id": body["messageId"]}
            del body["messageId"]
        return params.eased_event(body)


def _value(value: Any) -> Any:
    """Return a value as text; a number or a flag becomes the text that the original makes of it."""
    return value if isinstance(value, str) else strict_json.dump(value)


class NewValue(Body):
    """A preference's new value; with `expectedVersion` only where it is at that version."""

    value: Annotated[
        str,
        BeforeValidator(_value),
        WithJsonSchema({"description": "a text; any other JSON is kept as its text"}),
    ]
    expected_version: Annotated[int | None, Field(strict=True, ge=0, le=2**63 - 1)] = None


@routes.post("/memory/events", status_code=201, response_model=shape(results.OneEvent))
async def record_event(
    _: Operating,
    ask: AskFunction,
    event: NewEvent,
    idempotency_key: Annotated[
        Identity | None, Header(description="the same one is recorded once")
    ] = None,
) -> Response:
    """Record an event; it is in the database, on disk, before this answers."""
    given = event.model_dump(exclude_unset=True)
    if idempotency_key is not None:
        given["message_id"] = idempotency_key
    recorded = await ask(build_params(params.RecordEvent, **given))
    return reply(recorded, 201)


@routes.put("/memory/preferences/{key:any}", response_model=shape(results.OnePreference))
async def set_preference(caller: Operating, ask: AskFunction, key: str, body: NewValue) -> Response:
    """Set a preference; 409 where it is at another version than expected."""
    answer = await ask(
        build_params(
            params.SetPreference,
            key=key,
            value=body.value,
            expected_version=body.expected_version,
            updated_by=caller.name,
        )
    )
    return reply(answer)
