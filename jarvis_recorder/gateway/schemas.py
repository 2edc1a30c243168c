"""The bodies of responses: the recorder's results, spelled for the original system's frontend."""

from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar

from fastapi import Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from jarvis_recorder.wire import strict_json
from jarvis_recorder.wire.moments import Moment


class Shape(BaseModel):
    """A model that is read from a result's attributes and written in camelCase."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, from_attributes=True, frozen=True
    )


ShapeT = TypeVar("ShapeT", bound=Shape)

JSON: Final = "application/json"


def reply(shape: type[ShapeT], answer: Any, status: int = 200) -> Response:
    """Return the response that holds a result; one pass through pydantic, for speed."""
    body = shape.model_validate(answer).model_dump_json(by_alias=True)
    return Response(body, status, media_type=JSON)


def _as_text(details: Any) -> Any:
    return details if details is None or isinstance(details, str) else strict_json.dump(details)


Cost = Annotated[Decimal, PlainSerializer(lambda cost: format(cost, "f"), return_type=str)]
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
    timestamp: Moment
    type: str
    severity: str
    source: str
    node: str | None
    summary: str
    details: JsonText
    resolved: bool
    resolved_at: Moment | None
    resolved_by: str | None
    omitted: Omitted
    cluster: str | None


class OneEvent(Shape):
    event: Event


class EventPage(Shape):
    """Events, newest first; a page may be short though there are more: follow `nextCursor`."""

    events: list[Event]
    next_cursor: str | None


class Bucket(Shape):
    start: Moment
    count: int
    by: dict[str, int]


class Histogram(Shape):
    bucket_seconds: int
    buckets: list[Bucket]


class Session(Shape):
    session_id: str
    first_at: Moment
    last_at: Moment
    turns: int


class SessionPage(Shape):
    sessions: list[Session]
    next_cursor: str | None


class Turn(Shape):
    id: int
    session_id: str
    timestamp: Moment
    role: str
    content: str
    model: str | None
    tokens_used: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Cost | None
    tool_calls: Any
    omitted: Omitted


class OneTurn(Shape):
    turn: Turn


class TurnPage(Shape):
    turns: list[Turn]
    next_cursor: str | None


class FoundTurn(Shape):
    """`highlights` are the places of the words found in `snippet`: first character, one behind."""

    turn: Turn
    snippet: str
    highlights: list[list[int]]


class FoundTurns(Shape):
    turns: list[FoundTurn]
    next_cursor: str | None


class Usage(Shape):
    key: str | None
    turns: int
    tokens_used: int
    input_tokens: int
    output_tokens: int
    cost_usd: Cost


class UsageReport(Shape):
    usage: list[Usage]
    total: Usage
    next_cursor: str | None


class Deleted(Shape):
    deleted: int


class SnapshotHead(Shape):
    id: int
    cluster: str
    timestamp: Moment
    size_bytes: int


class SnapshotPage(Shape):
    snapshots: list[SnapshotHead]
    next_cursor: str | None


class Snapshot(SnapshotHead):
    snapshot: dict[str, Any]
    omitted: Omitted


class OneSnapshot(Shape):
    snapshot: Snapshot


class Timeline(Shape):
    timestamp: Moment
    since: Moment
    until: Moment
    snapshot: Snapshot | None
    events: list[Event]
    turns: list[Turn]
    truncated: bool


class Preference(Shape):
    key: str
    value: str
    updated_at: Moment
    updated_by: str | None
    version: int


class OnePreference(Shape):
    preference: Preference


class PreferencePage(Shape):
    preferences: list[Preference]
    next_cursor: str | None


class Extent(Shape):
    count: int
    oldest: Moment | None
    newest: Moment | None


class Holdings(Shape):
    events: Extent
    conversations: Extent
    cluster_snapshots: Extent
    preferences: int
    database_bytes: int
    wal_bytes: int
    schema_version: str
    clusters: list[str]


class Activity(Shape):
    version: str
    state: str
    started_at: Moment
    stored: int
    duplicates: int
    dead_lettered: int
    per_second: float
    lag_seconds: float


class Stats(Shape):
    holdings: Holdings
    activity: Activity


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
    received_at: Moment | None
    message_id: str | None
    size_bytes: int
    replays: int


class DeadLetterPage(Shape):
    letters: list[DeadLetter]
    counts: dict[str, int]
    total: int


class WholeDeadLetter(DeadLetter):
    """`body` is text, or hexadecimal where it is none; `bodyIsWhole` says that it is not cut."""

    headers: dict[str, str]
    properties: dict[str, str]
    body: str
    body_is_text: bool
    body_is_whole: bool


class OneDeadLetter(Shape):
    letter: WholeDeadLetter


class Replayed(Shape):
    """The number of dead letters replayed, and of those left in the queue."""

    replayed: int
    left: int
