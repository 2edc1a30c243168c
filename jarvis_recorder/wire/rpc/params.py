"""
The params of each method, and the type of its result.

Params are valid once they are created: the caller learns of a wrong value before anything is
sent, and the recorder after decoding, from the same rules. The order of the fields is the
order of params given by position, so the required ones come first.
"""

from collections.abc import Iterable
from dataclasses import fields
from typing import Annotated, Any, Final, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from jarvis_recorder.wire import liberal
from jarvis_recorder.wire.measures import MEASURES, MEASURES_OF, Growing, Measure, ObjectKind
from jarvis_recorder.wire.records import (
    ClusterName,
    Details,
    Event,
    EventType,
    Identity,
    NodeName,
    Record,
    Severity,
    SeverityField,
    Source,
    SourceField,
    Summary,
    TypeField,
)
from jarvis_recorder.wire.rpc import results
from jarvis_recorder.wire.rpc.times import GivenTime
from jarvis_recorder.wire.times import to_micros
from jarvis_recorder.wire.topics import Kind
from jarvis_recorder.wire.validation import LIST, ONE

ResultT_co = TypeVar("ResultT_co", covariant=True)
ResultT = TypeVar("ResultT")


def _at_most_64_kib(value: str) -> str:
    if len(value.encode()) > MAX_VALUE_BYTES:
        raise ValueError("must be at most 64 KiB of UTF-8")
    return value


MAX_LIMIT: Final = 1_000
LONGEST_CURSOR: Final = 8_192
MAX_BUCKETS: Final = 1_000
MAX_CELLS: Final = 200
MAX_POINTS: Final = 1_000
MAX_VALUE_BYTES: Final = 65_536
# Deferred: a process uses few of the classes, and would begin later.
_STRICT: Final = ConfigDict(defer_build=True, extra="forbid")
# The schema allows other fields: the class moves them to `extra` before it is validated.
_OPEN: Final = ConfigDict(
    defer_build=True, extra="forbid", json_schema_extra={"additionalProperties": True}
)

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, strict=True, description="the most to return")]
# The longest holds two names of 255 characters, each of six bytes in JSON.
Cursor = Annotated[
    str,
    Field(min_length=1, max_length=LONGEST_CURSOR, description="`next_cursor` of the page before"),
]
RowNumber = Annotated[int, Field(ge=1, le=2**63 - 1, strict=True, description="its number")]
Name = Annotated[str, Field(min_length=1, max_length=255)]
SessionId = Annotated[Name, Field(description="the conversation")]
Key = Annotated[Name, Field(description="the name of the preference")]
PreferenceValue = Annotated[
    str,
    AfterValidator(_at_most_64_kib),
    # A text of so many bytes has no more characters than bytes.
    Field(description="at most 64 KiB in UTF-8", json_schema_extra={"maxLength": MAX_VALUE_BYTES}),
]
Words = Annotated[str, Field(min_length=1, max_length=1_024)]
Since = Annotated[GivenTime, Field(description="from this time on")]
Until = Annotated[GivenTime, Field(description="before this time")]
MAX_VALUES: Final = 50

_ValueT = TypeVar("_ValueT")
Several = Annotated[
    Annotated[_ValueT, Tag(ONE)]
    | Annotated[list[_ValueT], Field(min_length=1, max_length=MAX_VALUES), Tag(LIST)],
    Discriminator(lambda given: LIST if isinstance(given, list) else ONE),
]
"""A value, or a list of values any of which will do."""


