"""One exchange for each method, and one body of each kind: what the documents show."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from jarvis_recorder.wire import announcements, answers, questions
from jarvis_recorder.wire.questions import Question
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


_EVENT: Final = answers.StoredEvent(
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
_TURN: Final = answers.StoredTurn(
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
_SNAPSHOT: Final = answers.StoredSnapshot(
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
_PREFERENCE: Final = answers.Preference(
    key="dashboard.theme", value="dark", updated_at=_at(30), updated_by="anna", version=2
)
_USAGE: Final = answers.Usage(
    key="qwen",
    turns=1,
    tokens_used=122,
    input_tokens=100,
    output_tokens=22,
    cost_usd=Decimal("0.0012"),
)

NOTICES: Final[dict[str, Any]] = {
    announcements.EVENT_RESOLVED: answers.OneEvent(_RESOLVED),
    announcements.PREFERENCE_CHANGED: announcements.ChangedPreference(_PREFERENCE),
}

# All but `rpc.discover`, which answers with the document that shows these.
EXCHANGES: Final[tuple[tuple[Question[Any], Any], ...]] = (
    (
        questions.ListEvents(severity="critical", node="pve", limit=1),
        answers.EventPage([_EVENT], "WzE3Njk0MTQ0Mzc2MDAwMDAsNDJd"),
    ),
    (questions.UnresolvedEvents(type="alert"), answers.EventPage([_EVENT], None)),
    (questions.GetEvent(id=42), answers.OneEvent(_EVENT)),
    (
        questions.RecordEvent(
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
        answers.OneEvent(_EVENT),
    ),
    (questions.ResolveEvent(id=42, resolved_by="anna"), answers.OneEvent(_RESOLVED)),
    (
        questions.EventHistogram(since=_at(0), until=_at(2), bucket_seconds=60, by="type"),
        answers.Histogram(
            60, [answers.Bucket(_at(0), 1, {"alert": 1}), answers.Bucket(_at(1), 0, {})]
        ),
    ),
    (
        questions.ListSessions(),
        answers.SessionPage([answers.Session("session-7", _at(1), _at(1, 5), 2)], None),
    ),
    (questions.ListTurns(session_id="session-7"), answers.TurnPage([_TURN], None)),
    (questions.GetTurn(id=7), answers.OneTurn(_TURN)),
    (
        questions.SearchTurns(query="offline pve"),
        answers.FoundTurns([answers.FoundTurn(_TURN, _TURN.content, [(5, 8), (18, 25)])]),
    ),
    (
        questions.ReportUsage(since=_at(0), by="model"),
        answers.UsageReport([_USAGE], replace(_USAGE, key=None)),
    ),
    (questions.DeleteConversation(session_id="session-7"), answers.Deleted(2)),
    (questions.LatestSnapshot(cluster="home"), answers.OneSnapshot(_SNAPSHOT)),
    (
        questions.SnapshotAt(timestamp=_at(0, 37), cluster="home"),
        answers.OneSnapshot(_SNAPSHOT),
    ),
    (
        questions.ListSnapshots(cluster="home"),
        answers.SnapshotPage([answers.SnapshotHead(3, "home", _at(0), 54)], None),
    ),
    (
        questions.TimelineAround(timestamp=_at(0, 37), window_seconds=120, cluster="home"),
        answers.Timeline(
            timestamp=_at(0, 37),
            since=datetime(2026, 1, 26, 7, 59, 37, tzinfo=UTC),
            until=_at(1, 37),
            snapshot=_SNAPSHOT,
            events=[_EVENT],
            turns=[_TURN],
            truncated=False,
        ),
    ),
    (questions.GetPreference(key="dashboard.theme"), answers.OnePreference(_PREFERENCE)),
    (
        questions.ListPreferences(prefix="dashboard."),
        answers.PreferencePage([_PREFERENCE], None),
    ),
    (
        questions.SetPreference(
            key="dashboard.theme", value="dark", expected_version=1, updated_by="anna"
        ),
        answers.OnePreference(_PREFERENCE),
    ),
    (questions.DeletePreference(key="dashboard.theme"), answers.Deleted(1)),
    (
        questions.ReadStats(),
        answers.Stats(
            answers.Holdings(
                events=answers.Extent(1, _at(0, 37), _at(0, 37)),
                conversations=answers.Extent(2, _at(1), _at(1, 5)),
                cluster_snapshots=answers.Extent(1, _at(0), _at(0)),
                preferences=1,
                database_bytes=126_976,
                wal_bytes=0,
                schema_version="0001",
            ),
            answers.Activity(
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
