"""
Half an hour in the life of a cluster, as the messages its publishers send.

A node goes down and comes back, a guest crashes again and again, a user talks to the assistant
about it, state is published every half minute. Some messages are sent twice, as a publisher does
after a lost confirm; some are broken. Each message has its expected outcome, so that the report
can check it.
"""

import gzip
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from random import Random
from typing import Any, Final, NamedTuple

from jarvis_recorder.demo.cluster import (
    CLUSTER,
    DOWN,
    FIRST_VMID,
    MINUTE,
    NODES,
    SECOND,
    UP,
    VMS,
    is_down,
    load,
    state,
    vmids_on,
)
from jarvis_recorder.demo.encoding import encode
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.times import format_rfc3339
from jarvis_recorder.wire.topics import MIB, Kind

_RETRY: Final = 20 * SECOND
_UNTIMED: Final = "heartbeat without a time"


class ExpectedDeadLetter(NamedTuple):
    """An expected dead letter, identified by its reason and the hash of its body."""

    what: str
    reason: Reason
    sha256: str


class StoryMessage(NamedTuple):
    """
    One message with its expected records, by identity, and its expected dead letters.

    `sent_before` means that all its records are stored already and must count as duplicates.
    """

    at: int
    kind: Kind
    routing_key: str
    properties: bytes
    body: bytes
    what: str = ""
    identities: tuple[str, ...] = ()
    dead_letters: tuple[ExpectedDeadLetter, ...] = ()
    sent_before: bool = False


class Expected(NamedTuple):
    """The expected outcome of a story: rows by kind, duplicates, dead letters."""

    rows: Mapping[Kind, int]
    duplicates: int
    dead_letters: Sequence[ExpectedDeadLetter]


def expected(messages: Iterable[StoryMessage]) -> Expected:
    rows: Counter[Kind] = Counter()
    duplicates = 0
    dead_letters: list[ExpectedDeadLetter] = []
    for message in messages:
        if message.sent_before:
            duplicates += len(message.identities)
        else:
            rows[message.kind] += len(message.identities)
        dead_letters += message.dead_letters
    return Expected(rows, duplicates, dead_letters)


def tell(began: int, draw: Random, pace: int = 1) -> list[StoryMessage]:
    """
    Return the messages of the half hour that began at `began`, in the order of sending.

    A `pace` above 1 makes the story so many times as fast, and `LENGTH // pace` long.
    """
    story = _Story(began, draw, pace)
    life = [
        *story.heartbeats(),
        *story.outage(),
        *story.flapping(),
        *story.thresholds(),
        *story.metrics(),
        *story.snapshots(),
        *story.conversations(),
    ]
    again = [_again(message, story) for message in life if message.what]
    return sorted([*life, *again, *story.broken()], key=lambda message: message.at)


def _again(message: StoryMessage, story: "_Story") -> StoryMessage:
    """Return the message as its publisher sends it again, `_RETRY` later."""
    properties = message.properties
    if message.what == _UNTIMED:
        # Without a time in the body, a retry may well have another timestamp property.
        (identity,) = message.identities
        properties = encode(message_id=identity, timestamp=story.moment(message.at + _RETRY))
    return message._replace(at=message.at + _RETRY, properties=properties, sent_before=True)


