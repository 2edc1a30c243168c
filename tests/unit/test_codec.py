"""Bytes in, records or a refusal out, as docs/protocol.md says."""

import gzip
import json
import time
import tracemalloc
import zlib
from base64 import b64encode
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from jarvis_recorder.wire import codec
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.codec import decode, elements_of, is_large, most_values
from jarvis_recorder.wire.records import Record, Snapshot, Turn
from jarvis_recorder.wire.refusal import Reason, Refusal
from jarvis_recorder.wire.strict_json import are_lines, dump
from jarvis_recorder.wire.times import parse_rfc3339
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import delivery
from tests.support.publisher import event

EVENTS, SNAPSHOTS, TURNS = TOPICS
RECEIVED = 1_000_000
SECRET = "hunter2"


def raw(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def record(body: Any, topic=EVENTS, **properties: Any) -> Record:
    decoded = decode(delivery(raw(body), **properties), topic, RECEIVED)
    assert decoded.refusals == []
    (only,) = decoded.records
    return only


def refusal(body: Any, topic=EVENTS, **properties: Any) -> Refusal:
    decoded = decode(delivery(raw(body), **properties), topic, RECEIVED)
    assert decoded.records == []
    (only,) = decoded.refusals
    assert SECRET not in only.error
    return only


def cloud_event(data: Any, **attributes: Any) -> dict[str, Any]:
    plain = {"specversion": "1.0", "id": "1", "source": "/monitor", "type": "x"}
    return plain | attributes | {"data": data}


def turn(**changes: Any) -> dict[str, Any]:
    return {"session_id": "s", "role": "user", "content": "hi"} | changes


def test_severity_is_info_unless_told():
    assert record(event(severity=None)).body.severity == "info"


def test_unknown_fields_are_kept():
    assert record(event(weight=3, tags=["a"])).extra == {"weight": 3, "tags": ["a"]}
    assert record(event()).extra is None


def test_an_empty_reply_to_the_question_what_is_json_is_no():
    assert refusal(b"").reason is Reason.NOT_JSON


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"type": SECRET}, "type"),
        ({"severity": SECRET}, "severity"),
        ({"source": SECRET}, "source"),
        ({"summary": ""}, "summary"),
        ({"summary": SECRET + "x" * 8_192}, "summary"),
        ({"summary": 7}, "summary"),
        ({"node": SECRET * 40}, "node"),
        ({"id": "i" * 256}, "id"),
        ({"timestamp": "2026-01-26 08:00:37"}, "timestamp"),
        ({"timestamp": 1_700}, "timestamp"),
        ({"timestamp": SECRET}, "timestamp"),
    ],
)
def test_a_bad_field_is_named_and_its_value_is_not(changes, where):
    refused = refusal(event(**changes))

    assert refused.reason is Reason.INVALID
    assert refused.error.startswith(f"{where}: ")


@pytest.mark.parametrize(
    ("topic", "field", "longest"),
    [
        (EVENTS, "summary", 8_192),
        (EVENTS, "node", 255),
        (EVENTS, "id", 255),
        (SNAPSHOTS, "cluster", 255),
        (TURNS, "session_id", 255),
    ],
)
def test_texts_are_measured_in_characters(topic, field, longest):
    whole = event() | turn() | {"snapshot": {}}

    assert getattr(record(whole | {field: "\u00fc" * longest}, topic).body, field)
    assert refusal(whole | {field: "x" * (longest + 1)}, topic).error.startswith(f"{field}: ")


def test_a_missing_field_is_named():
    assert refusal(event(summary=None)).error == "summary: Field required"


@pytest.mark.parametrize("tokens", [True, 1.5, "twelve", "-1", -1, 2**63])
def test_tokens_are_integers_from_zero(tokens):
    assert refusal(turn(tokens_used=tokens), TURNS).reason is Reason.INVALID


@pytest.mark.parametrize(
    ("cost", "exact"),
    [
        (b"0.12345678901234567890", "0.12345678901234567890"),
        (b'"0.10"', "0.10"),
        (b"3", "3"),
        (b"1e-7", "1E-7"),
    ],
)
def test_costs_are_kept_exactly(cost, exact):
    body = json.dumps(turn()).encode()[:-1] + b', "cost_usd": ' + cost + b"}"

    stored = record(body, TURNS).body

    assert isinstance(stored, Turn)
    assert stored.cost_usd == Decimal(exact)
    assert str(stored.cost_usd) == exact


