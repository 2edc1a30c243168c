"""Params and results as JSON: the material of the examples in the table of methods."""

from typing import Any, Final

JSON = dict[str, Any]

NEW_EVENT: Final[JSON] = {
    "type": "alert", "source": "monitor",
    "summary": "NODE_DOWN: pve changed from online to offline",
    "severity": "critical", "node": "pve", "details": {"previousState": "online"},
    "timestamp": "2026-01-26T08:00:37.000000Z",
    "message_id": "019bf95c-9e88-7f3a-8f51-0c1de5a1b2c3", "cluster": "home",
}  # fmt: skip
EVENT: Final[JSON] = {
    "id": 42, "message_id": "019bf95c-9e88-7f3a-8f51-0c1de5a1b2c3",
    "timestamp": "2026-01-26T08:00:37.000000Z", "stamped": False,
    "type": "alert", "severity": "critical", "source": "monitor", "node": "pve",
    "summary": "NODE_DOWN: pve changed from online to offline",
    "details": {"previousState": "online"},
    "resolved": False, "resolved_at": None, "resolved_by": None,
    "extra": None, "recorded_at": "2026-01-26T08:00:38.000000Z", "omitted": [], "cluster": "home",
}  # fmt: skip
RESOLVED: Final = EVENT | {
    "resolved": True, "resolved_at": "2026-01-26T08:12:00.000000Z", "resolved_by": "anna",
}  # fmt: skip
INCIDENT: Final[JSON] = {
    "key": "home/pve/NODE_DOWN@2026-01-26T08:00:37.000000Z", "state": "open",
    "severity": "critical", "kind": "NODE_DOWN", "node": "pve", "object": None, "cluster": "home",
    "count": 1, "first_at": "2026-01-26T08:00:37.000000Z", "last_at": "2026-01-26T08:00:37.000000Z",
    "recovered_at": None, "flapping": False, "acknowledged_by": None, "note": None,
    "guessed": True, "evidence_at": "2026-01-26T08:01:00.000000Z", "caused_by": None,
    "acknowledged_at": None, "resolved_at": None, "resolved_by": None,
}  # fmt: skip
ACKNOWLEDGED: Final = INCIDENT | {
    "state": "acknowledged", "acknowledged_at": "2026-01-26T08:05:00.000000Z",
    "acknowledged_by": "anna", "note": "on my way",
}  # fmt: skip
RECOVERED: Final = INCIDENT | {
    "state": "recovered", "recovered_at": "2026-01-26T08:11:40.000000Z",
}  # fmt: skip
CLOSED: Final = RECOVERED | {
    "state": "resolved", "resolved_at": "2026-01-26T08:12:00.000000Z", "resolved_by": "anna",
}  # fmt: skip
TRANSITION: Final[JSON] = {
    "at": "2026-01-26T08:00:37.000000Z", "state": "open", "by": None, "reason": None,
}  # fmt: skip
SILENCE: Final[JSON] = {
    "key": None, "node": "pve", "kind": None, "cluster": None,
    "since": "2026-01-26T08:00:00.000000Z", "until": "2026-01-26T10:00:00.000000Z",
    "reason": "new memory", "by": "anna",
}  # fmt: skip
HISTOGRAM: Final[JSON] = {
    "bucket_seconds": 60,
    "buckets": [
        {"start": "2026-01-26T08:00:00.000000Z", "count": 1, "by": {"alert": 1}},
        {"start": "2026-01-26T08:01:00.000000Z", "count": 0, "by": {}},
    ],
}
MATRIX: Final[JSON] = {
    "nodes": [
        {
            "node": "pve", "cluster": "home",
            "cells": [{"severity": "critical", "count": 1}, {"severity": None, "count": 0}],
        }
    ],
    "bucket_seconds": 60,
    "truncated": False,
}  # fmt: skip
TURN: Final[JSON] = {
    "id": 7, "message_id": "019bf95d-0f40-7b11-9d02-51a0c9e8d7f6", "session_id": "session-7",
    "timestamp": "2026-01-26T08:01:05.000000Z", "stamped": False,
    "role": "assistant", "content": "Node pve has been offline since 08:00.", "model": "qwen",
    "tokens_used": 122, "input_tokens": 100, "output_tokens": 22, "cost_usd": "0.0012",
    "tool_calls": [{"name": "get_node_status", "input": {"node": "pve"}}],
    "extra": None, "recorded_at": "2026-01-26T08:01:05.000000Z", "omitted": [],
}  # fmt: skip
SESSION: Final[JSON] = {
    "session_id": "session-7", "first_at": "2026-01-26T08:01:00.000000Z",
    "last_at": "2026-01-26T08:01:05.000000Z", "turns": 2, "title": "Is pve down?",
    "models": ["qwen"], "tools": ["get_node_status"], "cost_usd": "0.0012",
}  # fmt: skip
FOUND: Final[JSON] = {
    "turn": TURN, "snippet": TURN["content"], "highlights": [[5, 8], [18, 25]],
}  # fmt: skip
USAGE: Final[JSON] = {
    "key": "qwen", "turns": 1, "tokens_used": 122, "input_tokens": 100, "output_tokens": 22,
    "cost_usd": "0.0012",
}  # fmt: skip
SNAPSHOT: Final[JSON] = {
    "id": 3, "message_id": "019bf95c-0d80-7c55-a6b7-3e2f1d0c9b8a", "cluster": "home",
    "timestamp": "2026-01-26T08:00:00.000000Z", "stamped": False,
    "snapshot": {"nodes": [{"name": "pve", "status": "offline"}], "vms": []}, "size_bytes": 54,
    "extra": None, "recorded_at": "2026-01-26T08:00:00.000000Z", "omitted": [],
}  # fmt: skip
SNAPSHOT_HEAD: Final = {
    name: SNAPSHOT[name] for name in ("id", "cluster", "timestamp", "size_bytes")
}
DIFFERENCES: Final[JSON] = {
    "added": [],
    "removed": [{"path": ["vms", {"vmid": 104}], "value": {"vmid": 104, "name": "git"}}],
    "changed": [{"path": ["nodes", {"name": "pve"}, "status"], "from": "online", "to": "offline"}],
    "before": SNAPSHOT_HEAD | {"id": 2, "timestamp": "2026-01-26T07:59:30.000000Z"},
    "after": SNAPSHOT_HEAD,
}
SERIES: Final[JSON] = {
    "points": [
        {
            "at": "2026-01-26T08:00:00.000000Z",
            "cpu": {"min": 0.0, "mean": 0.21, "max": 0.4},
            "online": {"min": 0.0, "mean": 0.95, "max": 1.0},
        }
    ],
    "bucket_seconds": 600,
}
OVERVIEW: Final[JSON] = {
    "clusters": [
        {
            "cluster": "home",
            "usual_gap_seconds": 30.0,
            "first_at": "2026-01-26T08:00:00.000000Z",
            "snapshot": SNAPSHOT,
            "lines": [
                {
                    "node": "pve",
                    "points": [{"at": "2026-01-26T08:00:00.000000Z", "cpu": 0.21, "mem": 4e9}],
                }
            ],
        }
    ],
    "bucket_seconds": 600,
    "truncated": False,
}
FORECAST: Final[JSON] = {
    "growing": True, "per_day": 2.0, "value": 76.0, "limit": 100.0,
    "soonest_at": "2026-02-04T08:00:00.000000Z", "full_at": "2026-02-07T08:00:00.000000Z",
    "latest_at": "2026-02-11T08:00:00.000000Z",
    "measured_at": "2026-01-26T08:00:00.000000Z",
}  # fmt: skip
TIMELINE: Final[JSON] = {
    "timestamp": "2026-01-26T08:00:37.000000Z", "since": "2026-01-26T07:59:37.000000Z",
    "until": "2026-01-26T08:01:37.000000Z",
    "snapshot": SNAPSHOT, "events": [EVENT], "turns": [TURN], "truncated": False,
}  # fmt: skip
PREFERENCE: Final[JSON] = {
    "key": "dashboard.theme", "value": "dark", "updated_at": "2026-01-26T08:30:00.000000Z",
    "updated_by": "anna", "version": 2,
}  # fmt: skip
DEAD_LETTER: Final[JSON] = {
    "id": "4f1c09ab27de", "reason": "invalid",
    "error": "elements.3.severity: must be info, warning, error or critical",
    "fault": "elements.N.severity: must be info, warning, error or critical",
    "queue": "jarvis.recorder.events", "exchange": "jarvis",
    "routing_key": "cluster.event.alert.urgent", "received_at": "2026-01-26T08:00:38.000000Z",
    "message_id": "019bf95c-9e88-7f3a-8f51-0c1de5a1b2c3/3", "size_bytes": 212, "replays": 0,
    "copies": 1,
}  # fmt: skip
DEAD_FAULT: Final[JSON] = {
    "reason": "invalid", "queue": "jarvis.recorder.events", "fault": DEAD_LETTER["fault"],
    "count": 1, "first_at": "2026-01-26T08:00:38.000000Z",
    "last_at": "2026-01-26T08:00:38.000000Z", "example_id": "4f1c09ab27de",
}  # fmt: skip
WAITING_LETTER: Final[JSON] = {
    name: value for name, value in DEAD_LETTER.items() if name not in ("fault", "copies")
}
INDEX: Final[JSON] = {"waiting": 1, "indexed": 1, "complete": True}
STATS: Final[JSON] = {
    "holdings": {
        "events": {
            "count": 1, "oldest": "2026-01-26T08:00:37.000000Z",
            "newest": "2026-01-26T08:00:37.000000Z",
        },
        "conversations": {
            "count": 2, "oldest": "2026-01-26T08:01:00.000000Z",
            "newest": "2026-01-26T08:01:05.000000Z",
        },
        "cluster_snapshots": {
            "count": 1, "oldest": "2026-01-26T08:00:00.000000Z",
            "newest": "2026-01-26T08:00:00.000000Z",
        },
        "preferences": 1, "database_bytes": 126_976, "wal_bytes": 0, "schema_version": "0001",
        "clusters": [],
    },
    "activity": {
        "version": "0.1.0", "state": "recording", "started_at": "2026-01-26T08:00:00.000000Z",
        "stored": 4, "duplicates": 1, "dead_lettered": 0, "per_second": 0.1, "lag_seconds": 0.0,
        "instance": "recorder:1234",
    },
}  # fmt: skip
