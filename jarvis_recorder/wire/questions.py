"""
What may be asked: the parameters of each method, and the answer that each leads to.

A question is valid once it is made: whoever asks hears of a wrong value before anything is
sent, and the recorder after decoding, from the same rules. The order of the fields is the
order of parameters given by position.
"""

from dataclasses import fields
from typing import Annotated, Any, Final, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from jarvis_recorder.wire import answers
from jarvis_recorder.wire.moments import Moment
from jarvis_recorder.wire.records import (
    ClusterName,
    Event,
    EventType,
    Identity,
    NodeName,
    Record,
    Severity,
    Source,
    Summary,
)
from jarvis_recorder.wire.times import to_micros
from jarvis_recorder.wire.topics import Kind

AnswerT_co = TypeVar("AnswerT_co", covariant=True)
AnswerT = TypeVar("AnswerT")


def _at_most_64_kib(value: str) -> str:
    if len(value.encode()) > MAX_VALUE_BYTES:
        raise ValueError("must be at most 64 KiB of UTF-8")
    return value


MAX_LIMIT: Final = 1_000
MAX_BUCKETS: Final = 1_000
MAX_VALUE_BYTES: Final = 65_536
_STRICT: Final = ConfigDict(extra="forbid")

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, strict=True, description="the most to return")]
Cursor = Annotated[
    str,
    Field(min_length=1, max_length=1_024, description="`next_cursor` of the page before"),
]
RowNumber = Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
PreferenceValue = Annotated[str, AfterValidator(_at_most_64_kib)]
Words = Annotated[str, Field(min_length=1, max_length=1_024)]
Since = Annotated[Moment, Field(description="from this moment on")]
Until = Annotated[Moment, Field(description="before this moment")]


