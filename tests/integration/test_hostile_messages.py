"""A message that means harm costs itself and nothing else."""

import gzip
import json
import struct
from typing import NamedTuple

import pytest

from jarvis_recorder.wire.amqp import properties
from tests.support.engines import on_both
from tests.support.publisher import EVENT_KEY, event
from tests.support.raw_amqp import RawPublisher
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker

CONTENT_TYPE = 1 << 15
ENCODING = 1 << 14
HEADERS = 1 << 13
MESSAGE_ID = 1 << 7

KEY = EVENT_KEY.encode()
GOOD = json.dumps(event(1)).encode()
TIME = json.dumps(event(1)["timestamp"]).encode()


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def table(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def nested_tables(levels: int) -> bytes:
    inner = table(b"")
    for _ in range(levels):
        inner = table(b"\x01aF" + inner)
    return inner


class Hostile(NamedTuple):
    name: str
    reason: str
    body: bytes = GOOD
    flags: int = 0
    properties: bytes = b""
    routing_key: bytes = KEY


def good_with(text: str) -> bytes:
    """Return a good event with raw JSON text as its details."""
    return GOOD[:-1].replace(b'"details"', b'"previous"') + b', "details": ' + text.encode() + b"}"


CORPUS = [
    Hostile("tables nested 600 deep", "undecodable", GOOD, HEADERS, nested_tables(600)),
    Hostile("id not UTF-8", "undecodable", GOOD, MESSAGE_ID, short(b"\xff\xfe")),
    Hostile("routing key not UTF-8", "undecodable", routing_key=b"cluster.event.\xff"),
    Hostile(
        "header key not UTF-8", "undecodable", GOOD, HEADERS, table(b"\x02\xff\xfeS" + table(b"x"))
    ),
    Hostile("content type not UTF-8", "undecodable", GOOD, CONTENT_TYPE, short(b"\xc3")),
    Hostile("another content type", "unsupported_encoding", GOOD, CONTENT_TYPE, short(b"text/xml")),
    Hostile("not of its charset", "undecodable", b"\xff", ENCODING, short(b"utf-16")),
    Hostile("marks without end", "not_json", b"\xef\xbb\xbf" * 2**20),
    Hostile("another encoding", "unsupported_encoding", GOOD, ENCODING, short(b"br")),
    Hostile("gzip that is none", "undecodable", GOOD, ENCODING, short(b"gzip")),
    Hostile("gzip cut short", "undecodable", gzip.compress(GOOD)[:-9], ENCODING, short(b"gzip")),
    Hostile("gzip bomb", "too_large", gzip.compress(b" " * 2**28), ENCODING, short(b"gzip")),
    # RabbitMQ 4 itself refuses bodies above 16 MiB.
    Hostile("15 MiB", "too_large", b'{"type":"' + b"a" * (15 * 2**20) + b'"}'),
    Hostile("empty", "not_json", b""),
    Hostile("not JSON", "not_json", b"{type: alert}"),
    Hostile("not UTF-8", "not_json", b'{"type":"\xff"}'),
    Hostile("NUL behind", "not_json", GOOD + b"\0"),
    Hostile("NaN", "not_json", good_with("NaN")),
    Hostile("Infinity", "not_json", good_with("-Infinity")),
    Hostile("an integer of 5 000 digits", "invalid", good_with("9" * 5_000)),
    Hostile("1e999", "invalid", good_with("1e999")),
    Hostile("deep JSON", "invalid", good_with("[" * 150 + "]" * 150)),
    Hostile("very deep JSON", "invalid", b"[" * 200_000 + b"]" * 200_000),
    Hostile("very many values", "too_large", good_with("[" + "0," * 300_000 + "0]")),
    Hostile("duplicate keys", "invalid", GOOD[:-1] + b', "type": "status"}'),
    Hostile("lone surrogate", "invalid", good_with('"\\ud800"')),
    Hostile("NUL within", "invalid", good_with('"a\\u0000b"')),
    Hostile("a list of nothing", "invalid", b"[]"),
    Hostile("a number", "invalid", b"42"),
    Hostile("wrong type", "invalid", GOOD.replace(b'"alert"', b"1")),
    Hostile("time that counts from a start", "invalid", GOOD.replace(TIME, b"1234.5")),
    Hostile("kind of no one's", "invalid", GOOD.replace(b'"warning"', b'"purple"')),
    Hostile("time without offset", "invalid", GOOD.replace(b'Z"', b'"')),
    Hostile("a batch with one bad element", "invalid", b"[" + GOOD + b', {"type": 1}]'),
]


@on_both
async def test_each_is_dead_lettered_with_its_reason_and_every_neighbour_recorded(
    amqp_url, start_recorder
):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    with RawPublisher(amqp_url) as publisher:
        for number, hostile in enumerate(CORPUS):
            neighbour = json.dumps(event(number, id=f"neighbour-{number}")).encode()
            publisher.publish(b"jarvis", KEY, 0, b"", neighbour)
            publisher.publish(
                b"jarvis", hostile.routing_key, hostile.flags, hostile.properties, hostile.body
            )

    # Their own headers cannot be read by a client library, so the log is asked.
    letters = wait_until(
        lambda: len(found := recorder.logged("dead_lettered")) >= len(CORPUS) and found,
        "all are dead-lettered",
    )
    neighbours = "SELECT count(DISTINCT message_id) FROM events WHERE message_id LIKE 'neigh%'"
    wait_until(lambda: recorder.rows(neighbours) == [(len(CORPUS),)], "neighbours are recorded")

    assert recorder.stop() == 0
    assert sorted(letter["reason"] for letter in letters) == sorted(
        hostile.reason for hostile in CORPUS
    )
    assert len(recorder.logged("recording")) == 1, "it never reconnected"
    in_batch = 1
    assert recorder.count() == len(CORPUS) + in_batch


@pytest.mark.parametrize("hostile", CORPUS[:4], ids=lambda hostile: hostile.name)
def test_what_cannot_be_decoded_can_still_be_passed_on(hostile):
    header = struct.pack(">HHQH", 60, 0, 0, hostile.flags) + hostile.properties

    letter = properties.with_headers(header, {"x-recorder-reason": b"undecodable"})

    assert b"\x11x-recorder-reasonS" + table(b"undecodable") in letter
    if not hostile.flags & HEADERS:
        assert letter.endswith(hostile.properties)