def test_costs_are_exact_in_every_wrapping():
    text = b'{"session_id":"s","role":"user","content":"hi","cost_usd":0.1000000000000000000001}'
    exact = Decimal("0.1000000000000000000001")
    structured = json.dumps(cloud_event(None)).encode().replace(b"null", text)

    for body, content_type in (
        (b"[" + text + b"]", "application/json"),
        (structured, "application/cloudevents+json"),
        (b"[" + structured + b"]", "application/cloudevents-batch+json"),
        (
            raw(cloud_event(None, data_base64=b64encode(text).decode())),
            "application/cloudevents+json",
        ),
    ):
        stored = record(body, TURNS, content_type=content_type).body
        assert isinstance(stored, Turn)
        assert stored.cost_usd == exact


def in_envelopes(depth: int, text: bytes) -> bytes:
    return b'{"messageType":[],"message":' * depth + text + b"}" * depth


@pytest.mark.parametrize("list_of_lists", [False, True])
def test_of_envelopes_in_envelopes_no_more_are_looked_into_than_are_read(
    monkeypatch, list_of_lists
):
    """Each was looked into from each around it: 2.7 kB of gzip took six seconds."""
    looks: list[str] = []

    def watch(module: Any, name: str) -> None:
        look = getattr(module, name)
        monkeypatch.setattr(module, name, lambda seen: looks.append(name) or look(seen))

    for name in ("raw_entries", "raw_elements", "_name_of_cost", "_inner"):
        watch(codec, name)
    text = raw(turn(cost_usd=0.5))

    def looks_into(depth: int) -> int:
        looks.clear()
        nested = b'[{"cost_usd":0.5},' * depth + text + b"]" * depth
        body = b"[%b]" % (nested if list_of_lists else in_envelopes(depth, text))
        assert decode(delivery(body), TURNS, RECEIVED).refusals
        return len(looks)

    assert looks_into(90) == looks_into(45)


@pytest.mark.parametrize(
    "cost", ["-1", "NaN", "lots", "1e999999999", "1e99", 1e31, 1e-31, "1" * 31, True, [1], -0.5]
)
def test_costs_that_are_none_are_refused(cost):
    assert refusal(turn(cost_usd=cost), TURNS).reason is Reason.INVALID


def test_an_unknown_field_called_data_is_kept_as_it_came():
    kept = record(turn(data={"cost_usd": 1.5}), TURNS).extra

    assert dump(kept) == '{"data":{"cost_usd":1.5}}'


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**64 - 1, -(2**63) - 1, 10**40])
@pytest.mark.parametrize(
    ("topic", "body", "field"),
    [
        (EVENTS, event(details={"guid": 0}), "details"),
        (SNAPSHOTS, {"snapshot": {"guid": 0}}, "snapshot"),
        (TURNS, {"session_id": "s", "role": "user", "content": "", "tool_calls": {"guid": 0}},
         "tool_calls"),
    ],
)  # fmt: skip
def test_integers_are_kept_as_they_are_written(topic, body, field, number):
    """The guid of a ZFS pool has 64 bits, all of them its own."""
    text = raw(body | {"serial": 0}).replace(b'": 0', b'": %d' % number)

    (found,) = decode(delivery(text), topic, RECEIVED, as_text=True).records

    assert getattr(found.body, field) == b'{"guid":%d}' % number
    assert found.extra == b'{"serial":%d}' % number


def test_a_routing_key_that_is_no_text_is_refused():
    message = delivery(raw(event()))

    umlaut = decode(message._replace(routing_key="cluster.event.ü".encode()), EVENTS, RECEIVED)
    broken = decode(message._replace(routing_key=b"cluster.event.\xff"), EVENTS, RECEIVED)

    assert len(umlaut.records) == 1
    assert [bad.reason for bad in broken.refusals] == [Reason.UNDECODABLE]


def test_a_snapshot_needs_an_object():
    kept = record({"snapshot": {"nodes": []}, "cluster": "home"}, SNAPSHOTS).body

    assert isinstance(kept, Snapshot)
    assert kept.cluster == "home"
    assert refusal({"snapshot": [1]}, SNAPSHOTS).reason is Reason.INVALID
    assert refusal([], SNAPSHOTS).error == "the batch is empty"


# Time and identity


