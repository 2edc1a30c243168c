"""Messages of all kinds, near to what publishers send and to what is refused, from a random source."""

import json
import struct
from random import Random
from typing import Any, NamedTuple

from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.topics import TOPICS, Kind, Topic

TIMES = (
    "2026-01-31T08:00:00Z", "2026-01-31T08:00:00.123456Z", "2026-01-31T08:00:00.5Z",
    "2026-01-31T08:00:00.654321Z", "2026-01-31T08:00:00+01:00", "2026-01-31t08:00:00.123456z",
    "2026-01-31 08:00:00.123456Z",
)  # fmt: skip
ODD_TIMES = (
    "2026-01-31T08:00:60Z", "2026-01-31T08:00:60.123456Z", "2026-02-30T08:00:00.000001Z",
    "2026-01-31T08:00:00", "20260131T080000Z", "2026-01-31T08:00:00.1234567Z",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-01:00", "2026-01-31T24:00:00Z",
    "2026-01-31T24:00:00.000000Z", "2026-01-31T24:00:00.000001Z", "9999-12-31T23:59:60.000001Z",
    "2026-01-31T08:00:00-00:00", "2026-W05-6T08:00:00Z", "", "2026-01-31T08:00:00.Z",
    "\uff12026-01-31T08:00:00.12345Z", "2026-01-31T08:00:00.12\u0663456Z", "2026-01-31T08:00Z",
    "2026-01-31T08:00:00.123456+", "2026-01-31T08:00:00,123456Z", "1769846400", "2026-01-31T08:00:00 UTC",
)  # fmt: skip
TEXTS = (
    "", "a", "node-1", '"', "\\", '\\"', 'a"b', "\x00", ',"details":', "é", "😀", "\x7f", "\u2028",
    "\x1f", "/", "\ud800", "x" * 255, "x" * 256, "😀" * 255, "😀" * 256, "e+16", "\\u0022", "specversion",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 7, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 2**70, 1.0,
    0.1, -0.0, 1e16, 1e-5, 1e-7, 1e22, 123456789.25, 1.5e300, float("nan"), float("inf"),
)  # fmt: skip
SPELT = (
    "1e5", "1E+2", "1e400", "-1e400", "-0", "-0.0", "1.", ".5", "01", "1e-400", "1e16", "0.10", "0.0",
    "100000000000000000000.0", "1e+16", "5e-324", "0.1234567890123456789", "12345678901234567", "NaN",
)  # fmt: skip
COSTS = ("0.10", "0", "0.000", "12.5", "1e-5", "3", "123456789012345.123456789012345", "0.00000001",
         "-1", "-0.0", "1e30", '"0.5"', '" 1"', "true", "null", "12345678901234567.5")  # fmt: skip
FIELDS: dict[Kind, dict[str, Any]] = {
    Kind.EVENT: {
        "type": ("alert", "action", "status", "metric"),
        "source": ("monitor", "user", "jarvis", "system"),
        "summary": ("it happened", *TEXTS),
        "severity": ("info", "warning", "error", "critical"),
        "timestamp": TIMES,
        "node": ("pve-1", *TEXTS, None),
        "cluster": ("home", *TEXTS, None),
        "id": ("an-id", *TEXTS, None),
        "details": ...,
    },
    Kind.SNAPSHOT: {
        "snapshot": {},
        "cluster": ("home", "", *TEXTS, None),
        "timestamp": TIMES,
        "id": ("an-id", *TEXTS, None),
    },
    Kind.TURN: {
        "session_id": ("s-1", *TEXTS),
        "role": ("user", "assistant", "system", "tool"),
        "content": ("hello", *TEXTS),
        "model": ("m", *TEXTS, None),
        "tokens_used": (1, 2, *NUMBERS, None),
        "input_tokens": (1, 2, *NUMBERS, None),
        "output_tokens": (1, 2, None),
        "cost_usd": ...,
        "tool_calls": ...,
        "timestamp": TIMES,
        "id": ("an-id", *TEXTS, None),
    },
}  # fmt: skip
REQUIRED = {"type", "source", "summary", "snapshot", "session_id", "role", "content"}
OTHERS = (
    "extra",
    "Severity",
    "hostname",
    "specversion",
    "data",
    "sessionId",
    "usage",
    "level",
    "a\\b",
)
KEYS = {
    Kind.EVENT: (b"cluster.event.alert.error", b"cluster.event.alert.CRIT", b"cluster.event.\xff",
                 b"cluster.event", b"elsewhere"),
    Kind.SNAPSHOT: (b"cluster.snapshot.home", b"cluster.snapshot", b"cluster.snapshot.a.b", b"\xff"),
    Kind.TURN: (b"chat.turn.user", b"chat.turn", b"chat.turn.ai", b"chat.turn.x"),
}  # fmt: skip


class Spelt(NamedTuple):
    """A part of a JSON text, as it is."""

    text: str


class Pairs(NamedTuple):
    """An object that may have a key twice."""

    pairs: list[tuple[str, Any]]


def any_message(random: Random) -> tuple[Delivery, Topic]:
    """Return a message and the topic whose queue it came by; a good part of them is sound."""
    topic = random.choice(TOPICS)
    content = _content(random, topic.kind)
    key = KEYS[topic.kind][0] if random.random() < 0.7 else random.choice(KEYS[topic.kind])
    head = _header(random, len(content))
    return Delivery(1, False, b"jarvis", key, head, content), topic


