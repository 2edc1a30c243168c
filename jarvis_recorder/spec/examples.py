"""The examples of messages in the documents: one body of each kind."""

from typing import Any, Final

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