OfType = Annotated[EventType, Field(description="only events of this type")]
OnNode = Annotated[NodeName, Field(description="only events of this node")]
OfTypes = Annotated[Several[EventType], Field(description="only events of these types")]
OfSeverities = Annotated[Several[Severity], Field(description="only events of these severities")]
OfSources = Annotated[Several[Source], Field(description="only events from these sources")]
OnNodes = Annotated[Several[NodeName], Field(description="only events of these nodes")]
Excluded = Annotated[
    Several[
        Annotated[
            str,
            Field(
                pattern=r"^(type:(alert|action|status|metric)"
                r"|severity:(info|warning|error|critical)|source:(monitor|user|jarvis|system)"
                r"|(node|cluster):[\s\S]{0,255})$"
            ),
        ]
    ],
    Field(
        description="no events with these values, as type:metric or node:pve1; node: and cluster: "
        "are the events that name none"
    ),
]
AtLeast = Annotated[Severity, Field(description="only events at least as severe as this")]
OfCluster = Annotated[
    ClusterName,
    Field(description="only events of this cluster; where it is empty, those that name none"),
]
ChosenCluster = Annotated[
    ClusterName, Field(description="the cluster; the only one there is, where it is not given")
]
TimeZone = Annotated[
    str,
    Field(
        pattern=r"^[+-]?[A-Za-z0-9][A-Za-z0-9_+:/-]*$",
        max_length=64,
        description="whose days, as Europe/Berlin or +02:00; those of UTC where it is not given",
    ),
]
Resolved = Annotated[
    bool, Field(strict=True, description="only resolved events, or only unresolved ones")
]
CountedBy = Literal["type", "severity", "source", "node", "cluster"]
UsedBy = Literal["model", "day", "session"]
WithText = Annotated[Words, Field(description="a part of the summary")]


