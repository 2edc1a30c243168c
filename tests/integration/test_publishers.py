"""The defaults of common publishers, through a broker: docs/publishers.md."""

import json
import struct
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.engines import on_both
from tests.support.publisher import event, publish
from tests.support.raw_amqp import RawPublisher
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, on_both]

ALERT = "cluster.event.alert.critical"
TURN = "chat.turn.assistant"
AT = "2026-11-20T08:00:00Z"
BINARY = {"ce-id": "e-1", "ce-source": "/monitor", "ce-type": "alert.raised",
          "ce-specversion": "1.0", "ce-time": datetime(2026, 1, 26, 8, 0, 37, tzinfo=UTC)}  # fmt: skip
STRUCTURED = {"specversion": "1.0", "id": "x", "source": "/s", "type": "io.x.alert"}


def turn(**more: Any) -> dict[str, Any]:
    return {"session_id": "s", "role": "assistant", "content": "up", "timestamp": AT} | more


MESSAGES: list[tuple[str, Any, dict[str, Any]]] = [
    # kombu and Celery, Spring, a mark of .NET, a text of FastStream, Dapr
    (ALERT, event(), {"content_type": "application/json", "content_encoding": "utf-8"}),
    (ALERT, event(), {"content_type": "application/json", "content_encoding": "UTF-8"}),
    (ALERT, b"\xef\xbb\xbf" + json.dumps(event()).encode(), {"content_type": "application/json"}),
    (ALERT, event(), {"content_type": "text/plain"}),
    (ALERT, STRUCTURED | {"data": event()}, {"content_type": "application/octet-stream"}),
    # CloudEvents in headers, and what only looks like one
    (ALERT, event(timestamp=None), {"headers": BINARY}),
    (ALERT, event(), {"headers": {"ce-environment": "lab"}}),
    # Proxmox VE, Alertmanager, MQTT
    (ALERT, event(severity="notice", timestamp=1_769_414_437), {}),
    (ALERT, event(severity="page"), {}),
    (ALERT, event(type=None, severity=None), {"headers": {"x-mqtt-publish-qos": 1}}),
    (ALERT, event(details={"bytes": 2**64 - 1}), {}),
    ("cluster.snapshot.lab", {"snapshot": {"guid": 17832912345678901234}, "timestamp": AT}, {}),
    # Chats
    (TURN, turn(content=[{"type": "text", "text": "what is this?"}, {"type": "image"}]), {}),
    (TURN, turn(content=None, tool_calls=[{"id": "c1"}]), {}),
    (TURN, turn(usage={"prompt_tokens": 100, "completion_tokens": 20}), {}),
    (TURN, turn(role="developer", costUsd="0.0012"), {}),
    (TURN, turn(cost=0.1), {}),
    (TURN, turn(cost=0.2), {}),
]


async def test_each_is_recorded(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")

    await publish(amqp_url, *MESSAGES)
    with RawPublisher(amqp_url) as publisher:
        milliseconds = struct.pack(">Q", 1_769_414_437_123)
        for body in (event(timestamp=AT), event(timestamp=None)):
            text = json.dumps(body).encode()
            publisher.publish(b"jarvis", ALERT.encode(), 1 << 6, milliseconds, text)
    tables = ("events", "cluster_snapshots", "conversations")
    wait_until(
        lambda: (
            sum(map(recorder.count, tables)) == len(MESSAGES) + 2
            or recorder.logged("dead_lettered")
        ),
        "all are recorded",
    )

    assert recorder.logged("dead_lettered") == []
    events = recorder.rows("SELECT severity, timestamp, stamped, extra FROM events ORDER BY id")
    assert events[5][1:3] == (1_769_414_437_000_000, 0)
    assert events[6][3] is None
    assert (events[7][0], events[7][1]) == ("info", 1_769_414_437_000_000)
    assert json.loads(events[7][3]) == {"severity": "notice", "timestamp": 1_769_414_437}
    assert [row[0] for row in events[8:10]] == ["critical", "critical"]
    assert {row[1:3] for row in events[11:]} == {
        (1_795_161_600_000_000, 0), (1_769_414_437_123_000, 1),
    }  # fmt: skip
    ((details,),) = recorder.rows(
        "SELECT details FROM events WHERE CAST(details AS text) LIKE '%bytes%'"
    )
    assert details == '{"bytes":18446744073709551615}'
    assert recorder.rows("SELECT cluster FROM cluster_snapshots") == [("lab",)]
    turns = recorder.rows(
        "SELECT role, content, tokens_used, cost_usd FROM conversations ORDER BY id"
    )
    assert turns[:4] == [
        ("assistant", "what is this?", None, None),
        ("assistant", "", None, None),
        ("assistant", "up", 120, None),
        ("system", "up", None, "0.0012"),
    ]
    (told,) = recorder.logged("field_not_known")
    assert (told["name"], told["resembles"]) == ("cost", "cost_usd")
    near = (
        'near_misses_total{field="cost_usd",messaging_destination_name="jarvis.recorder.turns"} 2'
    )
    assert near in recorder.get("/metrics")[1]
