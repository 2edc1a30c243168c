"""
A request of every method on a database filled by `FILL`, with the expected result.

In order, because later requests check the changes of earlier ones. Several client libraries
send the same requests, so expectations are in terms of the wire, not of the recorder's classes.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from jarvis_recorder.wire.rpc.methods import METHODS

FILL: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "cluster.snapshot.home",
        {
            "snapshot": {"nodes": [{"name": "pve1", "status": "online"}]},
            "cluster": "home",
            "timestamp": "2026-11-23T07:59:00Z",
        },
        {"message_id": "snapshot-1"},
    ),
    (
        "cluster.event.alert.critical",
        {
            "type": "alert",
            "severity": "critical",
            "source": "monitor",
            "node": "pve1",
            "summary": "[Monitor] NODE_DOWN: pve1 changed from online to offline",
            "details": {"previousState": "online", "currentState": "offline"},
            "timestamp": "2026-11-23T08:00:00Z",
        },
        {"message_id": "event-1"},
    ),
    (
        "chat.turn.user",
        {
            "session_id": "s-1",
            "role": "user",
            "content": "Why did pve1 go down?",
            "timestamp": "2026-11-23T08:01:00Z",
        },
        {"message_id": "turn-1"},
    ),
    (
        "chat.turn.assistant",
        {
            "session_id": "s-1",
            "role": "assistant",
            "content": "Its power supply failed.",
            "model": "qwen",
            "tokens_used": 30,
            "input_tokens": 20,
            "output_tokens": 10,
            "cost_usd": "0.00012",
            "timestamp": "2026-11-23T08:01:05Z",
        },
        {"message_id": "turn-2"},
    ),
]

DAY = {"since": "2026-11-23T00:00:00Z", "until": "2026-11-24T00:00:00Z"}


class Step(NamedTuple):
    """One request; `holds` returns whether its result is the expected one."""

    method: str
    params: dict[str, Any]
    holds: Callable[[Any], bool]


NEW = {"type": "action", "source": "user", "summary": "pve1 restarted", "message_id": "event-2"}

STEPS: tuple[Step, ...] = (
    Step("events.list", {"node": "pve1"}, lambda r: [e["id"] for e in r["events"]] == [1]),
    Step("events.unresolved", {}, lambda r: r["events"][0]["details"]["currentState"] == "offline"),
    Step("events.get", {"id": 1}, lambda r: r["event"]["timestamp"] == "2026-11-23T08:00:00.000000Z"),
    Step("events.record", NEW, lambda r: (r["event"]["id"], r["event"]["stamped"]) == (2, True)),
    Step("events.record", NEW, lambda r: r["event"]["id"] == 2),
    Step(
        "events.resolve",
        {"id": 1, "resolved_by": "ada"},
        lambda r: (r["event"]["resolved"], r["event"]["resolved_by"]) == (True, "ada"),
    ),
    Step("events.resolve", {"id": 1, "resolved_by": "bob"}, lambda r: r["event"]["resolved_by"] == "ada"),
    Step(
        "events.histogram",
        DAY | {"bucket_seconds": 3600, "by": "severity", "type": "alert"},
        lambda r: len(r["buckets"]) == 24 and r["buckets"][8]["by"] == {"critical": 1},
    ),
    Step("conversations.sessions", {}, lambda r: (r["sessions"][0]["session_id"], r["sessions"][0]["turns"]) == ("s-1", 2)),
    Step("conversations.turns", {"session_id": "s-1"}, lambda r: [t["role"] for t in r["turns"]] == ["user", "assistant"]),
    Step("conversations.get", {"id": 2}, lambda r: r["turn"]["message_id"] == "turn-2"),
    Step("conversations.search", {"query": "power supply"}, lambda r: r["turns"][0]["turn"]["message_id"] == "turn-2"),
    Step("conversations.usage", {"since": DAY["since"], "by": "model"}, lambda r: r["total"]["cost_usd"] == "0.00012"),
    Step("snapshots.latest", {"cluster": "home"}, lambda r: r["snapshot"]["snapshot"]["nodes"][0]["name"] == "pve1"),
    Step("snapshots.at", {"timestamp": "2026-11-23T08:00:00Z", "cluster": "home"}, lambda r: r["snapshot"]["message_id"] == "snapshot-1"),
    Step("snapshots.list", {"cluster": "home"}, lambda r: len(r["snapshots"]) == 1 and r["next_cursor"] is None),
    Step(
        "timeline.around",
        {"timestamp": "2026-11-23T08:00:30Z", "window_seconds": 120},
        lambda r: (r["snapshot"]["cluster"], len(r["events"]), len(r["turns"])) == ("home", 1, 2),
    ),
    Step("preferences.set", {"key": "theme", "value": "dark"}, lambda r: r["preference"]["version"] == 1),
    Step("preferences.set", {"key": "theme", "value": "light", "expected_version": 1}, lambda r: r["preference"]["version"] == 2),
    Step("preferences.get", {"key": "theme"}, lambda r: r["preference"]["value"] == "light"),
    Step("preferences.list", {"prefix": "th"}, lambda r: [p["key"] for p in r["preferences"]] == ["theme"]),
    Step("preferences.delete", {"key": "theme"}, lambda r: r["deleted"] == 1),
    Step("conversations.delete", {"session_id": "s-1"}, lambda r: r["deleted"] == 2),
    Step("recorder.stats", {}, lambda r: r["holdings"]["events"]["count"] == 2 and r["activity"]["state"] == "recording"),
    Step("rpc.discover", {}, lambda r: len(r["methods"]) == len(METHODS)),
)  # fmt: skip


def requests() -> list[bytes]:
    """Return the bodies to send one by one."""
    return [
        json.dumps(
            {"jsonrpc": "2.0", "method": step.method, "params": step.params, "id": number}
        ).encode()
        for number, step in enumerate(STEPS)
    ]


def check(replies: list[bytes]) -> None:
    """Check the replies against the steps; the message names the first that fails."""
    assert len(replies) == len(STEPS)
    for number, (step, reply) in enumerate(zip(STEPS, replies, strict=True)):
        document = json.loads(reply)
        assert document["id"] == number
        assert "result" in document, f"{step.method}: {document['error']}"
        assert step.holds(document["result"]), f"{step.method}: {document['result']}"
