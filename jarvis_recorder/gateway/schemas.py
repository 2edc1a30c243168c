"""The bodies of requests and responses, spelled for the original system's frontend."""

import re
from dataclasses import fields, is_dataclass
from functools import reduce
from operator import or_
from types import GenericAlias, UnionType
from typing import Annotated, Any, Final, get_args, get_origin

from fastapi import Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel

from jarvis_recorder.wire import strict_json
from jarvis_recorder.wire.rpc import results
from jarvis_recorder.wire.rpc.times import Time


class Shape(BaseModel):
    """A model that is read from a result's attributes and written in camelCase."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, from_attributes=True, frozen=True
    )


class Body(BaseModel):
    """The body of a request, in camelCase; a name that it does not have is refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid"
    )


JSON: Final = "application/json"


def reply(answer: Any, status: int = 200) -> Response:
    """Return the response that holds a result; one pass through pydantic, for speed."""
    body = shaped(answer).model_dump_json(by_alias=True)
    return Response(body, status, media_type=JSON)


def shaped(answer: Any) -> Shape:
    """Return a result of the recorder in its shape; a shape as it is."""
    return answer if isinstance(answer, Shape) else shape(type(answer)).model_validate(answer)


def _as_text(details: Any) -> Any:
    return details if details is None or isinstance(details, str) else strict_json.dump(details)


JsonText = Annotated[
    str | None,
    BeforeValidator(_as_text),
    Field(description="JSON as a text, as the original system keeps it"),
]


def _named_as_here(omitted: list[str]) -> list[str]:
    """Return the names in camelCase, without `extra`, which these models never show."""
    return [to_camel(name) for name in omitted if name != "extra"]


Omitted = Annotated[
    list[str],
    BeforeValidator(_named_as_here),
    Field(
        description="the fields left out because they take more than 64 KiB; of `content` the first "
        "1,000 characters stay. `/api/events/{id}`, `/api/turns/{id}` and `/api/snapshots/at` give "
        "the whole"
    ),
]


class Event(Shape):
    """An event as the original system shows it."""

    id: int
    timestamp: Time
    type: str
    severity: str
    source: str
    node: str | None
    summary: str
    details: JsonText
    resolved: bool
    resolved_at: Time | None
    resolved_by: str | None
    omitted: Omitted
    cluster: str | None


class Turn(Shape):
    id: int
    session_id: str
    timestamp: Time
    role: str
    content: str
    model: str | None
    tokens_used: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: results.Exact | None
    tool_calls: Any
    omitted: Omitted


class Snapshot(Shape):
    id: int
    cluster: str
    timestamp: Time
    size_bytes: int
    snapshot: dict[str, Any]
    omitted: Omitted


_SHAPES: Final[dict[type[Any], type[Shape]]] = {
    results.StoredEvent: Event,
    results.StoredTurn: Turn,
    results.StoredSnapshot: Snapshot,
}
_SNAKE: Final = re.compile(r"(?<=[a-z])_([a-z])")


def shape(result: type[Any]) -> type[Shape]:
    """Return the shape of a result's class: its own from above, else one of all its fields."""
    if result not in _SHAPES:
        members: dict[str, Any] = {field.name: _shaped(field.type) for field in fields(result)}
        # It names fields, which are in camelCase here.
        description = _SNAKE.sub(lambda found: found[1].upper(), result.__doc__ or "")
        model = create_model(result.__name__, __base__=Shape, __doc__=description, **members)
        _SHAPES[result] = model
    return _SHAPES[result]


def _shaped(kind: Any) -> Any:
    """Return a field's type with shapes for results: `list[Event]` for `list[StoredEvent]`."""
    if get_origin(kind) is list:
        return GenericAlias(list, tuple(map(_shaped, get_args(kind))))
    if get_origin(kind) is UnionType:
        return reduce(or_, map(_shaped, get_args(kind)))
    return shape(kind) if isinstance(kind, type) and is_dataclass(kind) else kind


class LoginReply(Shape):
    """A token for `Authorization: Bearer`, and how long it is good for."""

    token: str
    expires_in: str


class Health(Shape):
    """The health of the recorder."""

    status: str
    version: str
    recorder: str


class DeadLetter(Shape):
    """A message that could not be recorded, and the reason; `replays` counts its replays."""

    id: str
    reason: str
    error: str
    queue: str
    exchange: str
    routing_key: str
    received_at: Time | None
    message_id: str | None
    size_bytes: int
    replays: int


class DeadLetterPage(Shape):
    letters: list[DeadLetter]
    counts: dict[str, int]
    total: int


class WholeDeadLetter(DeadLetter):
    """
    `body` is text, or hexadecimal where it is none; `bodyIsWhole` says that it is not cut.

    Of more than 16 MiB nothing is shown.
    """

    headers: dict[str, str]
    properties: dict[str, str]
    body: str
    body_is_text: bool
    body_is_whole: bool


class OneDeadLetter(Shape):
    letter: WholeDeadLetter


class Checked(Shape):
    """Why a dead letter with another body would be refused again; null if it would not be."""

    error: str | None


class Replayed(Shape):
    """The number of dead letters replayed, and of those left in the queue."""

    replayed: int
    left: int