class Params(Generic[ResultT_co]):
    """The params of one method; the type variable is its result."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListEvents(Params[results.EventPage]):
    """Events that match every filter given, newest first; `text` is part of the summary."""

    type: OfTypes | None = None
    severity: OfSeverities | None = None
    source: OfSources | None = None
    node: OnNodes | None = None
    resolved: Resolved | None = None
    since: Since | None = None
    until: Until | None = None
    text: WithText | None = None
    limit: Limit = 50
    cursor: Cursor | None = None
    cluster: OfCluster | None = None
    min_severity: AtLeast | None = None
    exclude: Excluded | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class UnresolvedEvents(Params[results.EventPage]):
    """Events that no one has resolved, newest first; of every type where none is given."""

    limit: Limit = 50
    cursor: Cursor | None = None
    type: OfType | None = None
    cluster: OfCluster | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class GetEvent(Params[results.OneEvent]):
    """One event by its id, whole however large it is."""

    id: RowNumber


@dataclass(frozen=True, slots=True, kw_only=True, config=_OPEN)
class RecordEvent(Params[results.OneEvent]):
    """
    Record an event now, once for each `message_id`, and return it as it is stored.

    Fields that are not named here are kept in `extra`, and other words for a severity are taken,
    as those of a message are.
    """

    type: TypeField
    source: SourceField
    summary: Summary
    severity: SeverityField = "info"
    node: NodeName | None = None
    details: Details = None
    timestamp: Annotated[
        GivenTime | None, Field(description="when it happened; now where it is not given")
    ] = None
    id: Annotated[
        Identity | None, Field(description="its identity, where there is no `message_id`")
    ] = None
    message_id: Annotated[
        Identity | None, Field(description="its identity: one that is stored is not stored again")
    ] = None
    extra: Annotated[
        dict[str, Any] | None, Field(description="more fields, kept next to those known here")
    ] = None
    cluster: ClusterName | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_liberally(cls, params: Any) -> Any:
        if isinstance(params, ArgsKwargs):
            params = params.kwargs or {}
        return eased_event(params) if isinstance(params, dict) else params

    def as_record(self, now: int) -> Record:
        """Return the record that the same event would be as a message; `now` in microseconds."""
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
                cluster=self.cluster,
            ),
            self.extra,
        )


_EVENT_PARAMS: Final = frozenset(field.name for field in fields(RecordEvent))


def eased_event(params: dict[str, Any]) -> dict[str, Any]:
    """Return the params of an event as `RecordEvent` names them; see `liberal`."""
    rest = {name: params[name] for name in ("message_id", "extra") if name in params}
    body = {name: value for name, value in params.items() if name not in rest}
    eased = liberal.eased(Kind.EVENT, body, b"")
    kept = liberal.changed(Kind.EVENT, body, eased)
    if not kept and eased.keys() == body.keys():
        return params
    taken = {name: value for name, value in eased.items() if name in _EVENT_PARAMS}
    given = rest.get("extra")
    if given is None or isinstance(given, dict):
        rest["extra"] = ((given or {}) | kept) or None
    return rest | taken


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ResolveEvent(Params[results.OneEvent]):
    """Mark an event as resolved; one that is keeps its first resolution."""

    id: RowNumber
    resolved_by: Annotated[
        Name | None, Field(description="the caller's user, where it is not given")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ReopenEvent(Params[results.OneEvent]):
    """Undo the resolution of an event; one that is not resolved stays as it is."""

    id: RowNumber


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class EventHistogram(Params[results.Histogram]):
    """
    The number of events in each bucket of time, by the value asked for.

    A stretch of a day, or of several, begins at midnight of the time zone.
    """

    since: Since
    until: Until
    bucket_seconds: Annotated[
        int | None,
        Field(ge=1, le=31_536_000, strict=True, description="about sixty buckets by default"),
    ] = None
    by: Annotated[
        CountedBy | None,
        Field(description="count each bucket by this besides"),
    ] = None
    type: OfTypes | None = None
    severity: OfSeverities | None = None
    source: OfSources | None = None
    node: OnNodes | None = None
    resolved: Resolved | None = None
    text: WithText | None = None
    cluster: OfCluster | None = None
    min_severity: AtLeast | None = None
    time_zone: TimeZone | None = None
    exclude: Excluded | None = None

    @model_validator(mode="after")
    def _few_buckets(self) -> Self:
        seconds = (self.until - self.since).total_seconds()
        if seconds <= 0:
            raise ValueError("until must be later than since")
        if self.bucket_seconds and seconds / self.bucket_seconds > MAX_BUCKETS:
            raise ValueError(f"more than {MAX_BUCKETS} buckets: choose larger bucket_seconds")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class EventMatrix(Params[results.Matrix]):
    """The worst severity and the number of events of each node, in equal stretches of time."""

    since: Since
    until: Until
    buckets: Annotated[
        int,
        Field(ge=1, le=MAX_CELLS, strict=True, description="the most stretches of the time"),
    ] = 48
    cluster: OfCluster | None = None
    node: OnNode | None = None

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.until <= self.since:
            raise ValueError("until must be later than since")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListSessions(Params[results.SessionPage]):
    """
    Conversations that have a turn in the time given, the latest first, as they were at its end.

    One with a new turn while the pages are read comes at their end.
    """

    since: Since | None = None
    until: Until | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListTurns(Params[results.TurnPage]):
    """The turns of a conversation, oldest first unless `order` says newest."""

    session_id: SessionId
    limit: Limit = 50
    cursor: Cursor | None = None
    order: Annotated[
        Literal["oldest", "newest"], Field(description="the turn to begin with, and the way on")
    ] = "oldest"
    around: Annotated[
        RowNumber | None,
        Field(description="the number of a turn: begin so that it is in the middle of the page"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class GetTurn(Params[results.OneTurn]):
    """One turn by its id, whole however large it is."""

    id: RowNumber


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SearchTurns(Params[results.FoundTurns]):
    """Turns that hold every word of the query, best first; it has no operators."""

    query: Annotated[Words, Field(description="the words to look for, in any order")]
    session_id: Annotated[SessionId | None, Field(description="search this one only")] = None
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ReportUsage(Params[results.UsageReport]):
    """Tokens and cost of the turns in the time given; a day is one of the time zone."""

    since: Since
    until: Until | None = None
    by: Annotated[
        UsedBy | None,
        Field(description="a line for each of these, besides the total"),
    ] = None
    limit: Annotated[
        Limit | None, Field(description="the most lines; as many as fit where it is not given")
    ] = None
    cursor: Cursor | None = None
    time_zone: TimeZone | None = None
    cluster: Annotated[
        ClusterName | None,
        Field(
            description="only turns with this `cluster` among their further fields; where it is "
            "empty, those that name none"
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class DeleteConversation(Params[results.Deleted]):
    """
    Erase a conversation: its turns and their search entries, and overwrite the space.

    A long one goes in parts, and turns that are recorded meanwhile are kept. After
    `outcome_unknown`, or if the recorder ends meanwhile, ask again: the rest goes.
    """

    session_id: SessionId


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LatestSnapshot(Params[results.OneSnapshot]):
    """The newest snapshot of a cluster; of the only one there is, where none is named."""

    cluster: ChosenCluster | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SnapshotAt(Params[results.OneSnapshot]):
    """The snapshot that was in force: the newest one at or before the time."""

    timestamp: Annotated[GivenTime, Field(description="the time asked about")]
    cluster: ChosenCluster | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListSnapshots(Params[results.SnapshotPage]):
    """Snapshots without their bodies, newest first; of every cluster where none is named."""

    cluster: Annotated[ClusterName | None, Field(description="of this cluster only")] = None
    since: Since | None = None
    until: Until | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


# `from` is no name in Python, and the field is `from_` there.
_ALIASED: Final = ConfigDict(
    defer_build=True, extra="forbid", validate_by_name=True, validate_by_alias=True
)


@dataclass(frozen=True, slots=True, kw_only=True, config=_ALIASED)
class DiffSnapshots(Params[results.SnapshotDifferences]):
    """The additions, removals and changes between the snapshots in force at two times."""

    from_: Annotated[
        GivenTime,
        Field(validation_alias="from", serialization_alias="from", description="the first time"),
    ]
    to: Annotated[GivenTime, Field(description="the second time")]
    cluster: ChosenCluster | None = None
    tolerance: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="the part of the larger number by which two numbers may differ and are the same",
        ),
    ] = 0.0


OfKind = Annotated[ObjectKind, Field(description="what is measured")]
OfObject = Annotated[
    Name,
    Field(
        description="a node's name, a guest's `vmid`, a storage's name: NODE/STORAGE unless shared"
    ),
]


def _require_measures(kind: ObjectKind, measures: Iterable[Measure]) -> None:
    known = MEASURES_OF[kind]
    if missing := [one for one in measures if one not in known]:
        raise ValueError(f"a {kind} has no {missing[0]}: it has {', '.join(known)}")


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class GetClusterOverview(Params[results.ClusterOverview]):
    """The newest snapshot of every cluster, and the means of its nodes' measures since a time."""

    since: Since
    points: Annotated[
        int, Field(ge=1, le=MAX_POINTS, strict=True, description="the most points of a line")
    ] = 36


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class MeasureSeries(Params[results.Series]):
    """
    Minimum, mean and maximum of measures of a node, guest or storage, in equal stretches of time.

    A stretch takes ten minutes or a multiple, the first and the last one whole; one without values
    is left out. An object that no snapshot names has no points.
    """

    kind: OfKind
    name: OfObject
    measures: Annotated[
        list[Measure],
        Field(
            min_length=1,
            max_length=len(MEASURES),
            description="what to measure; `online` is 1 while it is, and 0 while it is not",
        ),
    ]
    since: Since
    until: Until
    cluster: ChosenCluster | None = None
    points: Annotated[
        int, Field(ge=1, le=MAX_POINTS, strict=True, description="the most points")
    ] = 200

    @model_validator(mode="after")
    def _can_be_answered(self) -> Self:
        if self.until <= self.since:
            raise ValueError("until must be later than since")
        _require_measures(self.kind, self.measures)
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ForecastMeasure(Params[results.Forecast]):
    """The time at which a measure reaches its limit if it goes on as in its last thirty days."""

    kind: OfKind
    name: OfObject
    measure: Annotated[Growing, Field(description="what grows")]
    cluster: ChosenCluster | None = None
    limit: Annotated[
        float | None,
        Field(gt=0, le=1e18, description="when it is full; at its size where it is not given"),
    ] = None

    @model_validator(mode="after")
    def _can_be_answered(self) -> Self:
        _require_measures(self.kind, [self.measure])
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class TimelineAround(Params[results.Timeline]):
    """The state of the cluster when something happened."""

    timestamp: Annotated[GivenTime, Field(description="the time it happened")]
    window_seconds: Annotated[
        int,
        Field(ge=1, le=86_400, strict=True, description="before and after the time together"),
    ] = 600
    node: OnNode | None = None
    cluster: ChosenCluster | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class GetPreference(Params[results.OnePreference]):
    """One preference by its key."""

    key: Key


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListPreferences(Params[results.PreferencePage]):
    """Preferences whose keys begin with `prefix`, in the order of their keys."""

    prefix: Annotated[
        str, Field(max_length=255, description="what the keys begin with; all where it is empty")
    ] = ""
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SetPreference(Params[results.OnePreference]):
    """
    Set a preference and return it.

    With `expected_version` only where it is at that version (0: where there is none).
    """

    key: Key
    value: PreferenceValue
    expected_version: Annotated[
        int | None,
        Field(ge=0, le=2**63 - 1, strict=True, description="the version it must be at"),
    ] = None
    updated_by: Annotated[
        Name | None, Field(description="the caller's user, where it is not given")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class DeletePreference(Params[results.Deleted]):
    """Delete a preference; one that is not there is no error."""

    key: Key


IncidentState = Literal[
    "open", "acknowledged", "unknown", "silenced", "flapping", "recovered", "resolved"
]
IncidentKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        description="its key; one that ends before the @ is the condition, of which it is the newest",
    ),
]
IncidentKind = Annotated[str, Field(min_length=1, max_length=255)]
ByWhom = Annotated[Name | None, Field(description="the caller's user, where it is not given")]
Remark = Annotated[str, Field(max_length=4_096)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListIncidents(Params[results.IncidentPage]):
    """
    Incidents that match every filter given, the one with the newest problem first.

    Silenced are those that would be open, acknowledged or unknown. A flapping one has another state
    too. One with a new problem while the pages are read comes at their end.
    """

    state: (
        Annotated[Several[IncidentState], Field(description="only incidents in these states")]
        | None
    ) = None
    severity: OfSeverities | None = None
    kind: Annotated[Several[IncidentKind], Field(description="only of these kinds")] | None = None
    node: OnNodes | None = None
    cluster: OfCluster | None = None
    since: (
        Annotated[GivenTime, Field(description="only those that were not over before this time")]
        | None
    ) = None
    until: (
        Annotated[GivenTime, Field(description="only those that began before this time")] | None
    ) = None
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class GetIncident(Params[results.IncidentHistory]):
    """One incident with its transitions, and its events, newest first."""

    key: IncidentKey
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class AcknowledgeIncident(Params[results.OneIncident]):
    """Note that a person has seen an incident; it stays so until it recovers."""

    key: IncidentKey
    by: ByWhom = None
    note: Annotated[Remark, Field(description="for the others")] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ResolveIncident(Params[results.OneIncident]):
    """
    Close an incident; one that is closed keeps its first resolution.

    Its events stay as they are. The next problem of the condition opens it again.
    """

    key: IncidentKey
    by: ByWhom = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ReopenIncident(Params[results.OneIncident]):
    """Open an incident that is resolved or recovered; one that is open stays as it is."""

    key: IncidentKey
    by: ByWhom = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SilenceIncidents(Params[results.OneSilence]):
    """
    Publish no notification of some incidents for a time, as during maintenance.

    Silenced are those that match every value given; give at least one. They are still recorded and
    counted. A silence with the same values is replaced from the beginning of this one on, and stays
    if it begins after its end. Without `since`, one that ends now, or has ended, ends all of them;
    one that ends as it begins, the one that lasts then.
    """

    until: Annotated[GivenTime, Field(description="the end")]
    key: Annotated[IncidentKey, Field(description="only of this condition")] | None = None
    node: Annotated[NodeName, Field(description="only of this node")] | None = None
    kind: Annotated[IncidentKind, Field(description="only of this kind")] | None = None
    cluster: Annotated[ClusterName, Field(description="only of this cluster")] | None = None
    reason: Annotated[Remark, Field(description="for the others")] | None = None
    since: (
        Annotated[GivenTime, Field(description="the beginning; now, where it is not given")] | None
    ) = None
    by: ByWhom = None

    @model_validator(mode="after")
    def _chooses(self) -> Self:
        if (self.key, self.node, self.kind, self.cluster) == (None, None, None, None):
            raise ValueError("name a key, a node, a kind or a cluster")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListSilences(Params[results.SilencePage]):
    """Silences that have not ended, the one that ends first at the top."""

    limit: Limit = 50
    cursor: Cursor | None = None


LetterText = Annotated[str, Field(max_length=255)]
LetterId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
OfReason = Annotated[LetterText, Field(description="only those of this reason")]
ByQueue = Annotated[LetterText, Field(description="only those that came by this queue")]
MAX_LETTERS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListDeadFaults(Params[results.DeadLetterFaults]):
    """The faults for which messages were dead-lettered, counted in the index of dead letters."""

    reason: OfReason | None = None
    queue: ByQueue | None = None
    since: Since | None = None
    until: Until | None = None
    limit: Limit = 50


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListDeadLetters(Params[results.IndexedDeadLetters]):
    """Dead letters without their bodies, newest first, from the index and not from the queue."""

    reason: OfReason | None = None
    queue: ByQueue | None = None
    fault: Annotated[
        LetterText | None, Field(description="only those of this fault, as `dead.faults` has it")
    ] = None
    since: Since | None = None
    until: Until | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class WaitingLetter:
    """A dead letter that is in the queue, so many times."""

    id: LetterId
    reason: LetterText
    error: Annotated[str, Field(max_length=1_024)]
    queue: LetterText
    exchange: LetterText
    routing_key: LetterText
    received_at: GivenTime | None
    message_id: LetterText | None
    size_bytes: Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]
    replays: Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]
    copies: Annotated[int, Field(ge=1, le=2**31, strict=True)] = 1


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ReconcileDeadLetters(Params[results.Reconciled]):
    """
    Correct a part of the index of dead letters by what was found in the queue.

    The part are the ids after `after` up to `up_to`. What was indexed since the look began stays.
    """

    letters: Annotated[
        list[WaitingLetter],
        Field(max_length=MAX_LETTERS, description="all that the queue has of this part"),
        # A request is refused by its first error: those of a thousand letters would be described.
        FailFast(),
    ]
    began_seconds_ago: Annotated[
        float, Field(ge=0, le=86_400, description="how long ago the look through the queue began")
    ]
    after: Annotated[
        LetterId | None, Field(description="the id before the part; from the first on if null")
    ] = None
    up_to: Annotated[
        LetterId | None, Field(description="the last id of the part; to the end if null")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ReadDeadLetters(Params[Any]):
    """A question to the index of dead letters, with how many wait in the queue."""

    asked: ListDeadLetters | ListDeadFaults
    waiting: int | None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ReadHoldings(Params[results.Holdings]):
    """The totals of the database: the part of `recorder.stats` that the storage knows."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ReadStats(Params[results.Stats]):
    """The totals of the database, and the activity of the recorder."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Discover(Params[results.Document]):
    """The OpenRPC document: every method with its parameters and results."""