def _content(random: Random, kind: Kind) -> bytes:
    if random.random() < 0.25:
        elements = [_body(random, kind) for _ in range(random.randint(0, 3))]
        text = f"[{_white(random)}{','.join(elements)}{_white(random)}]"
    else:
        text = _body(random, kind)
    raw = text.encode("utf-8", "surrogatepass")
    match random.randint(0, 40):
        case 0 if raw:
            at = random.randrange(len(raw))
            raw = raw[:at] + bytes([random.randrange(256)]) + raw[at + 1 :]
        case 1:
            raw = _white(random).encode() + raw + random.choice((b"", b" ", b"x", b"{}", b"\n"))
        case 2:
            raw = raw[: random.randint(0, len(raw))]
        case 3:
            raw = random.choice((b"\xef\xbb\xbf", b" ", b"\x1f\x8b")) + raw
    return raw


def _body(random: Random, kind: Kind) -> str:
    pairs: list[tuple[str, Any]] = []
    for name, values in FIELDS[kind].items():
        chance = random.random()
        if chance < (0.02 if name in REQUIRED else 0.5):
            continue
        pairs.append((name, _value(random, name, values)))
    chance = random.random()
    if chance < 0.06 and pairs:
        pairs.append((random.choice(list(FIELDS[kind])), _any(random, 1)))
    elif chance < 0.12:
        pairs.append((random.choice((*OTHERS, *TEXTS)), _any(random, 2)))
    if random.random() < 0.5:
        random.shuffle(pairs)
    return _spelt(random, Pairs(pairs))


def _value(random: Random, name: str, values: Any) -> Any:
    chance = random.random()
    if chance < 0.02:
        return _any(random, 1)
    if name == "cost_usd":
        return Spelt(COSTS[0] if chance < 0.5 else random.choice(COSTS))
    if values is ...:
        return _any(random, random.choice((2, 3, 3, 9)))
    if values == {}:
        return Pairs([(random.choice(("vms", "a", "b", *TEXTS[:4])), _any(random, 3))])
    if values is TIMES and chance < 0.1:
        return random.choice((*ODD_TIMES, 1769846400, 1769846400.5))
    return values[0] if chance < 0.7 else random.choice(values)


def _any(random: Random, depth: int) -> Any:
    chance = random.random()
    if depth > 0 and chance < 0.25:
        return [_any(random, depth - 1) for _ in range(random.randint(0, 3))]
    if depth > 0 and (chance < 0.6 or depth > 4):
        names = [random.choice(("a", "b", "c", "d", "e", "key", *TEXTS[:8])) for _ in range(2)]
        return Pairs([(name, _any(random, depth - 1)) for name in names[: random.randint(0, 2)]])
    if chance < 0.75:
        return random.choice(("a", "b", *TEXTS[:3])) if chance < 0.7 else random.choice(TEXTS)
    if chance < 0.95:
        return random.choice((1, 2.5, None, True, False, "x", 1e16, -7))
    return random.choice((*NUMBERS, *map(Spelt, SPELT)))


def _spelt(random: Random, value: Any) -> str:
    match value:
        case Spelt(text):
            return text
        case Pairs(pairs):
            inner = ",".join(
                f"{_white(random)}{_spelt(random, name)}:{_white(random)}{_spelt(random, one)}"
                for name, one in pairs
            )
            return f"{{{inner}}}"
        case list():
            return f"[{','.join(_spelt(random, one) for one in value)}]"
        case str():
            return _text(random, value)
    return json.dumps(value)


def _text(random: Random, text: str) -> str:
    """Return a JSON string, some of its characters as escapes."""
    if random.random() < 0.9:
        return json.dumps(text, ensure_ascii=random.random() < 0.2)
    written = []
    for character in text:
        if ord(character) > 0xFFFF or random.random() < 0.7:
            written.append(json.dumps(character, ensure_ascii=False)[1:-1])
        else:
            written.append(f"\\u{ord(character):04x}")
    return f'"{"".join(written)}"'


def _white(random: Random) -> str:
    return random.choice(("", "", "", "", "", "", " ", "\n", "\t "))


def _header(random: Random, size: int) -> bytes:
    """Return a content header, in most cases one that publishers send."""
    flags = 0
    fields = b""

    def add(chance: float, flag: int, *choices: bytes) -> None:
        nonlocal flags, fields
        if random.random() < chance:
            flags |= 1 << flag
            fields += choices[0] if random.random() < 0.85 else random.choice(choices)

    def short(text: bytes) -> bytes:
        return bytes([len(text)]) + text

    add(0.6, 15, *map(short, (b"application/json", b"application/jsom", b"", b"text/plain",
                              b"application/json; charset=utf-8", b"application/cloudevents+json")))  # fmt: skip
    add(0.08, 14, *map(short, (b"utf-8", b"gzip", b"identity", b"", b"latin-1", b"UTF-8")))
    add(0.1, 13, b"\0\0\0\x08\x02abS\0\0\0\0", b"\0\0\0\0", b"\0\0\0\x05\x02abS\0", b"\0\0\0\x04\x02abt",
        b"\0\0\0\x17\x0ece-specversionS\0\0\0\x031.0")  # fmt: skip
    add(0.6, 12, b"\x02")
    identities = (b"0123456789abcdef", b"ab", b"", b"\xff", b"abcd\0fghabcdefgh", "é".encode())
    add(0.6, 7, *map(short, (random.randbytes(8).hex().encode(), *identities)))
    seconds = (
        1769817600,
        0,
        1769817600123,
        253402300799,
        253402300800,
        2**63,
        random.randrange(10**10),
    )
    add(0.3, 6, *(struct.pack(">Q", one) for one in seconds))
    add(0.2, 3, b"\x03app", b"\x02ap")
    if random.random() < 0.01:
        flags |= 1
    if random.random() < 0.01:
        fields = fields[:-1]
    return struct.pack(">HHQH", 60, 0, size, flags) + fields