def test_the_body_s_own_time_comes_first():
    at = "2026-11-23T06:00:00+01:00"
    found = record(event(timestamp=at), timestamp=_aware())

    assert (found.timestamp, found.stamped) == (parse_rfc3339(at), False)


def _aware():
    from datetime import UTC, datetime

    return datetime(2026, 1, 1, tzinfo=UTC)


def test_then_the_cloud_event_s_then_the_property_s_then_the_receipt():
    body = event(timestamp=None)
    wrapped = cloud_event(body, time="2026-11-23T05:00:00Z")
    structured = {"content_type": "application/cloudevents+json"}

    of_event = record(wrapped, timestamp=_aware(), **structured)
    of_property = record(body, timestamp=_aware())
    of_receipt = record(body)

    assert (of_event.timestamp, of_event.stamped) == (
        parse_rfc3339("2026-11-23T05:00:00Z"),
        False,
    )
    assert (of_property.timestamp, of_property.stamped) == (
        parse_rfc3339("2026-01-01T00:00:00Z"),
        True,
    )
    assert (of_receipt.timestamp, of_receipt.stamped) == (RECEIVED, True)


def test_identity_is_the_message_s_then_the_cloud_event_s_then_the_body_s():
    body = event(id="body")
    structured = {"content_type": "application/cloudevents+json"}

    assert record(body, message_id="amqp").message_id == "amqp"
    assert record(cloud_event(body), message_id="amqp", **structured).message_id == "amqp"
    assert record(cloud_event(body), **structured).message_id == "/monitor#1"
    assert record(body).message_id == "body"
    assert record(event()).message_id is None


def test_in_a_batch_each_has_its_own_identity_or_its_place():
    batch = [event(id="own"), event()]

    named = decode(delivery(raw(batch), message_id="m"), EVENTS, RECEIVED).records
    nameless = decode(delivery(raw(batch)), EVENTS, RECEIVED).records

    assert [found.message_id for found in named] == ["own", "m/1"]
    assert [found.message_id for found in nameless] == ["own", None]
    assert [found.position for found in named] == [0, 1]


def test_an_identity_that_cannot_be_stored_is_refused():
    assert refusal(cloud_event(event(), id="x" * 1_100), content_type=STRUCTURED).reason
    assert refusal(event(), message_id="a\0b").reason is Reason.INVALID
    long = cloud_event(event(), source="\u4e2d" * 834, id="1")
    assert refusal(long, content_type=STRUCTURED).reason is Reason.INVALID


def test_an_identity_of_1024_characters_is_taken_up_to_2500_bytes():
    of_two_bytes = cloud_event(event(), source="\u00fc" * 1_022, id="1")
    of_three_bytes = cloud_event(event(), source="\u4e2d" * 832, id="1")

    for given in (of_two_bytes, of_three_bytes):
        assert record(given, content_type=STRUCTURED).message_id == f"{given['source']}#1"


# CloudEvents

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"


@pytest.mark.parametrize("prefix", ["ce-", "cloudEvents:", "cloudEvents_"])
def test_binary_mode_takes_its_attributes_from_headers(prefix):
    attributes = {
        "specversion": "1.0", "id": "7", "source": "/m", "type": "t",
        "time": "2026-11-23T05:00:00Z", "subject": "pve1",
    }  # fmt: skip
    headers = {f"{prefix}{name}": value for name, value in attributes.items()}

    found = record(event(timestamp=None), headers=headers | {"other": "x", "n": 5})

    assert found.message_id == "/m#7"
    assert not found.stamped
    assert found.extra == {
        "cloudevent": {"id": "7", "source": "/m", "type": "t", "subject": "pve1"}
    }


@pytest.mark.parametrize(
    "value", ["a\0b", bytearray(b"a\0b"), ["a\0b"], {"a\0b": 1}, {"a": [{"b": "\0"}]}], ids=repr
)
def test_a_header_with_a_nul_is_refused_in_a_cloud_event_only(value):
    """PostgreSQL stores a document with one, and can read nothing of it."""
    attributes = {
        "ce-specversion": "1.0", "ce-id": "7", "ce-source": "/m", "ce-type": "t", "ce-note": value
    }  # fmt: skip

    assert refusal(event(), headers=attributes).reason is Reason.INVALID
    assert record(event(), headers={"note": value}).extra is None