class Question(Generic[AnswerT_co]):
    """The parameters of one method; the type variable is what it is answered with."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListEvents(Question[answers.EventPage]):
    """Events that match every filter given, newest first; `text` is part of the summary."""

    type: EventType | None = None
    severity: Severity | None = None
    source: Source | None = None
    node: NodeName | None = None
    resolved: bool | None = None
    since: Since | None = None
    until: Until | None = None
    text: Words | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class UnresolvedEvents(Question[answers.EventPage]):
    """Events that nobody has resolved, newest first."""

    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class GetEvent(Question[answers.OneEvent]):
    """One event by its id."""

    id: RowNumber


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class RecordEvent(Question[answers.OneEvent]):
    """
    Record an event now, once for each `message_id`, and return it as it is stored.

    Fields that are not named here are kept in `extra`, as those of a message are.
    """

    type: EventType
    severity: Severity = "info"
    source: Source
    summary: Summary
    node: NodeName | None = None
    details: Any = None
    timestamp: Moment | None = None
    id: Identity | None = None
    message_id: Identity | None = None
    extra: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _keep_unknown(cls, params: Any) -> Any:
        if not isinstance(params, dict):
            return params
        known = {name: value for name, value in params.items() if name in _EVENT_PARAMS}
        unknown = {name: value for name, value in params.items() if name not in known}
        if not unknown:
            return params
        extra = known.get("extra") or {}
        return known | {"extra": extra | unknown if isinstance(extra, dict) else extra}

    def as_record(self, now: int) -> Record:
        """Return what would be recorded had it come as a message; `now` in microseconds."""
        stamped = self.timestamp is None
        return Record(
            Kind.EVENT,
            self.message_id or self.id,
            now if self.timestamp is None else to_micros(self.timestamp),
            stamped,
            Event(
                type=self.type,
                severity=self.severity,
                source=self.source,
                summary=self.summary,
                node=self.node,
                details=self.details,
            ),
            self.extra,
        )


_EVENT_PARAMS: Final = frozenset(field.name for field in fields(RecordEvent))


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ResolveEvent(Question[answers.OneEvent]):
    """Mark an event as resolved; one that is keeps its first resolution."""

    id: RowNumber
    resolved_by: Annotated[
        Name | None, Field(description="the asker's user, where it is not given")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class EventHistogram(Question[answers.Histogram]):
    """How many events there were in each stretch of time, by the value asked for."""

    since: Since
    until: Until
    bucket_seconds: Annotated[
        int | None,
        Field(ge=1, le=31_536_000, strict=True, description="about sixty buckets by default"),
    ] = None
    by: Literal["type", "severity", "source", "node"] | None = None
    type: EventType | None = None
    severity: Severity | None = None
    source: Source | None = None
    node: NodeName | None = None
    resolved: bool | None = None
    text: Words | None = None

    @model_validator(mode="after")
    def _few_buckets(self) -> Self:
        seconds = (self.until - self.since).total_seconds()
        if seconds <= 0:
            raise ValueError("until must be later than since")
        if self.bucket_seconds and seconds / self.bucket_seconds > MAX_BUCKETS:
            raise ValueError(f"more than {MAX_BUCKETS} buckets: choose larger bucket_seconds")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListSessions(Question[answers.SessionPage]):
    """Conversations that have a turn in the time given, the latest first."""

    since: Since | None = None
    until: Until | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListTurns(Question[answers.TurnPage]):
    """The turns of a conversation, oldest first."""

    session_id: Name
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SearchTurns(Question[answers.FoundTurns]):
    """Turns that hold every word of the query, best first; it has no operators."""

    query: Words
    session_id: Name | None = None
    limit: Limit = 50


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ReportUsage(Question[answers.UsageReport]):
    """Tokens and cost of the turns in the time given; a day is one of UTC."""

    since: Since
    until: Until | None = None
    by: Literal["model", "day", "session"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class DeleteConversation(Question[answers.Deleted]):
    """Erase a conversation: its turns and their search entries, and overwrite the space."""

    session_id: Name


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LatestSnapshot(Question[answers.OneSnapshot]):
    """The newest snapshot of a cluster."""

    cluster: ClusterName = ""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SnapshotAt(Question[answers.OneSnapshot]):
    """The snapshot that was in force: the newest one at or before the moment."""

    timestamp: Moment
    cluster: ClusterName = ""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListSnapshots(Question[answers.SnapshotPage]):
    """Snapshots without their bodies, newest first; of every cluster where none is named."""

    cluster: ClusterName | None = None
    since: Since | None = None
    until: Until | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class TimelineAround(Question[answers.Timeline]):
    """What the cluster was like when something happened."""

    timestamp: Moment
    window_seconds: Annotated[
        int,
        Field(ge=1, le=86_400, strict=True, description="before and after the moment together"),
    ] = 600
    node: Annotated[NodeName | None, Field(description="the events of this node only")] = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class GetPreference(Question[answers.OnePreference]):
    """One preference by its key."""

    key: Name


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListPreferences(Question[answers.PreferencePage]):
    """Preferences whose keys begin with `prefix`, in the order of their keys."""

    prefix: Annotated[str, Field(max_length=255)] = ""
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SetPreference(Question[answers.OnePreference]):
    """
    Set a preference and return it.

    With `expected_version` only where it stands at that version (0: where there is none).
    """

    key: Name
    value: PreferenceValue
    expected_version: Annotated[int | None, Field(ge=0, le=2**63 - 1, strict=True)] = None
    updated_by: Annotated[
        Name | None, Field(description="the asker's user, where it is not given")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class DeletePreference(Question[answers.Deleted]):
    """Delete a preference; one that is not there is no error."""

    key: Name


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ReadHoldings(Question[answers.Holdings]):
    """What the database holds: the part of `recorder.stats` that the storage knows."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ReadStats(Question[answers.Stats]):
    """What there is, and what goes on."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Discover(Question[answers.Document]):
    """The OpenRPC document: every method with its parameters and results."""