class _Story:
    """The maker of the messages; times are in microseconds since the beginning of the story."""

    def __init__(self, began: int, draw: Random, pace: int) -> None:
        self._began = began
        self._draw = draw
        self._pace = pace

    def moment(self, at: int) -> int:
        """Convert a time of the story to microseconds since the epoch."""
        return self._began + at // self._pace

    def heartbeats(self) -> Iterator[StoryMessage]:
        nominal = "[Monitor] Systems Nominal: All 5 nodes online -- cluster healthy"
        for minute in (0, 5, 10, 20, 25):
            at = minute * MINUTE
            body = self._body(at, type="status", source="monitor", summary=nominal)
            yield self._one(at, "cluster.event.status.info", body)
        at = 29 * MINUTE
        body = {"type": "status", "source": "monitor", "summary": nominal}
        yield self._one(at, "cluster.event.status.info", body, what=_UNTIMED)

    def outage(self) -> Iterator[StoryMessage]:
        yield self._about_pve(
            DOWN, "alert.critical", "[Monitor] NODE_DOWN: pve changed from online to offline",
            {"previousState": "online", "currentState": "offline"}, what="node down, critical",
        )  # fmt: skip
        yield self._vm_alerts(DOWN + 3 * SECOND)
        yield self._about_pve(
            13 * MINUTE, "action.warning", "[Jarvis] wake_node: magic packet sent to pve",
            {"tool": "wake_node", "args": {"node": "pve"}, "tier": "yellow", "source": "chat",
             "durationMs": 214, "isError": False},
        )  # fmt: skip
        yield self._about_pve(
            UP, "status.info", "[Monitor] NODE_UP: pve changed from offline to online",
            {"previousState": "offline", "currentState": "online"},
        )  # fmt: skip
        for number, vmid in enumerate(vmids_on("pve"), start=1):
            yield self._about_pve(
                UP + number * 9 * SECOND, "action.warning", f"[Jarvis] start_vm: VM {vmid} started",
                {"tool": "start_vm", "args": {"vmid": vmid}, "tier": "yellow", "source": "chat",
                 "durationMs": 812 + number, "isError": False},
            )  # fmt: skip

    def flapping(self) -> Iterator[StoryMessage]:
        """A guest that crashes and is started again, five times in nine minutes."""
        vmid = vmids_on("agent1")[-1]
        guest = f"{VMS[vmid - FIRST_VMID]} ({vmid})"
        told = (
            (4 * SECOND, "alert", "error", f"[Monitor] VM_CRASHED: {guest} is gone"),
            (22 * SECOND, "status", "info", f"[Monitor] VM_STARTED: {guest} is running"),
        )
        for number in range(5):
            # No snapshot is between the two: in all of them it is running.
            for seconds, kind, severity, summary in told:
                at = (19 + 2 * number) * MINUTE + seconds
                body = self._body(
                    at, type=kind, severity=severity, source="monitor", node="agent1",
                    summary=summary, details={"vmid": vmid},
                )  # fmt: skip
                yield self._one(at, f"cluster.event.{kind}.{severity}", body)

    def thresholds(self) -> Iterator[StoryMessage]:
        """Two alerts as CloudEvents: the first in structured mode, the second in binary."""
        at = 6 * MINUTE
        data = self._body(
            at, type="alert", severity="warning", source="monitor", node="pve",
            summary="[Monitor] THRESHOLD: cpu of pve above 90 %",
            details={"metric": "cpu", "value": 0.93, "threshold": 0.9},
        )  # fmt: skip
        event = self._cloud_event(at, data)
        yield self._message(
            at, "cluster.event.alert.warning", _json(event),
            (f"/monitor#{event['id']}",), "threshold as a CloudEvent",
            content_type="application/cloudevents+json",
        )  # fmt: skip
        at = 22 * MINUTE
        data = self._body(
            at, type="alert", severity="error", source="monitor", node="vault",
            summary="[Monitor] THRESHOLD: disk of vault above 95 %",
            details={"metric": "disk", "value": 0.957, "threshold": 0.95},
        )  # fmt: skip
        event = self._cloud_event(at, data)
        attributes = {f"ce-{name}": text for name, text in event.items() if name != "data"}
        yield self._message(
            at, "cluster.event.alert.error", _json(data), (f"/monitor#{event['id']}",),
            content_type="application/json", headers=attributes,
        )  # fmt: skip

    def metrics(self) -> Iterator[StoryMessage]:
        """The load of every node once a minute, as a batch."""
        for minute in range(30):
            at = minute * MINUTE + 2 * SECOND
            batch = [
                self._body(
                    at, type="metric", source="system", node=node,
                    summary=f"cpu {load(number, at):.2f}",
                    details={"cpu": load(number, at)},
                )
                for number, node in enumerate(NODES)
                if not is_down(node, at)
            ]  # fmt: skip
            what = "batch of five metrics" if minute == 8 else ""
            yield self._batch(at, "cluster.event.metric.info", batch, what)

    def snapshots(self) -> Iterator[StoryMessage]:
        for number in range(60):
            at = number * 30 * SECOND
            body = self._body(at, snapshot=state(at), cluster=CLUSTER)
            what = "snapshot of the cluster" if number in (21, 41) else ""
            if number == 30:
                identity = self._identity(at)
                yield self._message(
                    at, f"cluster.snapshot.{CLUSTER}", gzip.compress(_json(body)), (identity,),
                    "snapshot, gzip", message_id=identity, content_encoding="gzip",
                )  # fmt: skip
            else:
                yield self._one(at, f"cluster.snapshot.{CLUSTER}", body, what=what)

    def conversations(self) -> Iterator[StoryMessage]:
        yield from self._conversation(12 * MINUTE, "claude", _ABOUT_THE_OUTAGE)
        yield from self._conversation(25 * MINUTE, "qwen", _IN_GERMAN)

    def broken(self) -> Iterator[StoryMessage]:
        """Messages that cannot be recorded, each between two that can."""
        at = 3 * MINUTE
        good = self._body(
            at, type="alert", severity="warning", source="monitor", summary="[Monitor] sound"
        )
        text = _json(good)
        deep = text[:-1] + b', "details": ' + b"[" * 150 + b"]" * 150 + b"}"
        twice = text[:-1] + b', "node": "pve", "node": "vault"}'
        without_offset = format_rfc3339(self.moment(at)).removesuffix("Z")
        turn = {"session_id": "a", "role": "user", "content": "?", "timestamp": without_offset}
        bomb = gzip.compress(b" " * (64 * MIB))
        alert, asked, snapshot = "cluster.event.alert.warning", "chat.turn.user", "cluster.snapshot"
        cases = (
            ("not JSON", Reason.NOT_JSON, alert, b"{type: alert, node: pve}", None),
            ("an unknown type", Reason.INVALID, alert, _json(dict(good, type="rumour")), None),
            ("a time without an offset", Reason.INVALID, asked, _json(turn), None),
            ("150 arrays in each other", Reason.INVALID, alert, deep, None),
            ("two values for a key", Reason.INVALID, alert, twice, None),
            ("64 MiB in 64 KiB of gzip", Reason.TOO_LARGE, snapshot, bomb, "gzip"),
            ("gzip cut short", Reason.UNDECODABLE, alert, gzip.compress(text)[:-9], "gzip"),
            ("an unknown encoding", Reason.UNSUPPORTED_ENCODING, alert, text, "br"),
        )  # fmt: skip
        for number, (what, reason, key, body, encoding) in enumerate(cases):
            moment = at + number * 3 * MINUTE
            yield self._message(
                moment, key, body, (),
                message_id=self._identity(moment), content_encoding=encoding,
                dead_letters=(_dead_letter(what, reason, body),),
            )  # fmt: skip
        yield from self._collision(27 * MINUTE)
        at = 28 * MINUTE + 10 * SECOND
        batch = [
            self._body(at, type="metric", source="system", node=node, summary="uptime 86400")
            for node in NODES
        ]
        batch[2]["severity"] = "dreadful"
        yield self._batch(at, "cluster.event.metric.info", batch, broken=2)

    def _collision(self, at: int) -> Iterator[StoryMessage]:
        """Two bodies with one identity and one time: the second must not count as a duplicate."""
        first = self._body(
            at, type="action", severity="warning", source="jarvis", node="agent1",
            summary="[Jarvis] restart_vm: VM 104 restarted",
        )  # fmt: skip
        second = dict(first, summary="[Jarvis] restart_vm: VM 114 restarted")
        identity = self._identity(at)
        key = "cluster.event.action.warning"
        yield self._message(at, key, _json(first), (identity,), message_id=identity)
        yield self._message(
            at + SECOND, key, _json(second), (), message_id=identity,
            dead_letters=(_dead_letter("another body, same identity", Reason.ID_COLLISION, _json(second)),),
        )  # fmt: skip

    def _conversation(
        self, at: int, model: str, turns: Sequence[tuple[str, str, str | None]]
    ) -> Iterator[StoryMessage]:
        session = str(uuid.UUID(int=self._draw.getrandbits(128), version=4))
        read = 1_180
        for number, (role, content, tool) in enumerate(turns):
            moment = at + number * 7 * SECOND
            body = self._body(moment, session_id=session, role=role, content=content)
            if role == "assistant":
                written = 12 + len(content) // 4
                body |= {
                    "model": model,
                    "tokens_used": read + written,
                    "input_tokens": read,
                    "output_tokens": written,
                    "cost_usd": (read * 3 + written * 15) / 1e6 if model == "claude" else 0,
                }
            if tool is not None:
                body["tool_calls"] = [{"name": tool, "input": {"node": "pve"}}]
            read += 40 + len(content) // 4
            what = f"turn of the {role}" if number == 3 else ""
            yield self._one(moment, f"chat.turn.{role}", body, what=what)

    def _vm_alerts(self, at: int) -> StoryMessage:
        """Alerts for the machines of the node, as a batch of CloudEvents."""
        events = [
            self._cloud_event(
                at,
                self._body(
                    at, type="alert", severity="error", source="monitor", node="pve",
                    summary=f"[Monitor] VM_CRASHED: {VMS[vmid - FIRST_VMID]} ({vmid}) is gone",
                    details={"vmid": vmid, "currentState": "stopped"},
                ),
            )
            for vmid in vmids_on("pve")
        ]  # fmt: skip
        return self._message(
            at, "cluster.event.alert.error", _json(events),
            tuple(f"/monitor#{event['id']}" for event in events),
            content_type="application/cloudevents-batch+json",
        )  # fmt: skip

    def _about_pve(
        self, at: int, key: str, summary: str, details: Mapping[str, Any], *, what: str = ""
    ) -> StoryMessage:
        kind, _, severity = key.partition(".")
        source = "jarvis" if kind == "action" else "monitor"
        body = self._body(
            at, type=kind, severity=severity, source=source, node="pve", summary=summary,
            details=details,
        )  # fmt: skip
        return self._one(at, f"cluster.event.{key}", body, what=what)

    def _one(self, at: int, key: str, body: Mapping[str, Any], *, what: str = "") -> StoryMessage:
        identity = self._identity(at)
        return self._message(
            at, key, _json(body), (identity,), what,
            content_type="application/json", message_id=identity,
            timestamp=self.moment(at), app_id="chat" if key.startswith("chat") else "monitor",
        )  # fmt: skip

    def _batch(
        self,
        at: int,
        key: str,
        batch: Sequence[Mapping[str, Any]],
        what: str = "",
        broken: int | None = None,
    ) -> StoryMessage:
        """Return a batch; its element `broken` is expected as a dead letter of its own."""
        identity = self._identity(at)
        identities = tuple(f"{identity}/{index}" for index in range(len(batch)) if index != broken)
        dead_letters: tuple[ExpectedDeadLetter, ...] = ()
        if broken is not None:
            dead_letters = (
                _dead_letter(
                    "one element of a batch of five", Reason.INVALID, _json(batch[broken])
                ),
            )
        return self._message(
            at, key, _json(batch), identities, what, dead_letters=dead_letters, message_id=identity
        )

    def _message(
        self,
        at: int,
        key: str,
        body: bytes,
        identities: tuple[str, ...],
        what: str = "",
        *,
        dead_letters: tuple[ExpectedDeadLetter, ...] = (),
        **properties: Any,
    ) -> StoryMessage:
        return StoryMessage(
            at, _kind(key), key, encode(**properties), body, what, identities, dead_letters
        )

    def _body(self, at: int, **fields: Any) -> dict[str, Any]:
        return {**fields, "timestamp": format_rfc3339(self.moment(at))}

    def _cloud_event(self, at: int, data: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": self._identity(at),
            "source": "/monitor",
            "type": "jarvis.cluster.event",
            "time": format_rfc3339(self.moment(at)),
            "data": data,
        }

    def _identity(self, at: int) -> str:
        """Return a UUID of version 7 (RFC 9562): the time, then random bits."""
        milliseconds = self.moment(at) // 1_000
        chance = self._draw.getrandbits(74)
        high, low = chance >> 62, chance & (1 << 62) - 1
        return str(uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


_ABOUT_THE_OUTAGE: Final = (
    ("system", "You are JARVIS. Act only with consent.", None),
    ("user", "What happened to pve?", None),
    ("assistant", "Let me look.", "get_node_status"),
    ("tool", '{"node": "pve", "status": "offline", "quorate": true}', None),
    ("assistant", "pve went silent a minute ago and took four machines along. Shall I wake it?",
     None),
    ("user", "Yes, please.", None),
    ("assistant", "Sending a magic packet.", "wake_node"),
    ("tool", '{"sent": true}', None),
    ("assistant", "Done. It usually takes four minutes; I shall start its machines then.", None),
)  # fmt: skip
_IN_GERMAN: Final = (
    ("user", "Wie läuft pve jetzt? 🖥️", None),
    ("assistant", "Ich sehe nach.", "get_node_status"),
    ("tool", '{"node": "pve", "status": "online", "cpu": 0.31}', None),
    ("assistant", "pve läuft seit acht Minuten wieder; CPU 31 %, alle vier Maschinen an.", None),
)


def _kind(routing_key: str) -> Kind:
    if routing_key.startswith("chat."):
        return Kind.TURN
    return Kind.SNAPSHOT if routing_key.startswith("cluster.snapshot") else Kind.EVENT


def _dead_letter(what: str, reason: Reason, body: bytes) -> ExpectedDeadLetter:
    return ExpectedDeadLetter(what, reason, sha256(body).hexdigest())


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
