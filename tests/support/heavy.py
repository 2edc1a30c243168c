"""Messages that take the most memory or time: many times their own size once they are read."""

import gzip
import json
from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

from jarvis_recorder.wire.strict_json import MAX_KEYS, MAX_VALUES

MIB: Final = 1024 * 1024
_SPARE: Final = 2_000
# Parts of a JSON text that take many times their own size, or long to parse.
_ITEMS: Final = (
    b"[]", b"{}", b"1.5e10", b"-9223372036854775807", b'""', b'"\xc3\xa4"', b'"\\ud83d\\ude00"',
    b'{"a":1}', b'{"a":1.5,"b":"x","c":[]}', b"[" * 90 + b"]" * 90, b'"' + b"x" * 60 + b'"', b"null",
)  # fmt: skip
_TEXTS: Final = (
    "😀".encode(), b"\\ud83d\\ude00", b"\\n", b"[,", "ä".encode(), b"word ", b"x",
)  # fmt: skip


class Message(NamedTuple):
    """A message to publish, and the number of its records."""

    routing_key: str
    body: bytes
    properties: dict[str, Any]
    records: int


def heavy(chance: Random) -> Message:
    """Return a heavy message."""
    makers: tuple[Callable[[Random], Message], ...] = (
        _snapshot, _event, _turn, _batch, _headers, _bad, _colliding,
    )  # fmt: skip
    message = chance.choice(makers)(chance)
    packed = gzip.compress(message.body, 1)
    if len(packed) * 190 < len(message.body) or len(message.body) < MIB:
        return message
    return message._replace(
        body=packed, properties=message.properties | {"content_encoding": "gzip"}
    )


def _snapshot(chance: Random) -> Message:
    body = b'{"snapshot":{"a":%b}}' % _json(chance, 16 * MIB)
    return Message("cluster.snapshot", body, {}, 1)


def _event(chance: Random) -> Message:
    return Message("cluster.event.status", _event_with(_json(chance, 4 * MIB)), {}, 1)


def _turn(chance: Random) -> Message:
    text = _text(chance, 2 * MIB)
    body = b'{"session_id":"s","role":"tool","cost_usd":0.5,"content":%b,"tool_calls":%b}'
    return Message("chat.turn.tool", body % (text, _json(chance, 2 * MIB - _SPARE)), {}, 1)


def _batch(chance: Random) -> Message:
    count = chance.randint(1_000, 10_000)
    event = _event_with(chance.choice((b"[]", b"[1,2,3]", b'{"a":{"b":"c"}}')))
    bad = chance.choice((b"", b',{"bad":1}' * 20))
    body = b"[" + b",".join([event] * (count - 20)) + bad + b"]"
    return Message("cluster.event.status", body, {}, count - 20)


def _headers(chance: Random) -> Message:
    headers = {f"x-{number}": "v" * 40 for number in range(chance.randint(100, 2_000))}
    return Message("cluster.event.status", _event_with(b"0"), {"headers": headers}, 1)


def _bad(chance: Random) -> Message:
    """Return a batch of which nothing is recorded, or only its last one; as gzip 80 bytes."""
    bad = b",".join([chance.choice((b"0", b"{}", b'{"id":7}'))] * 9_999)
    last = chance.choice((b"[]", _event_with(b"0")))
    body = gzip.compress(b"[%b,%b]" % (bad, last))
    return Message("cluster.event.status", body, {"content_encoding": "gzip"}, int(last != b"[]"))


def _colliding(chance: Random) -> Message:
    """Return a batch whose elements have one identity, with headers that take long to read."""
    name = chance.randbytes(8).hex().encode()
    one = b'{"id":"%b","type":"status","source":"monitor","timestamp":"2026-11-23T05:00:00Z","summary":"%d"}'
    events = (one % (name, number) for number in range(9_999))
    body = b"[%b,%b]" % (b",".join(events), _event_with(b"0"))
    headers = {f"{number:x}": None for number in range(chance.choice((10, 18_000)))}
    return Message("cluster.event.status", body, {"headers": headers}, 2)


def _event_with(details: bytes) -> bytes:
    return b'{"type":"status","source":"monitor","summary":"s","details":%b}' % details


def _json(chance: Random, most: int) -> bytes:
    kind = chance.choice(("items", "items", "keys", "text"))
    if kind == "text":
        return _text(chance, most)
    if kind == "keys":
        width = min(chance.choice((8, 60, 300)), most // MAX_KEYS - 10)
        pairs = (b'"%0*d":0' % (width, number) for number in range(MAX_KEYS - 10))
        return b"{" + b",".join(pairs) + b"}"
    item = chance.choice(_ITEMS)
    values = max(1, sum(map(item.count, (b",", b"[", b"{"))) + 1)
    count = min((MAX_VALUES - 100) // values, (most - _SPARE) // (len(item) + 1))
    return b"[" + b",".join([item] * count) + b"]"


def _text(chance: Random, most: int) -> bytes:
    if chance.random() < 0.3:
        return json.dumps(chance.randbytes(most // 2 - _SPARE).hex()).encode()
    unit = chance.choice(_TEXTS)
    return b'"' + unit * ((most - _SPARE) // len(unit)) + b'"'
