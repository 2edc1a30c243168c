"""A summary of the content of a database file."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection, Integer, func, literal, select, type_coerce

from jarvis_recorder.storage.sqlite import connections
from jarvis_recorder.storage.tables import cluster_snapshots, conversations, events

_IDS_IN_ONE_QUERY: Final = 500
_TABLES: Final = (events, conversations, cluster_snapshots)


class EventLine(NamedTuple):
    """An event, without its details."""

    timestamp: datetime
    type: str
    severity: str
    node: str | None
    summary: str


class SessionLine(NamedTuple):
    """A conversation; `cost_usd` is exact."""

    session_id: str
    began: datetime
    ended: datetime
    turns: int
    tokens: int
    cost_usd: Decimal


class SnapshotLine(NamedTuple):
    """A snapshot: its size, and the bytes that it takes in the database."""

    timestamp: datetime
    cluster: str
    size_bytes: int
    stored_bytes: int


class Overview(NamedTuple):
    """
    The rows of each table, the newest of each, and the rows of each identity (`copies`).

    `events` are alerts and actions only.
    """

    rows: Mapping[str, int]
    events: Sequence[EventLine]
    sessions: Sequence[SessionLine]
    snapshots: Sequence[SnapshotLine]
    snapshot_bytes: int
    stored_snapshot_bytes: int
    copies: Mapping[str, int]


def overview(path: Path, identities: Iterable[str], limit: int) -> Overview:
    """
    Read a summary of the file, at most `limit` lines of each table, newest first.

    Raises:
        StorageUnavailable: The file cannot be read.
    """
    with connections.reading(path) as connection:
        size, stored = _snapshot_bytes(connection)
        return Overview(
            _rows(connection),
            _newest_alerts_and_actions(connection, limit),
            _sessions(connection, limit),
            _newest_snapshots(connection, limit),
            size,
            stored,
            _copies(connection, list(identities)),
        )


def _rows(connection: Connection) -> dict[str, int]:
    return {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in _TABLES
    }


def _newest_alerts_and_actions(connection: Connection, limit: int) -> list[EventLine]:
    columns = events.c
    newest_first = (
        select(columns.timestamp, columns.type, columns.severity, columns.node, columns.summary)
        .where(columns.type.in_(("alert", "action")))
        .order_by(columns.timestamp.desc(), columns.id.desc())
        .limit(limit)
    )
    return [EventLine(*row) for row in connection.execute(newest_first)]


def _sessions(connection: Connection, limit: int) -> list[SessionLine]:
    columns = conversations.c
    latest_first = (
        select(
            columns.session_id,
            func.min(columns.timestamp),
            func.max(columns.timestamp),
            func.count(),
            func.coalesce(func.sum(columns.tokens_used), 0),
        )
        .group_by(columns.session_id)
        .order_by(func.max(columns.timestamp).desc())
        .limit(limit)
    )
    sessions = connection.execute(latest_first).all()
    priced = select(columns.session_id, columns.cost_usd).where(
        columns.session_id.in_([session[0] for session in sessions]),
        columns.cost_usd.is_not(None),
    )
    # SQLite would sum them as doubles.
    costs: defaultdict[str, Decimal] = defaultdict(Decimal)
    for session_id, cost in connection.execute(priced):
        costs[session_id] += Decimal(cost)
    return [
        SessionLine(session_id, began, ended, turns, tokens, costs[session_id])
        for session_id, began, ended, turns, tokens in sessions
    ]


_STORED_BYTES: Final = func.length(
    type_coerce(cluster_snapshots.c.snapshot, cluster_snapshots.c.id.type)
)


def _newest_snapshots(connection: Connection, limit: int) -> list[SnapshotLine]:
    columns = cluster_snapshots.c
    newest_first = (
        select(columns.timestamp, columns.cluster, columns.size_bytes, _STORED_BYTES)
        .order_by(columns.timestamp.desc(), columns.id.desc())
        .limit(limit)
    )
    return [SnapshotLine(*row) for row in connection.execute(newest_first)]


def _snapshot_bytes(connection: Connection) -> tuple[int, int]:
    """Return the size of all snapshots, and the bytes that they take in the database."""
    sizes = select(
        func.coalesce(func.sum(cluster_snapshots.c.size_bytes), literal(0, Integer)),
        func.coalesce(func.sum(_STORED_BYTES), literal(0, Integer)),
    )
    size, stored = connection.execute(sizes).one()
    return size, stored


def _copies(connection: Connection, identities: Sequence[str]) -> Mapping[str, int]:
    copies: Counter[str] = Counter()
    for start in range(0, len(identities), _IDS_IN_ONE_QUERY):
        some = identities[start : start + _IDS_IN_ONE_QUERY]
        for table in _TABLES:
            stored_under = select(table.c.message_id).where(table.c.message_id.in_(some))
            copies.update(connection.execute(stored_under).scalars())
    return copies