def test_structured_mode_keeps_extensions_beside_unknown_fields():
    found = record(cloud_event(event(weight=1), traceparent="00-ab"), content_type=STRUCTURED)

    assert found.extra == {
        "weight": 1,
        "cloudevent": {"id": "1", "source": "/monitor", "type": "x", "traceparent": "00-ab"},
    }


def test_a_batch_of_cloud_events():
    batch = [cloud_event(event(n), id=str(n)) for n in range(3)]

    found = decode(delivery(raw(batch), content_type=BATCH, message_id="m"), EVENTS, RECEIVED)

    assert [kept.message_id for kept in found.records] == [f"/monitor#{n}" for n in range(3)]


@pytest.mark.parametrize(
    "bad",
    [
        cloud_event(event(), id=""),
        cloud_event(event(), id=5),
        cloud_event(event(), source=None),
        cloud_event(event(), specversion="0.3"),
        cloud_event(event(), time="yesterday"),
        cloud_event(event(), time=7),
        cloud_event(SECRET),
        cloud_event(None),
        cloud_event(None, data_base64="!"),
        cloud_event(None, data_base64=7),
        [cloud_event(event())],
        SECRET,
    ],
)
def test_a_cloud_event_that_is_none_is_refused(bad):
    assert refusal(bad, content_type=STRUCTURED).reason is Reason.INVALID


def test_binary_mode_is_json_and_no_batch():
    headers = {"ce-id": "1", "ce-source": "s", "ce-type": "t", "ce-specversion": "1.0"}

    assert refusal([event()], headers=headers).reason is Reason.INVALID
    assert refusal(event(), headers=headers, content_type="text/csv").reason is (
        Reason.UNSUPPORTED_ENCODING
    )


# Encodings and limits


def test_gzip_is_unpacked_member_by_member():
    text = raw(event())
    packed = gzip.compress(text[:50]) + gzip.compress(text[50:])

    assert record(packed, content_encoding="gzip").body.summary == event()["summary"]
    assert record(text, content_encoding="identity").body.type == "alert"


def test_a_bomb_is_refused_by_what_it_would_become():
    bomb = gzip.compress(b" " * (64 * 2**20))

    tracemalloc.start()
    refused = refusal(bomb, content_encoding="gzip")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert refused.reason is Reason.TOO_LARGE
    assert peak < 2.5 * EVENTS.max_bytes


@pytest.mark.parametrize("packed_size", [10, 4_096, 4_097, 100_000])
def test_gzip_members_may_end_anywhere(packed_size):
    noise = Random(packed_size).randbytes(packed_size).hex()
    text = raw(event(details=noise))
    packed = b"".join(gzip.compress(text[at : at + 5_000]) for at in range(0, len(text), 5_000))

    assert record(packed, content_encoding="gzip").body.details == noise
    assert refusal(packed[:-1], content_encoding="gzip").error == "the compressed body is cut short"
    assert refusal(packed + b"x", content_encoding="gzip").reason is Reason.UNDECODABLE


@pytest.mark.parametrize("size", [4 * 2**20, 4 * 2**20 + 1])
def test_a_message_is_at_most_four_mebibytes(size):
    body = raw(event(details=""))
    padded = body[:-1] + b" " * (size - len(body)) + b"}"
    assert len(padded) == size

    plain = decode(delivery(padded), EVENTS, RECEIVED)
    packed = decode(delivery(gzip.compress(padded), content_encoding="gzip"), EVENTS, RECEIVED)

    for decoded in (plain, packed):
        assert bool(decoded.records) is (size == 4 * 2**20)
        assert [bad.error for bad in decoded.refusals] == [
            "the body is larger than 4194304 bytes"
        ] * (size > 4 * 2**20)
    as_snapshot = decode(delivery(padded), SNAPSHOTS, RECEIVED)
    assert [bad.reason for bad in as_snapshot.refusals] == [Reason.INVALID]


def test_a_snapshot_is_at_most_sixteen_mebibytes():
    whole = raw({"snapshot": {"blob": "x" * (16 * 2**20 - 26)}})
    assert len(whole) == 16 * 2**20

    assert record(whole, SNAPSHOTS).stamped
    assert refusal(whole + b" ", SNAPSHOTS).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("body", "properties", "reason"),
    [
        (b"x", {"content_encoding": "gzip"}, Reason.UNDECODABLE),
        (b'{"type": "alert"}', {"content_encoding": "GZIP"}, Reason.UNDECODABLE),
        (gzip.compress(b"{}", mtime=0)[:-5], {"content_encoding": "gzip"}, Reason.UNDECODABLE),
        (b"{}", {"content_encoding": "br"}, Reason.UNSUPPORTED_ENCODING),
        (b"{}", {"content_type": "text/xml"}, Reason.UNSUPPORTED_ENCODING),
    ],
)
def test_what_cannot_be_unpacked_is_refused(body, properties, reason):
    assert refusal(body, **properties).reason is reason


