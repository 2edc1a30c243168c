"""The rows that a policy does not keep, found in small steps, oldest first."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    case,
    false,
    literal,
    not_,
    select,
    tuple_,
)

from jarvis_recorder.retention_policy import (
    FUTURE,
    ExpiringEvent,
    RetentionPolicy,
    SnapshotFacts,
    events_to_go,
    snapshots_to_go,
)
from jarvis_recorder.storage.chunks import first_within
from jarvis_recorder.storage.expressions import micros, stored_bytes
from jarvis_recorder.storage.tables import (
    CompressedText,
    Instant,
    Word,
    cluster_snapshots,
    conversations,
    events,
)

# Rows read in one transaction: some milliseconds in which no one else writes.
_AT_ONCE: Final = 500
# Snapshots are read in small parts, so that little is read in vain of a cluster of which nothing may
# go. Several parts make a step: each step has its pause, and there may be any number of clusters.
_SNAPSHOTS_IN_PART: Final = 50
_PARTS_AT_ONCE: Final = _AT_ONCE // _SNAPSHOTS_IN_PART
# Of the rows deleted in one transaction: each adds as much to the log as it takes in the database.
_BYTES_AT_ONCE: Final = 1024 * 1024


class Position(NamedTuple):
    """The last row that was read of a table."""

    timestamp: int
    id: int


class ClusterPosition(NamedTuple):
    """The last row that was read of the snapshots, which are read cluster by cluster."""

    cluster: str
    timestamp: int
    id: int


_NEVER: Final = 2**62
_LAST: Final = 2**63 - 1
BEGINNING: Final = Position(-_NEVER, 0)


class PruneStep(NamedTuple):
    """The ids to delete among the rows read, and the next position, None at the end."""

    to_go: list[int]
    following: Position | ClusterPosition | None


NextStep = Callable[[Connection, Any], PruneStep]


class Walk(NamedTuple):
    """One pass through a table, or through each cluster of it, oldest rows first."""

    table: Table
    look: NextStep
    beginning: Position | ClusterPosition

    def step(self, connection: Connection, position: Position | ClusterPosition) -> PruneStep:
        """
        Return the rows to delete in one transaction: few bytes together, or a single row.

        The rows it leaves are found again from the same position.
        """
        step = self.look(connection, position)
        few = _of_few_bytes(connection, self.table, step.to_go)
        return step if len(few) == len(step.to_go) else PruneStep(few, position)


def walks(policy: RetentionPolicy, now: int) -> list[Walk]:
    """Return the passes that together find every row the policy does not keep."""
    present = _Stretch(BEGINNING, is_future=False)
    future = _Stretch(Position(now + FUTURE, _LAST), is_future=True)
    return [
        *_events(policy, now, present),
        *_snapshots(policy, now),
        *_turns(policy, now, present),
        *_events(policy, now, future),
        *_turns(policy, now, future),
    ]


class _Stretch(NamedTuple):
    """
    The rows of a table up to the horizon, or those dated in the future.

    Those are as old as their recording: by their dates they would stay for years, and a budget that
    they fill would let nothing else be recorded.
    """

    beginning: Position
    is_future: bool

    def rows(self, table: Table, position: Position, horizon: int, *columns: Any) -> Any:
        """Select ids, places, and the times that tell the ages of the next rows, and columns."""
        at = table.c.timestamp
        if self.is_future:
            return rows_from(at, position, _NEVER, micros(table.c.recorded_at), *columns)
        return rows_from(at, position, horizon, micros(at), *columns)


def _events(policy: RetentionPolicy, now: int, stretch: _Stretch) -> Iterator[Walk]:
    if (horizon := policy.event_horizon(now)) is not None:
        yield Walk(events, _events_of(policy, now, horizon, stretch), stretch.beginning)


def _snapshots(policy: RetentionPolicy, now: int) -> Iterator[Walk]:
    if (horizon := policy.snapshot_horizon(now)) is not None:
        look = partial(_look_at_snapshots, policy, now, horizon)
        yield Walk(cluster_snapshots, look, ClusterPosition("", *BEGINNING))


def _turns(policy: RetentionPolicy, now: int, stretch: _Stretch) -> Iterator[Walk]:
    if (horizon := policy.turn_horizon(now)) is not None:
        yield Walk(conversations, partial(_look_at_turns, horizon, stretch), stretch.beginning)


def count(connection: Connection, policy: RetentionPolicy, now: int) -> Counter[str]:
    """Return how many rows of each table `prune` would delete."""
    counts: Counter[str] = Counter()
    for walk in walks(policy, now):
        for step in _steps(connection, walk):
            counts[walk.table.name] += len(step.to_go)
    return counts


def _steps(connection: Connection, walk: Walk) -> Iterator[PruneStep]:
    position: Position | ClusterPosition | None = walk.beginning
    while position is not None:
        step = walk.look(connection, position)
        yield step
        position = step.following


def rows_from(at: Column[Any], position: Position, horizon: int, *columns: Any) -> Any:
    """Select ids, times and columns of the next rows of before a horizon, by a table's times."""
    row_id = at.table.c.id
    return (
        select(row_id, micros(at), *columns)
        .where(behind(at, position), at < horizon)
        .order_by(at, row_id)
        .limit(_AT_ONCE)
    )


