"""The examples in the documents: one exchange for each method, and one body of each kind."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from jarvis_recorder.wire import notifications
from jarvis_recorder.wire.rpc import params, results
from jarvis_recorder.wire.rpc.params import Params
from jarvis_recorder.wire.topics import Kind

BODIES: Final[dict[Kind, dict[str, Any]]] = {
    Kind.EVENT: {
        "type": "alert",
        "severity": "critical",
        "source": "monitor",
        "node": "pve",
        "cluster": "home",
        "summary": "NODE_DOWN: pve changed from online to offline",
        "details": {"previousState": "online"},
        "timestamp": "2026-01-26T08:00:37Z",
    },
    Kind.SNAPSHOT: {
        "snapshot": {"nodes": [{"name": "pve", "status": "offline"}], "vms": []},
        "cluster": "home",
        "timestamp": "2026-01-26T08:00:00Z",
    },
    Kind.TURN: {
        "session_id": "session-7",
        "role": "assistant",
        "content": "Node pve has been offline since 08:00.",
        "model": "qwen",
        "tokens_used": 122,
        "cost_usd": "0.0012",
        "tool_calls": [{"name": "get_node_status", "input": {"node": "pve"}}],
        "timestamp": "2026-01-26T08:01:05Z",
    },
}


def _at(minute: int, second: int = 0) -> datetime:
    return datetime(2026, 1, 26, 8, minute, second, tzinfo=UTC)


_EVENT: Final = results.StoredEvent(
    id=42,
    message_id="019bf95c-9e88-7f3a-8f51-0c1de5a1b2c3",
    timestamp=_at(0, 37),
    stamped=False,
    type="alert",
    severity="critical",
    source="monitor",
    node="pve",
    summary="NODE_DOWN: pve changed from online to offline",
    details={"previousState": "online"},
    resolved=False,
    resolved_at=None,
    resolved_by=None,
    extra=None,
    recorded_at=_at(0, 38),
    cluster="home",
)
_RESOLVED: Final = replace(_EVENT, resolved=True, resolved_at=_at(12), resolved_by="anna")
_TURN: Final = results.StoredTurn(
    id=7,
    message_id="019bf95d-0f40-7b11-9d02-51a0c9e8d7f6",
    session_id="session-7",
    timestamp=_at(1, 5),
    stamped=False,
    role="assistant",
    content="Node pve has been offline since 08:00.",
    model="qwen",
    tokens_used=122,
    input_tokens=100,
    output_tokens=22,
    cost_usd=Decimal("0.0012"),
    tool_calls=[{"name": "get_node_status", "input": {"node": "pve"}}],
    extra=None,
    recorded_at=_at(1, 5),
)
_SNAPSHOT: Final = results.StoredSnapshot(
    id=3,
    message_id="019bf95c-0d80-7c55-a6b7-3e2f1d0c9b8a",
    cluster="home",
    timestamp=_at(0),
    stamped=False,
    snapshot={"nodes": [{"name": "pve", "status": "offline"}], "vms": []},
    size_bytes=54,
    extra=None,
    recorded_at=_at(0),
)
_PREFERENCE: Final = results.Preference(
    key="dashboard.theme", value="dark", updated_at=_at(30), updated_by="anna", version=2
)
_USAGE: Final = results.Usage(
    key="qwen",
    turns=1,
    tokens_used=122,
    input_tokens=100,
    output_tokens=22,
    cost_usd=Decimal("0.0012"),
)

NOTICES: Final[dict[str, Any]] = {
    notifications.EVENT_RESOLVED: results.OneEvent(_RESOLVED),
    notifications.PREFERENCE_CHANGED: notifications.ChangedPreference(_PREFERENCE),
}

# All but `rpc.discover`, whose result is the document that shows these.
EXCHANGES: Final[tuple[tuple[Params[Any], Any], ...]] = (
    (
        params.ListEvents(severity="critical", node="pve", limit=1),
        results.EventPage([_EVENT], "WzE3Njk0MTQ0Mzc2MDAwMDAsNDJd"),
    ),
    (params.UnresolvedEvents(type="alert"), results.EventPage([_EVENT], None)),
    (params.GetEvent(id=42), results.OneEvent(_EVENT)),
    (
        params.RecordEvent(
            type="alert",
            severity="critical",
            source="monitor",
            node="pve",
            cluster="home",
            summary="NODE_DOWN: pve changed from online to offline",
            details={"previousState": "online"},
            timestamp=_at(0, 37),
            message_id="019bf95c-9e88-7f3a-8f51-0c1de5a1b2c3",
        ),
        results.OneEvent(_EVENT),
    ),
    (params.ResolveEvent(id=42, resolved_by="anna"), results.OneEvent(_RESOLVED)),
    (
        params.EventHistogram(since=_at(0), until=_at(2), bucket_seconds=60, by="type"),
        results.Histogram(
            60, [results.Bucket(_at(0), 1, {"alert": 1}), results.Bucket(_at(1), 0, {})]
        ),
    ),
    (
        params.ListSessions(),
        results.SessionPage([results.Session("session-7", _at(1), _at(1, 5), 2)], None),
    ),
    (params.ListTurns(session_id="session-7"), results.TurnPage([_TURN], None)),
    (params.GetTurn(id=7), results.OneTurn(_TURN)),
    (
        params.SearchTurns(query="offline pve"),
        results.FoundTurns([results.FoundTurn(_TURN, _TURN.content, [(5, 8), (18, 25)])]),
    ),
    (
        params.ReportUsage(since=_at(0), by="model"),
        results.UsageReport([_USAGE], replace(_USAGE, key=None)),
    ),
    (params.DeleteConversation(session_id="session-7"), results.Deleted(2)),
    (params.LatestSnapshot(cluster="home"), results.OneSnapshot(_SNAPSHOT)),
    (
        params.SnapshotAt(timestamp=_at(0, 37), cluster="home"),
        results.OneSnapshot(_SNAPSHOT),
    ),
    (
        params.ListSnapshots(cluster="home"),
        results.SnapshotPage([results.SnapshotHead(3, "home", _at(0), 54)], None),
    ),
    (
        params.TimelineAround(timestamp=_at(0, 37), window_seconds=120, cluster="home"),
        results.Timeline(
            timestamp=_at(0, 37),
            since=datetime(2026, 1, 26, 7, 59, 37, tzinfo=UTC),
            until=_at(1, 37),
            snapshot=_SNAPSHOT,
            events=[_EVENT],
            turns=[_TURN],
            truncated=False,
        ),
    ),
    (params.GetPreference(key="dashboard.theme"), results.OnePreference(_PREFERENCE)),
    (
        params.ListPreferences(prefix="dashboard."),
        results.PreferencePage([_PREFERENCE], None),
    ),
    (
        params.SetPreference(
            key="dashboard.theme", value="dark", expected_version=1, updated_by="anna"
        ),
        results.OnePreference(_PREFERENCE),
    ),
    (params.DeletePreference(key="dashboard.theme"), results.Deleted(1)),
    (
        params.ReadStats(),
        results.Stats(
            results.Holdings(
                events=results.Extent(1, _at(0, 37), _at(0, 37)),
                conversations=results.Extent(2, _at(1), _at(1, 5)),
                cluster_snapshots=results.Extent(1, _at(0), _at(0)),
                preferences=1,
                database_bytes=126_976,
                wal_bytes=0,
                schema_version="0001",
            ),
            results.Activity(
                version="0.1.0",
                state="recording",
                started_at=_at(0),
                stored=4,
                duplicates=1,
                dead_lettered=0,
                per_second=0.1,
                lag_seconds=0.0,
            ),
        ),
    ),
)