def test_parameters_of_the_content_type_do_not_matter():
    assert record(event(), content_type="application/json; charset=utf-8").body.type == "alert"


# Batches


def test_ten_thousand_elements_are_a_batch_and_one_more_is_not():
    one = json.dumps(event())

    fits = decode(delivery(f"[{','.join([one] * 10_000)}]".encode()), EVENTS, RECEIVED)
    too_many = refusal(f"[{','.join([one] * 10_001)}]".encode())

    assert len(fits.records) == 10_000
    assert too_many.reason is Reason.TOO_LARGE


def test_bad_elements_are_refused_one_by_one():
    good = json.dumps(event(id="good"))
    pieces = [
        good,
        '{"id": "dup", "type": "alert", "type": "alert"}',
        "NaN",
        '{"id": "\\ud800"}',
        str(2**64),
        " " + good,
    ]
    message = delivery(f"[{', '.join(pieces)}]".encode(), message_id="m")

    decoded = decode(message, EVENTS, RECEIVED)

    assert [kept.position for kept in decoded.records] == [0, 5]
    assert [
        (bad.reason, bad.element.body.decode(), bad.element.message_id) for bad in decoded.refusals
    ] == [
        (Reason.INVALID, pieces[1], "dup"),
        (Reason.NOT_JSON, "NaN", "m/2"),
        (Reason.INVALID, pieces[3], "m/3"),
        (Reason.INVALID, pieces[4], "m/4"),
    ]
    assert decoded.refusals[0].error.startswith("element 1: ")


def test_a_bad_first_line_leaves_the_others_to_be_recorded():
    """Its duplicate key is seen before it is clear that more lines follow."""
    bad, good = b'{"type":"alert","type":"alert"}', raw(event(id="a"))

    decoded = decode(delivery(bad + b"\n" + good), EVENTS, RECEIVED)

    assert [kept.message_id for kept in decoded.records] == ["a"]
    assert [refused.element.body for refused in decoded.refusals] == [bad]


