"""
The results of the methods, as the recorder sends and clients read them.

Plain dataclasses: the recorder creates them by the thousand and need not validate what the
database holds; a client validates what came over the wire, with the same classes.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import Field, PlainSerializer, WithJsonSchema

from jarvis_recorder.wire.rpc.times import Time

Exact = Annotated[Decimal, PlainSerializer(lambda cost: format(cost, "f"), return_type=str)]
"""A decimal that goes out as a text, because a JSON number would be read as a double."""

Place = Annotated[
    tuple[int, int],
    # Not as pydantic has it: `prefixItems` is unknown to drafts before 2020-12, which OpenRPC uses.
    WithJsonSchema({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}),
]
"""A range of a text: its first character and the one after its last."""

LARGE_FIELD_BYTES: Final = 65_536
BEGINNING_CHARACTERS: Final = 1_000
MOST_ADDED_TURNS: Final = 500
NEWEST_TURNS: Final = 50

Omitted = Annotated[
    list[str],
    Field(
        description="the fields left out because they take more than 64 KiB; of `content` the first "
        "1,000 characters stay. `events.get`, `conversations.get` and `snapshots.at` give the whole"
    ),
]
"""The fields that a list, or the result of a change, has left out."""

Document = Annotated[dict[str, Any], Field(title="Document", description="An OpenRPC document.")]
"""The description of the methods, as JSON."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it is recorded; `stamped` says that its own body named no time."""

    id: int
    message_id: str | None
    timestamp: Time
    stamped: bool
    type: str
    severity: str
    source: str
    node: str | None
    summary: str
    details: Any
    resolved: bool
    resolved_at: Time | None
    resolved_by: str | None
    extra: dict[str, Any] | None
    recorded_at: Time
    omitted: Omitted = field(default_factory=list)
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class OneEvent:
    """One event."""

    event: StoredEvent


@dataclass(frozen=True, slots=True)
class EventPage:
    """
    A page of events, newest first.

    It may hold fewer than `limit`, or none, though there are more: a request looks through
    so many events at a time, and a reply has so many bytes. Only a `next_cursor` of null says
    that this was the last page. Where a request ended before it had `limit` events and before
    there were none left, `looked_to` is the time of the last event it looked at.
    """

    events: list[StoredEvent]
    next_cursor: str | None
    looked_to: Time | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """The events from `start` to the next bucket; `by` counts them by the value asked for."""

    start: Time
    count: int
    by: dict[str, int]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Every bucket from `since` to `until`, empty ones too, oldest first."""

    bucket_seconds: int
    buckets: list[Bucket]


@dataclass(frozen=True, slots=True)
class Cell:
    """The worst severity and the number of events; of none, `severity` is null."""

    severity: str | None
    count: int


@dataclass(frozen=True, slots=True)
class MatrixNode:
    """The cells of a node, oldest first; `node` and `cluster` are null where events name none."""

    node: str | None
    cluster: str | None
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Matrix:
    """
    The nodes that have events, by cluster and name, each with a cell for every stretch of time.

    The first cell begins at `since`, each next one `bucket_seconds` later. Of more than 200 nodes
    those with the worst events are shown, then those with the most, and `truncated` says so.
    """

    nodes: list[MatrixNode]
    bucket_seconds: int
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """
    One conversation; `title` is the beginning of the user's first turn.

    Of a conversation of more than 500 turns `models` and `tools` are those of its newest 50, and
    `cost_usd` is null, as where no turn names its cost; `conversations.usage` adds up any.
    """

    session_id: str
    first_at: Time
    last_at: Time
    turns: int
    title: str | None = None
    models: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    cost_usd: Exact | None = None


@dataclass(frozen=True, slots=True)
class SessionPage:
    """
    A page of conversations, the latest first.

    It may hold fewer than `limit`, though there are more: only a `next_cursor` of null says that
    this was the last page.
    """

    sessions: list[Session]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn as it is recorded."""

    id: int
    message_id: str | None
    session_id: str
    timestamp: Time
    stamped: bool
    role: str
    content: str
    model: str | None
    tokens_used: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Exact | None
    tool_calls: Any
    extra: dict[str, Any] | None
    recorded_at: Time
    omitted: Omitted = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class OneTurn:
    """One turn."""

    turn: StoredTurn


@dataclass(frozen=True, slots=True)
class TurnPage:
    """A page of turns, in the order that was requested."""

    turns: list[StoredTurn]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class FoundTurn:
    """
    A turn that a search found.

    `snippet` is the part of its content that matches best; `highlights` are the places of
    the words found in it, each as the first character and the one behind the last.
    """

    turn: StoredTurn
    snippet: str
    highlights: list[Place]