def behind(at: Column[Any], position: Position) -> ColumnElement[bool]:
    """Return the condition for the rows behind a position, by a table's times; an index serves it."""
    reached = literal(position.timestamp, Instant())
    place = tuple_(reached, literal(position.id, BigInteger()))
    return and_(at >= reached, tuple_(at, at.table.c.id) > place)


def row_bytes(table: Table) -> ColumnElement[int]:
    """Return the bytes that the texts of a row take in the database."""
    texts = (one for one in table.c if isinstance(one.type, (Text, CompressedText)))
    return sum(map(stored_bytes, texts), start=literal(0))


def _of_few_bytes(connection: Connection, table: Table, ids: Sequence[int]) -> list[int]:
    """Return the first of these rows, as many as together have few bytes, and at least one."""
    if not ids:
        return []
    sizes = select(table.c.id, row_bytes(table)).where(table.c.id.in_(ids)).order_by(table.c.id)
    # SQLite reads each row as it is asked for: none is read beyond the first that is too much.
    with connection.execute(sizes) as rows:
        return [row[0] for row in first_within(rows, itemgetter(1), _BYTES_AT_ONCE)]


def following(rows: Sequence[Any]) -> Position | None:
    """Return the position after rows that `rows_from` has selected, None at the end."""
    return Position(rows[-1][1], rows[-1][0]) if len(rows) == _AT_ONCE else None


def _events_of(policy: RetentionPolicy, now: int, horizon: int, stretch: _Stretch) -> NextStep:
    columns = events.c
    # To find `resolved`, SQLite follows the pages of all that is stored before it.
    is_alert = columns.type == "alert"
    is_open_alert = case((is_alert, not_(columns.resolved)), else_=false())
    resolved_at = case((is_alert, micros(columns.resolved_at)))

    def look(connection: Connection, position: Position) -> PruneStep:
        of_alert = is_open_alert, resolved_at
        query = stretch.rows(events, position, horizon, columns.severity, *of_alert)
        rows = connection.execute(query).all()
        # For as long as others are kept it may be opened again.
        facts = [
            ExpiringEvent(row_id, max(at, resolved or at), severity, is_open)
            for row_id, _, at, severity, is_open, resolved in rows
        ]
        return PruneStep(events_to_go(facts, policy, now), following(rows))

    return look


def _look_at_turns(
    horizon: int, stretch: _Stretch, connection: Connection, position: Position
) -> PruneStep:
    rows = connection.execute(stretch.rows(conversations, position, horizon)).all()
    return PruneStep([row[0] for row in rows if row[2] < horizon], following(rows))


def _look_at_snapshots(
    policy: RetentionPolicy, now: int, horizon: int, connection: Connection, place: ClusterPosition
) -> PruneStep:
    to_go: list[int] = []
    following: ClusterPosition | None = place
    for _ in range(_PARTS_AT_ONCE):
        if following is None:
            break
        rows = connection.execute(_part(following, now)).all()
        to_go += _snapshots_to_go(rows, policy, now)
        following = _behind_part(rows, now, horizon)
    return PruneStep(to_go, following)


def _part(place: ClusterPosition, now: int) -> Any:
    """
    Select cluster, time, id and age of the next snapshots; an index serves it.

    The row beyond the part tells what succeeds the last of it, and is read again in the next one.
    """
    columns = cluster_snapshots.c
    here = columns.cluster, columns.timestamp, columns.id
    reached = tuple_(
        literal(place.cluster, Word),
        literal(place.timestamp, Instant()),
        literal(place.id, BigInteger()),
    )
    age = case((columns.timestamp > now + FUTURE, columns.recorded_at), else_=columns.timestamp)
    return (
        select(columns.cluster, micros(columns.timestamp), columns.id, micros(age))
        .where(tuple_(*here) > reached)
        .order_by(*here)
        .limit(_SNAPSHOTS_IN_PART + 1)
    )


def _snapshots_to_go(rows: Sequence[Any], policy: RetentionPolicy, now: int) -> list[int]:
    """Return the ids that go; of a cluster, the present and the future are judged apart."""
    apart = groupby(rows, lambda row: (row[0], row[1] > now + FUTURE))
    known = ([SnapshotFacts(row[2], row[3]) for row in alike] for _, alike in apart)
    return [gone for facts in known for gone in snapshots_to_go(facts, policy, now)]


def _behind_part(rows: Sequence[Any], now: int, horizon: int) -> ClusterPosition | None:
    """Return the place behind a part: beyond what is too young to go, None at the end."""
    if len(rows) <= _SNAPSHOTS_IN_PART:
        return None
    last = ClusterPosition(*rows[-2][:3])
    if horizon <= last.timestamp <= now + FUTURE:
        return ClusterPosition(last.cluster, now + FUTURE, _LAST)
    return last