@pytest.mark.parametrize(
    ("bad", "content_type"),
    [
        (b"[1]", None),
        (b'{"type":"alert",', None),
        (b"garbage", None),
        (b"null", "application/json"),
        (b"[1", "application/x-ndjson"),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_bad_line_leaves_the_others_to_be_recorded_wherever_it_is(bad, content_type, at):
    # Blanks behind an object do not matter.
    lines = [raw(event(id="a")) + b" " * 70, raw(event(id="b"))]
    lines.insert(at, bad)
    message = delivery(b"\n".join(lines), content_type=content_type or "application/json")

    decoded = decode(message, EVENTS, RECEIVED)

    assert [kept.message_id for kept in decoded.records] == ["a", "b"]
    assert [refused.element.body for refused in decoded.refusals] == [bad]
    wanted = [(kept.position, kept.message_id) for kept in decoded.records]
    assert [json.loads(one.body)["id"] for one in elements_of(message, EVENTS, wanted)] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize("window", range(9, 16))
def test_a_compressed_body_is_large_by_what_it_unpacks_to_whatever_its_window(window):
    packer = zlib.compressobj(9, wbits=window)
    body = packer.compress(raw(event(details={"x": [1] * 50_000}))) + packer.flush()
    message = delivery(body, content_encoding="deflate")

    assert is_large(message)
    assert len(decode(message, EVENTS, RECEIVED).records) == 1


def test_a_compressed_body_without_a_header_is_read_and_never_on_the_event_loop():
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(raw(event())) + packer.flush()
    message = delivery(body, content_encoding="Deflate")

    assert is_large(message)
    assert len(decode(message, EVENTS, RECEIVED).records) == 1
    cut = decode(delivery(body[:-3], content_encoding="deflate"), EVENTS, RECEIVED)
    assert [refused.reason for refused in cut.refusals] == [Reason.UNDECODABLE]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_a_stream_without_a_header_is_no_gzip(encoding):
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(raw(event())) + packer.flush()

    decoded = decode(delivery(body, content_encoding=encoding), EVENTS, RECEIVED)

    assert [refused.reason for refused in decoded.refusals] == [Reason.UNDECODABLE]


def test_what_may_unpack_to_much_is_large_however_it_begins():
    """A deflated stream may begin as JSON does, and a text of AMQP 1.0 hold a compressed one."""
    assert is_large(delivery(b"{ is how a stream may begin", content_encoding="deflate"))
    packed = gzip.compress(raw(event(details={"x": [1] * 50_000})))
    value = b"\0\x53\x77\xb0" + len(packed).to_bytes(4, "big") + packed

    assert is_large(delivery(value))
    assert len(decode(delivery(value), EVENTS, RECEIVED).records) == 1


def test_empty_lines_are_passed_over_at_once():
    began = time.process_time()

    assert not are_lines(b"\n" * 16_000_000)

    assert time.process_time() - began < 1


def test_a_body_in_another_alphabet_counts_each_of_its_bytes():
    batch = ("[" + ",".join(["{}"] * 5_000) + "]").encode("cp037")

    assert most_values(delivery(batch, content_type="application/json; charset=cp037")) > 10_000
    assert most_values(delivery(b'\r\n{"a":[1,2]}')) == 7


@pytest.mark.parametrize("code", [0xA0, 0xA1, 0xB0, 0xB1])
def test_a_text_of_amqp_1_0_is_the_body(code):
    text = raw(event(id="a"))
    length = len(text).to_bytes(1 if code < 0xB0 else 4, "big")
    body = b"\0\x53\x77" + bytes((code,)) + length + text

    assert [kept.message_id for kept in decode(delivery(body), EVENTS, RECEIVED).records] == ["a"]
    for other in (body[:-1], body[:4], body[:3], b"\0\x53\x77\x40"):
        assert [one.reason for one in decode(delivery(other), EVENTS, RECEIVED).refusals]


@pytest.mark.parametrize("lines", [False, True])
def test_of_more_bad_elements_than_some_hundred_the_message_is_refused_whole(lines):
    """Its good elements are recorded all the same."""
    pieces = [raw(event(id="a")), *[b'{"bad":%d}' % n for n in range(501)], raw(event(id="b"))]
    few, many = (
        decode(delivery(b"\n".join(some) if lines else b"[%b]" % b",".join(some)), EVENTS, RECEIVED)
        for some in (pieces[1:], pieces)
    )
    of_500 = decode(delivery(b"[%b]" % b",".join(pieces[2:])), EVENTS, RECEIVED)

    for decoded, names in ((few, "b"), (many, "ab")):
        assert [kept.message_id for kept in decoded.records] == [*names]
        (whole,) = decoded.refusals
        assert (whole.reason, whole.element) == (Reason.INVALID, None)
        assert whole.error.startswith("501 elements are refused, together as one message; element")
    assert [bad.element.body for bad in of_500.refusals] == pieces[2:-1]


@pytest.mark.parametrize("element", [b"0", b"{}"])
def test_ten_thousand_bad_elements_leave_little_in_memory(element):
    message = delivery(b"[%b]" % b",".join([element] * 10_000))
    decode(message, EVENTS, RECEIVED)

    tracemalloc.start()
    kept = [decode(message, EVENTS, RECEIVED) for _ in range(5)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(kept) == 5
    assert held < 100_000


def test_bad_elements_that_are_alike_are_looked_at_once(monkeypatch):
    """Ten thousand of them are eighty bytes of gzip."""
    explained = []
    explain = codec.first_error
    monkeypatch.setattr(
        codec, "first_error", lambda error: explained.append(error) or explain(error)
    )
    pieces = [raw(event()), *[b"{}"] * 400, b'{"type": 1}']

    decoded = decode(delivery(b"[%b]" % b",".join(pieces), message_id="m"), EVENTS, RECEIVED)

    assert len(explained) == 3, "once more in the array as a whole"
    assert [bad.element.message_id for bad in decoded.refusals] == [f"m/{n}" for n in range(1, 402)]
    assert decoded.refusals[7].error == "element 8: source: Field required"


def test_bad_elements_of_a_cloud_event_batch_stay_cloud_events():
    batch = [cloud_event(event(), id="a"), cloud_event({"type": SECRET}, id="b")]

    decoded = decode(delivery(raw(batch), content_type=BATCH), EVENTS, RECEIVED)

    assert len(decoded.records) == 1
    (bad,) = decoded.refusals
    assert bad.element.content_type == STRUCTURED
    assert refusal(bad.element.body, content_type=STRUCTURED).reason is Reason.INVALID


def test_elements_of_any_fault_leave_the_others_alone():
    deep = '{"details": ' + "[" * 101 + "]" * 101 + "}"
    pieces = [
        json.dumps(event(id="good")), deep, '{"details": 1e999}', '{"details": "\\u0000"}',
        json.dumps(event(summary=SECRET * 2_000)), "-Infinity",
    ]  # fmt: skip

    decoded = decode(delivery(f"[{','.join(pieces)}]".encode()), EVENTS, RECEIVED)

    assert [kept.message_id for kept in decoded.records] == ["good"]
    assert [bad.element.body.decode() for bad in decoded.refusals] == pieces[1:]
    assert [bad.error.split(":")[0] for bad in decoded.refusals] == [
        f"element {number}" for number in range(1, 6)
    ]
    assert SECRET not in "".join(bad.error for bad in decoded.refusals)


@pytest.mark.parametrize("levels", [900, 1_000, 100_000])
def test_an_element_of_any_depth_leaves_the_others_alone(levels):
    """Beyond about a thousand levels it was the whole batch that was refused."""
    inner = rb'{"]":"}\"]"}'
    deep = b'{"details":' + b"[" * levels + inner + b"]" * levels + b"}"
    batch = b"[%b , %b,%b]" % (raw(event(id="first")), deep, raw(event(id="last")))
    message = delivery(batch)

    decoded = decode(message, EVENTS, RECEIVED)

    assert [kept.message_id for kept in decoded.records] == ["first", "last"]
    (bad,) = decoded.refusals
    assert bad.error.startswith("element 1: ")
    assert bad.element.body == deep
    (last,) = elements_of(message, EVENTS, [(2, "last")])
    assert last.body == raw(event(id="last"))


@pytest.mark.parametrize("end", [b"", b"]", b'"', b'"' + rb"\"" * 100_000, b"]" * 2_001 + b"}"])
def test_an_array_with_a_deep_element_that_never_ends_is_refused_whole(end):
    assert refusal(b"[1," + b"[" * 2_000 + end).reason in (Reason.INVALID, Reason.NOT_JSON)


@pytest.mark.parametrize("own", ["m", "\u00fc" * 255])
def test_an_identity_too_long_for_a_property_is_left_in_the_body(own):
    """A short string has 255 bytes; the index of an element or its umlauts may not fit."""
    outer = "m" * 254
    message = delivery(raw([event(id=own), event(), {"id": own}, 7]), message_id=outer)

    decoded = decode(message, EVENTS, RECEIVED)

    assert [kept.message_id for kept in decoded.records] == [own, f"{outer}/1"]
    ids = [bad.element.message_id for bad in decoded.refusals]
    wanted = [(kept.position, kept.message_id) for kept in decoded.records]
    ids += [element.message_id for element in elements_of(message, EVENTS, wanted)]
    fitting = own if len(own.encode()) <= 255 else None
    assert ids == [fitting, None, fitting, None]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_an_element_sent_again_is_the_same_record(wrapped, packed):
    """Publishing a dead letter again gives the record that the batch would have given."""
    bodies = [event(0, id="own", weight=1), event(1), event(2, timestamp=None)]
    if wrapped:
        bodies = [cloud_event(body, id=str(at)) for at, body in enumerate(bodies)]
    text = raw(bodies)
    message = delivery(
        gzip.compress(text) if packed else text,
        content_encoding="gzip" if packed else "identity",
        content_type=BATCH if wrapped else "application/json",
        message_id="m",
        timestamp=_aware(),
    )

    for kept in decode(message, EVENTS, RECEIVED).records:
        (element,) = elements_of(message, EVENTS, [(kept.position, kept.message_id)])
        changed = {
            "message_id": element.message_id,
            "content_type": element.content_type,
            "content_encoding": None,
        }
        header = message.header[:12] + properties.with_headers(message.header, {}, changed)
        again = message._replace(header=header, body=element.body)
        assert decode(again, EVENTS, RECEIVED).records == [kept._replace(position=None)]


def test_an_array_cut_short_is_refused_whole():
    assert refusal(b"[1, 2").reason is Reason.NOT_JSON
    assert refusal(b"[1 2]").reason is Reason.NOT_JSON
    assert refusal(b"[1] 2").reason is Reason.NOT_JSON
    assert refusal(b"[" * 100_000).reason is Reason.INVALID
    assert refusal(b"{}", content_type=BATCH).error == "a batch must be a JSON array"
    assert refusal(b"{x", content_type=BATCH).error == "not a JSON array"


def test_a_record_of_a_batch_can_be_told_from_it_again():
    batch = raw([event(0, id="zero"), event(1, id="one")])
    message = delivery(gzip.compress(batch), content_encoding="gzip")
    kept = decode(message, EVENTS, RECEIVED).records[1]

    (element,) = elements_of(message, EVENTS, [(kept.position, kept.message_id)])

    assert json.loads(element.body) == event(1, id="one")
    assert element.message_id == "one"

    events = delivery(raw([cloud_event(event())]), content_type=BATCH)
    kept = decode(events, EVENTS, RECEIVED).records[0]
    (element,) = elements_of(events, EVENTS, [(kept.position, kept.message_id)])
    assert element.content_type == STRUCTURED


def test_a_fault_of_ours_is_a_refusal_too(monkeypatch):
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("jarvis_recorder.wire.codec._record", fail)

    assert refusal(event()).reason is Reason.INTERNAL


def test_gzip_that_only_repeats_itself_is_refused():
    body = raw({"snapshot": {"a": "x" * (5 * 1024 * 1024)}})

    refused = refusal(gzip.compress(body), SNAPSHOTS, content_encoding="gzip")

    assert refused.reason is Reason.TOO_LARGE
    assert "200 times" in refused.error


def test_many_guests_that_are_alike_are_taken():
    guest = {"name": "guest", "status": "running", "config": "x" * 900}
    guests = [guest | {"vmid": number, "load": number / 7} for number in range(10_000)]
    body = raw({"snapshot": {"guests": guests}})

    found = record(gzip.compress(body), SNAPSHOTS, content_encoding="gzip")

    assert len(body) > 9_000_000
    assert len(found.body.snapshot["guests"]) == 10_000


@pytest.mark.parametrize(
    ("topic", "body", "field", "text"),
    [
        (EVENTS, event(details={"a": [1.5, "ü"]}), "details", '{"a":[1.5,"ü"]}'),
        (SNAPSHOTS, {"snapshot": {"b": 1, "a": 2}}, "snapshot", '{"b":1,"a":2}'),
        (TURNS, turn(tool_calls=[]), "tool_calls", "[]"),
    ],
)
def test_what_may_be_any_json_waits_as_text(topic, body, field, text):
    (found,) = decode(delivery(raw(body | {"x": [0]})), topic, RECEIVED, as_text=True).records

    assert getattr(found.body, field) == text.encode()
    assert found.extra == b'{"x":[0]}'


def test_what_is_nothing_stays_nothing_as_text():
    body = raw(event(details=None))
    (found,) = decode(delivery(body), EVENTS, RECEIVED, as_text=True).records

    assert found.body.details is None
    assert found.extra is None


@pytest.mark.parametrize(
    ("large", "message"),
    [
        (False, delivery(b"x" * 30_000)),
        (True, delivery(b"x" * 33_000)),
        (True, delivery(b"{}", headers={str(number): "x" * 90 for number in range(400)})),
        (True, delivery(gzip.compress(b"x" * 5_000), content_encoding="gzip")),
        (False, delivery(gzip.compress(b"x" * 4_000), content_encoding="gzip")),
        (True, delivery(gzip.compress(b"") * 2, content_encoding="gzip")),
    ],
)
def test_what_takes_long_to_decode_is_known_before(large, message):
    assert is_large(message) is large


@pytest.mark.parametrize(
    ("values", "body"),
    [
        (1, b"7"),
        (10_000, b"[%b]" % b",".join([b"0"] * 10_000)),
        (5_000, b"\n".join([b"{}"] * 1_000)),
        (5_000, gzip.compress(b"[%b]" % b",".join([b"{}"] * 1_000), mtime=0)),
        (1_000, json.dumps([0] * 1_000).encode("utf-16")),
        (1, gzip.compress(b"[0,0]", mtime=0)[:-20]),
    ],
)
def test_the_values_of_a_message_are_counted_before_they_are_read(values, body):
    message = delivery(body)

    assert not is_large(message)
    assert most_values(message) == values