@dataclass(frozen=True, slots=True)
class FoundTurns:
    """The turns that a search found, best first."""

    turns: list[FoundTurn]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Turns, tokens and cost of one model, day or session; `key` is null where none is named."""

    key: str | None
    turns: int
    tokens_used: int
    input_tokens: int
    output_tokens: int
    cost_usd: Exact


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The usage by the value asked for, in the order of that value, and the total."""

    usage: list[Usage]
    total: Usage
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """The number of rows that are gone."""

    deleted: int


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A snapshot as it is recorded; `size_bytes` is its length as JSON."""

    id: int
    message_id: str | None
    cluster: str
    timestamp: Time
    stamped: bool
    snapshot: dict[str, Any]
    size_bytes: int
    extra: dict[str, Any] | None
    recorded_at: Time
    omitted: Omitted = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class OneSnapshot:
    """One snapshot."""

    snapshot: StoredSnapshot


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """A snapshot without its body."""

    id: int
    cluster: str
    timestamp: Time
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """A page of snapshots without their bodies, newest first."""

    snapshots: list[SnapshotHead]
    next_cursor: str | None


Step = str | int | dict[str, Any]
"""The name of a member, the place of an element, or the members that are its key."""


@dataclass(frozen=True, slots=True)
class ValueAt:
    """
    A value and its path in a snapshot.

    A step of a path is the name of a member, or where a list is: the members that tell its
    elements apart, such as {"vmid": 101}, or the place of an element, from 0.
    """

    path: list[Step]
    value: Any


@dataclass(frozen=True, slots=True)
class Change:
    """A path in both snapshots, the value in the first and the one in the second."""

    path: list[Step]
    from_: Annotated[Any, Field(validation_alias="from", serialization_alias="from")]
    to: Any


@dataclass(frozen=True, slots=True)
class SnapshotDifferences:
    """
    The differences between two snapshots, named in `before` and `after`.

    Lists of objects that a key tells apart (`vmid`, `storage` with `node`, `id`, `name`) are
    compared by it, whatever their order; other lists of the same length by place.
    """

    added: list[ValueAt]
    removed: list[ValueAt]
    changed: list[Change]
    before: SnapshotHead
    after: SnapshotHead


@dataclass(frozen=True, slots=True)
class Extremes:
    """The smallest value of a measure, the mean and the largest."""

    min: float
    mean: float
    max: float


def _is_absent(value: Any) -> bool:
    return value is None


Measured = Annotated[Extremes | None, Field(exclude_if=_is_absent)]
"""The values of a measure, left out where there are none."""


@dataclass(frozen=True, slots=True)
class Point:
    """The values from `at` to the next point; a measure without any, or not asked for, is absent."""

    at: Time
    cpu: Measured = None
    mem: Measured = None
    maxmem: Measured = None
    disk: Measured = None
    maxdisk: Measured = None
    used: Measured = None
    total: Measured = None
    online: Measured = None


@dataclass(frozen=True, slots=True)
class Series:
    """The points that have values, oldest first; each takes `bucket_seconds`."""

    points: list[Point]
    bucket_seconds: int


Mean = Annotated[float | None, Field(exclude_if=_is_absent)]
"""The mean of a measure, left out where there are no values."""


@dataclass(frozen=True, slots=True)
class MeanPoint:
    """The means from `at` to the next point."""

    at: Time
    cpu: Mean = None
    mem: Mean = None
    maxmem: Mean = None
    disk: Mean = None
    maxdisk: Mean = None


@dataclass(frozen=True, slots=True)
class NodeLine:
    """The points of a node that have values, oldest first."""

    node: str
    points: list[MeanPoint]


@dataclass(frozen=True, slots=True)
class ClusterState:
    """
    The newest snapshot of a cluster that is not in the future, and a line for each node.

    A body above 64 KiB is left out and named in `omitted`: `snapshots.at` returns it.
    `usual_gap_seconds` is the median of the times between its last snapshots, null if there is one;
    `first_at` the time of its first snapshot since the time asked for.
    """

    cluster: str
    usual_gap_seconds: float | None
    first_at: Time | None
    snapshot: StoredSnapshot
    lines: list[NodeLine]


@dataclass(frozen=True, slots=True)
class ClusterOverview:
    """
    The clusters of which there are snapshots, by name; a point takes `bucket_seconds`.

    Of more than 50 clusters, or where they do not fit, some are left out: `truncated` says so. A
    cluster has lines of at most 100 nodes.
    """

    clusters: list[ClusterState]
    bucket_seconds: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """
    The growth of a measure; where it is not `growing`, the rate and the times are null.

    `full_at` is the likely time of reaching `limit`, between `soonest_at` and `latest_at`. A time
    in more than ten years is null. `value` was measured at `measured_at`: long ago, if no snapshot
    has the measure any more.
    """

    growing: bool
    per_day: float | None
    value: float
    limit: float
    soonest_at: Time | None
    full_at: Time | None
    latest_at: Time | None
    measured_at: Time | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """
    The cluster around a time: what was in force, what happened, what was said.

    Events and turns are those of the window in order, oldest first; `truncated` says that it
    held more than are shown, which are then the nearest to the time.
    """

    timestamp: Time
    since: Time
    until: Time
    snapshot: StoredSnapshot | None
    events: list[StoredEvent]
    turns: list[StoredTurn]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Preference:
    """A preference; `version` is 1 at first and grows by one with each change."""

    key: str
    value: str
    updated_at: Time
    updated_by: str | None
    version: int


@dataclass(frozen=True, slots=True)
class OnePreference:
    """One preference."""

    preference: Preference


@dataclass(frozen=True, slots=True)
class PreferencePage:
    """A page of preferences in the order of their keys."""

    preferences: list[Preference]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class StoredIncident:
    """
    A stretch of time in which a condition was a problem.

    `count` is the number of alerts. `key` is `guessed` unless its publisher named the condition.
    `evidence_at` is the time of the newest snapshot that shows its object. `caused_by` is the key
    of the incident of a node that is down, which an incident of one of its guests is part of.
    """

    key: str
    state: str
    severity: str
    kind: str
    node: str | None
    object: str | None
    cluster: str | None
    count: int
    first_at: Time
    last_at: Time
    recovered_at: Time | None
    flapping: bool
    acknowledged_by: str | None
    note: str | None
    guessed: bool
    evidence_at: Time | None
    caused_by: str | None
    acknowledged_at: Time | None
    resolved_at: Time | None
    resolved_by: str | None


@dataclass(frozen=True, slots=True)
class OneIncident:
    """One incident."""

    incident: StoredIncident


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """
    A page of incidents.

    `total` is the number of all that match; null unless only states of problems were asked for.
    The list is not `complete` while incidents are being made of the stored events, as after an
    upgrade: those that are missing may be open.
    """

    incidents: list[StoredIncident]
    next_cursor: str | None
    total: int | None
    complete: bool = True


@dataclass(frozen=True, slots=True)
class IncidentTransition:
    """A change of the state of an incident."""

    at: Time
    state: str
    by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class IncidentHistory:
    """
    An incident, a page of its events, newest first, and how its state changed, oldest first.

    Events that are pruned are missing; `truncated` says that there were more transitions.
    """

    events: list[StoredEvent]
    next_cursor: str | None
    incident: StoredIncident
    transitions: list[IncidentTransition]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Silence:
    """Incidents that no one is notified of from `since` to `until`: those that match every value."""

    key: str | None
    node: str | None
    kind: str | None
    cluster: str | None
    since: Time
    until: Time
    reason: str | None
    by: str | None


@dataclass(frozen=True, slots=True)
class OneSilence:
    """One silence."""

    silence: Silence


@dataclass(frozen=True, slots=True)
class SilencePage:
    """A page of silences."""

    silences: list[Silence]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class IndexedDeadLetter:
    """
    A dead letter as the index has it, without its body.

    `fault` is its error with N for each number. `received_at` is null where the broker
    dead-lettered it by itself. `copies` in the queue are the same to the last byte.
    """

    id: str
    reason: str
    error: str
    fault: str
    queue: str
    exchange: str
    routing_key: str
    received_at: Time | None
    message_id: str | None
    size_bytes: int
    replays: int
    copies: int


@dataclass(frozen=True, slots=True)
class IndexedDeadLetters:
    """
    A page of the index of dead letters, newest first.

    The queue is the truth, and the index is behind it after a purge, after a replay by others, or
    where the broker dead-lettered something by itself. `waiting` is how many can be fetched from the
    queue now, null where that is unknown; `indexed` how many the index has; `complete` says that
    the two are the same. A look through the queue, as by `jarvis-recorder dead list`, corrects it.
    """

    letters: list[IndexedDeadLetter]
    next_cursor: str | None
    waiting: int | None
    indexed: int
    complete: bool


@dataclass(frozen=True, slots=True)
class DeadLetterFault:
    """
    Dead letters of one reason, queue and error, whose numbers may differ.

    `example_id` is one of them; times are those of the oldest and the newest.
    """

    reason: str
    queue: str
    fault: str
    count: int
    first_at: Time
    last_at: Time
    example_id: str


@dataclass(frozen=True, slots=True)
class DeadLetterFaults:
    """
    The faults in the index of dead letters, those with the most letters first.

    `truncated` says that there are more faults than `limit`. For `waiting`, `indexed` and
    `complete` see `dead.list`.
    """

    faults: list[DeadLetterFault]
    waiting: int | None
    indexed: int
    complete: bool
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The number of dead letters that the index has gained, and of those it has lost."""

    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Extent:
    """The number of rows of a kind, and the times of the oldest and the newest."""

    count: int
    oldest: Time | None
    newest: Time | None


@dataclass(frozen=True, slots=True)
class Holdings:
    """
    The totals of the database; sizes in bytes.

    `clusters` are those that snapshots and events name, at most a hundred; empty is the name of
    one that snapshots give none.
    """

    events: Extent
    conversations: Extent
    cluster_snapshots: Extent
    preferences: int
    database_bytes: int
    wal_bytes: int
    schema_version: str
    clusters: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Activity:
    """
    The activity of the running recorder: counts since its start, rates of the last seconds.

    `lag_seconds` is how long the oldest message that is not recorded has waited, 0 if none waits.
    `instance` is who answers, as host:process: of several recorders each counts its own.
    """

    version: str
    state: str
    started_at: Time
    stored: int
    duplicates: int
    dead_lettered: int
    per_second: float
    lag_seconds: float
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Stats:
    """The totals of the database, and the activity of the recorder."""

    holdings: Holdings
    activity: Activity
