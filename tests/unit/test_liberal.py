"""Messages of common publishers, recorded as docs/publishers.md says."""

import gzip
import json
import zlib
from base64 import b64encode
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from jarvis_recorder.wire import near_misses, plain
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.codec import Decoded, decode, elements_of, is_large
from jarvis_recorder.wire.records import Record, Snapshot, Turn
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.rpc.jsonrpc import RpcError, read_params
from jarvis_recorder.wire.rpc.methods import BY_NAME
from jarvis_recorder.wire.rpc.params import RecordEvent
from jarvis_recorder.wire.strict_json import are_lines
from jarvis_recorder.wire.times import format_rfc3339
from jarvis_recorder.wire.topics import TOPICS, Topic
from tests.support.publisher import event

RECEIVED = 1_795_420_000_000_000
AT = "2026-11-20T08:00:00Z"
KEYS = ("cluster.event.alert.warning", "cluster.snapshot", "chat.turn.assistant")
PREFIXES = ("cluster.event", "cluster.snapshot", "chat.turn")


def decoded(body: Any, key: str, **properties: Any) -> Decoded:
    return decode(*delivered(body, key, **properties), RECEIVED)


def delivered(body: Any, key: str, **properties: Any) -> tuple[Delivery, Topic]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    header = ContentHeader(0, len(content), Basic.Properties(**properties)).marshal()
    (topic,) = (
        topic for topic, prefix in zip(TOPICS, PREFIXES, strict=True) if key.startswith(prefix)
    )
    return Delivery(1, False, b"jarvis", key.encode(), header, content), topic


def taken(body: Any, key: str = KEYS[0], **properties: Any) -> Record:
    found = decoded(body, key, **properties)
    assert found.refusals == []
    (only,) = found.records
    return only


def refused(body: Any, key: str = KEYS[0], **properties: Any) -> str:
    found = decoded(body, key, **properties)
    assert found.records == []
    (only,) = found.refusals
    assert only.reason is Reason.INVALID
    return only.error


def turn(**changes: Any) -> dict[str, Any]:
    body = {"session_id": "s", "role": "user", "content": "hi", "timestamp": AT} | changes
    return {name: value for name, value in body.items() if value is not ...}


def turn_taken(**changes: Any) -> tuple[Turn, Any]:
    found = taken(turn(**changes), KEYS[2])
    assert isinstance(found.body, Turn)
    return found.body, found.extra


# Encodings and types


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "UTF-8", "utf8", "UTF_8", "us-ascii", "US-ASCII", "ascii", "binary", "8bit",
     "iso-8859-1", "ISO8859-1", "latin-1", "windows-1252", "identity", "gb18030", "shift_jis"],
)  # fmt: skip
def test_a_charset_is_no_packing(encoding):
    assert taken(event(node="pve1"), content_encoding=encoding).body.node == "pve1"
    words = event(summary="zu heiß")
    utf8 = json.dumps(words, ensure_ascii=False).encode()
    assert taken(utf8, content_encoding=encoding).body.summary == "zu heiß"


@pytest.mark.parametrize("encoding", ["iso-8859-1", "Windows-1252", "utf-16", "UTF-16LE", "utf-32"])
def test_a_body_that_is_not_utf8_is_read_as_its_charset_says(encoding):
    text = json.dumps(event(summary="zu heiß"), ensure_ascii=False).encode(encoding)

    assert taken(text, content_encoding=encoding).body.summary == "zu heiß"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("ISO-2022-JP", "サーバ"),
        ("iso-2022-kr", "서버"),
        ("euc-kr", "서버"),
        ("Big5", "過熱"),
        ("koi8-r", "жар"),
    ],
)
def test_a_charset_of_any_language_is_read(encoding, said):
    """Those of ISO 2022 look like ASCII."""
    text = json.dumps(event(summary=said), ensure_ascii=False).encode(encoding)

    assert taken(text, content_encoding=encoding).body.summary == said


@pytest.mark.parametrize(
    "charset",
    ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"],
)
@pytest.mark.parametrize("batched", [False, True])
def test_a_body_of_wide_characters_is_known_by_its_beginning(charset, batched):
    body = event(summary="zu heiß")
    text = json.dumps([body] if batched else body, ensure_ascii=False).encode(charset)

    for properties in ({}, {"content_encoding": "utf-8"}, {"content_type": "text/plain"}):
        assert taken(text, **properties).body.summary == "zu heiß"


@pytest.mark.parametrize("name", ["ISO-8859-1", '"windows-1252"', "iso8859_1"])
def test_a_charset_in_the_content_type_is_heeded_where_the_body_is_not_utf8(name):
    content_type = f"application/json; charset={name}"
    for charset in ("iso-8859-1", "utf-8"):
        text = json.dumps(event(summary="zu heiß"), ensure_ascii=False).encode(charset)
        for body, more in ((text, {}), (gzip.compress(text), {"content_encoding": "gzip"})):
            found = taken(body, content_type=content_type, **more)
            assert found.body.summary == "zu heiß"


@pytest.mark.parametrize("encoding", ["gzip, UTF-8", "gzip:UTF-8", "x-gzip", "GZIP"])
def test_gzip_may_have_a_charset_behind_it_as_spring_writes_it(encoding):
    packed = gzip.compress(json.dumps(event()).encode())

    assert taken(packed, content_encoding=encoding).body.type == "alert"


def test_the_envelope_of_nestjs_is_taken_off():
    body = {"pattern": KEYS[0], "data": event(id="own"), "id": "of-the-request"}

    found = taken(json.dumps(body).encode())

    assert found.message_id == "own"
    assert found.body.type == event()["type"]
    without = {"pattern": {"cmd": "record"}, "data": event(), "id": "of-the-request"}
    assert taken(json.dumps(without).encode()).message_id is None
    other = {"pattern": "x", "data": event(), "more": 1}
    assert decoded(json.dumps(other).encode(), KEYS[0]).refusals


def test_deflate_is_zlib():
    packed = zlib.compress(json.dumps(event()).encode())

    assert taken(packed, content_encoding="deflate").body.type == "alert"
    for bad in (packed[:-1], b"\0" + packed, b"x", b"{}"):
        (only,) = decoded(bad, KEYS[0], content_encoding="deflate").refusals
        assert only.reason is Reason.UNDECODABLE


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
@pytest.mark.parametrize("level", [0, 1, 6, 9])
@pytest.mark.parametrize(
    "properties",
    [{}, {"content_encoding": "utf-8", "headers": {"compression": "application/x-gzip"}}],
)
def test_a_compressed_body_is_known_by_its_beginning(pack, level, properties):
    """As kombu sends it with `compression=`, which says so in a header of its own."""
    found = taken(pack(json.dumps(event()).encode(), level), **properties)

    assert found.body.type == "alert"


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_small_body_that_becomes_large_is_not_decoded_on_the_event_loop(pack):
    def of(body):
        return Delivery(1, False, b"jarvis", KEYS[0].encode(), b"", body)

    assert is_large(of(pack(b" " * 5_000)))
    assert not is_large(of(pack(b" " * 4_000)))


@pytest.mark.parametrize("encoding", ["br", "zstd", "base64", "gzip, gzip", "rot13"])
def test_what_is_neither_is_refused(encoding):
    (only,) = decoded(event(), KEYS[0], content_encoding=encoding).refusals

    assert only.reason is Reason.UNSUPPORTED_ENCODING


@pytest.mark.parametrize("batched", [False, True])
def test_a_byte_order_mark_is_skipped(batched):
    body = json.dumps([event()] if batched else event())

    assert taken(b"\xef\xbb\xbf" + body.encode()).body.type == "alert"


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "Text/Plain; charset=us-ascii", "application/octet-stream", "text/json",
     "application/data",
     "application/vnd.acme.event+json", "application/problem+JSON", "application/x-json", ";", "json",
     "binary/octet-stream", "application/x-ndjson", "application/jsonl"],
)  # fmt: skip
def test_a_type_that_claims_no_more_may_be_json(content_type):
    assert taken(event(), content_type=content_type).body.type == "alert"
    assert len(decoded([event(), event()], KEYS[0], content_type=content_type).records) == 2
    (only,) = decoded(b"cpu,host=pve1 usage=0.9", KEYS[0], content_type=content_type).refusals
    assert only.reason is Reason.NOT_JSON


LINES = b'{"n":1,%b\n \n{"n":2,%b\r\n{"n":3,%b'


@pytest.mark.parametrize("content_type", [None, "application/json", "application/x-ndjson"])
def test_objects_on_lines_of_their_own_are_a_batch(content_type):
    one = json.dumps(event(id="own")).encode()[1:]
    other = json.dumps(event()).encode()[1:]
    properties = {"message_id": "m"} | ({"content_type": content_type} if content_type else {})
    body = LINES % (one, b'"type":"alert"}', other)

    found = decoded(body, KEYS[0], **properties)

    assert [record.message_id for record in found.records] == ["own", "m/2"]
    (only,) = found.refusals
    assert only.error == "element 1: source: Field required"
    assert only.element.body == b'{"n":2,"type":"alert"}'
    header = ContentHeader(0, len(body), Basic.Properties(message_id="m")).marshal()
    message = Delivery(1, False, b"jarvis", KEYS[0].encode(), header, body)
    (again,) = elements_of(message, TOPICS[0], [(found.records[1].position, "m/2")])
    assert again.body == b'{"n":3,' + other


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1}\nno',
        b'{"a":\n{"b":1}',
        b'{"a":1} {"b":2}',
        b'{"a":1}' + b"\n" * 100_000,
        b"{}\n[]",
        b"",
        b"\n",
        b"{}",
    ],
)
def test_other_texts_are_no_lines(text):
    assert are_lines(text) is False


def test_lines_are_as_many_as_the_elements_of_a_batch():
    (only,) = decoded(b"{}\n" * 10_001, KEYS[0]).refusals

    assert only.reason is Reason.TOO_LARGE


# Times


@pytest.mark.parametrize(
    ("number", "time"),
    [
        (1_769_414_437, "2026-01-26T08:00:37.000000Z"),
        (1_769_414_437_123, "2026-01-26T08:00:37.123000Z"),
        (1_769_414_437_123_456, "2026-01-26T08:00:37.123456Z"),
        (0, format_rfc3339(RECEIVED)),
        (2**64 - 1, format_rfc3339(RECEIVED)),
    ],
)
def test_the_property_is_of_any_unit_and_never_refuses(number, time):
    def stamped(body):
        content = json.dumps(body).encode()
        header = ContentHeader(0, len(content), Basic.Properties()).marshal()
        header = header[:12] + (1 << 6).to_bytes(2, "big") + number.to_bytes(8, "big")
        message = Delivery(1, False, b"jarvis", KEYS[0].encode(), header, content)
        (only,) = decode(message, TOPICS[0], RECEIVED).records
        return only

    silent = stamped(event(timestamp=None))

    assert (format_rfc3339(silent.timestamp), silent.stamped) == (time, True)
    assert stamped(event(timestamp=AT)) == taken(event(timestamp=AT))


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2026-01-26T08:00:37+0000", "2026-01-26T08:00:37.000000Z"),
        ("2026-01-26T08:00:37+00", "2026-01-26T08:00:37.000000Z"),
        ("2026-01-26T09:00+01", "2026-01-26T08:00:00.000000Z"),
        ("2026-01-26T08:00:37,5Z", "2026-01-26T08:00:37.500000Z"),
        (1_769_414_437, "2026-01-26T08:00:37.000000Z"),
        (1_769_414_437.25, "2026-01-26T08:00:37.250000Z"),
        (1_769_414_437_123, "2026-01-26T08:00:37.123000Z"),
        (1_769_414_437_123_456_789, "2026-01-26T08:00:37.123456Z"),
        ("1769414437123", "2026-01-26T08:00:37.123000Z"),
    ],
)
@pytest.mark.parametrize("key", KEYS)
def test_a_time_in_another_spelling_is_its_own(written, time, key):
    bodies = (event(timestamp=written), {"snapshot": {}, "timestamp": written},
              turn(timestamp=written))  # fmt: skip
    found = taken(bodies[KEYS.index(key)], key)

    assert (format_rfc3339(found.timestamp), found.stamped) == (time, False)
    assert found.extra == {"timestamp": written}


def test_twenty_four_is_the_end_of_the_day():
    found = taken(event(timestamp="2026-01-26T24:00:00Z"))

    assert format_rfc3339(found.timestamp) == "2026-01-27T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ("2026-01-26T08:00:37", "without an offset"),
        ("2026-01-26T08:00:37+1", "the offset"),
        ("2026-13-26T08:00:37+0000", "its month"),
        ("2026-02-30T08:00+00", "its day"),
        ("2026-01-26T25:00:00Z", "its hour"),
        ("yesterday", "RFC 3339"),
        (20_260_126, "as a number"),
        (3.5, "as a number"),
        (True, "a text"),
        ([], "a text"),
    ],
)
def test_a_time_that_names_no_instant_is_refused_with_its_part(written, part):
    error = refused(event(timestamp=written))

    assert error.startswith("timestamp: ")
    assert part in error


# CloudEvents


ATTRIBUTES = {"specversion": "1.0", "id": "e-1", "source": "/monitor", "type": "alert.raised"}


def in_headers(prefix: str = "ce-", **attributes: Any) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in (ATTRIBUTES | attributes).items()}


@pytest.mark.parametrize(
    "time",
    [datetime(2026, 1, 26, 8, 0, 37, tzinfo=UTC), "2026-01-26T08:00:37Z", 1_769_414_437,
     "2026-01-26T08:00:37+0000", bytearray(b"2026-01-26T08:00:37Z")],
)  # fmt: skip
def test_the_time_of_a_binary_cloud_event_has_any_type(time):
    found = taken(event(timestamp=None), headers=in_headers(time=time))

    assert (format_rfc3339(found.timestamp), found.stamped) == (
        "2026-01-26T08:00:37.000000Z",
        False,
    )
    assert found.message_id == "/monitor#e-1"


def test_attributes_of_any_type_are_kept():
    attributes = {
        "id": 42, "partition": 7, "sampled": True, "weight": 0.5, "traceparent": bytearray(b"00-ab"),
        "digest": bytearray(b"\xff\x00"), "since": datetime(2026, 1, 26, 8, 0, 37, tzinfo=UTC),
    }  # fmt: skip

    found = taken(event(), headers=in_headers(**attributes))

    assert found.message_id == "/monitor#42"
    assert found.extra["cloudevent"] == {
        "id": "42", "source": "/monitor", "type": "alert.raised", "partition": 7, "sampled": True,
        "weight": 0.5, "traceparent": "00-ab", "digest": "/wA=",
        "since": "2026-01-26T08:00:37.000000Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    "prefix", ["ce-", "CE-", "Ce-", "ce_", "ce:", "cloudEvents:", "cloudevents_", "CloudEvents-"]
)
def test_the_prefix_has_any_capitals(prefix):
    headers = {name.upper() if prefix == "CE-" else name: value
               for name, value in in_headers(prefix).items()}  # fmt: skip

    assert taken(event(), headers=headers).message_id == "/monitor#e-1"


def test_headers_that_only_look_alike_make_no_cloud_event():
    headers = {"ce-environment": "lab", "cell": "x", "ce-id": "1", "Certificate": True}
    found = taken(event(timestamp=AT), headers=headers)

    assert found == taken(event(timestamp=AT))


def test_a_cloud_event_says_which_attribute_is_bad():
    assert "time: a time must name a real day" in refused(
        event(), headers=in_headers(time="2026-02-30T00:00:00Z")
    )
    assert "attribute id " in refused(event(), headers=in_headers(id=""))
    assert "specversion" in refused(event(), headers=in_headers(specversion="0.3"))


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain"])
@pytest.mark.parametrize(
    "data",
    [
        {"data": event(timestamp=None)},
        {"data_base64": b64encode(json.dumps(event(timestamp=None)).encode()).decode()},
        {"data": json.dumps(event(timestamp=None)), "datacontenttype": "text/plain"},
    ],
)
def test_a_structured_cloud_event_is_known_by_its_specversion(content_type, data):
    properties = {} if content_type is None else {"content_type": content_type}
    body = ATTRIBUTES | {"time": AT, "subject": "pve1"} | data

    for wrapped in (body, [body]):
        found = taken(wrapped, **properties)
        assert found.message_id == "/monitor#e-1"
        assert format_rfc3339(found.timestamp) == "2026-11-20T08:00:00.000000Z"
        assert found.extra["cloudevent"]["subject"] == "pve1"


def test_a_cloud_event_whose_attributes_are_a_body_is_one_all_the_same():
    body = event(summary="outer") | {"specversion": "1.0", "id": "1", "time": AT}
    inner = event(timestamp=None, summary="inner")

    for wrapped in (body | {"data": inner}, [body | {"data": inner}]):
        found = taken(wrapped)
        assert found.message_id == "monitor#1"
        assert (format_rfc3339(found.timestamp), found.stamped) == (
            "2026-11-20T08:00:00.000000Z",
            False,
        )
        assert found.body.summary == "inner"


@pytest.mark.parametrize(
    "others", [{"data": {"vmid": 100}}, {"data": None}, {"specversion": "7", "data": event()}]
)
def test_a_body_that_only_resembles_a_cloud_event_stays_a_body(others):
    body = event(id="own", specversion="1.0") | others

    found = taken(body)

    assert found.message_id == "own"
    assert found.extra["data"] == others["data"]
    assert "cloudevent" not in found.extra


def test_a_bad_cloud_event_among_good_ones_keeps_its_identity():
    bad = ATTRIBUTES | {"id": "bad", "data": {"type": "alert"}}
    good = ATTRIBUTES | {"id": "good", "data": event()}

    found = decoded([bad, good], KEYS[0], message_id="m")

    assert [record.message_id for record in found.records] == ["/monitor#good"]
    (only,) = found.refusals
    assert only.element.message_id is None
    assert only.element.content_type == "application/cloudevents+json"


# Words


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("notice", "info"), ("unknown", "warning"), ("Notice", "info"), ("WARNING", "warning"),
        ("emerg", "critical"), ("alert", "critical"), ("crit", "critical"), ("err", "error"),
        ("warn", "warning"), ("debug", "info"), ("none", "info"), ("page", "critical"),
        ("SEVERE", "error"), ("major", "error"), ("minor", "warning"), ("cleared", "info"),
        ("Not classified", "info"), ("Disaster", "critical"), ("high", "error"), ("low", "info"),
        ("Informational", "info"), ("panic", "critical"), ("FATAL", "critical"),
        ("DOWN", "critical"), ("UNKN", "warning"), ("FINE", "info"), ("Moderate", "warning"),
        ("Important", "error"), ("DEFAULT", "info"),
        (0, "critical"), (1, "critical"), (2, "critical"), (3, "error"), (4, "warning"),
        (5, "info"), (6, "info"), (7, "info"), ("3", "error"),
    ],
)  # fmt: skip
def test_the_words_of_others_are_severities(word, severity):
    found = taken(event(severity=word))

    assert found.body.severity == severity
    assert found.extra == {"severity": word}


@pytest.mark.parametrize("word", ["purple", " ", 8, -1, True, 4.5, ["warning"]])
def test_a_word_of_no_one_s_is_refused(word):
    assert refused(event() | {"severity": word}).startswith("severity: ")


def test_what_is_right_is_not_repeated_in_extra():
    assert taken(event()).extra is None
    assert taken(event(severity="error")).body.severity == "error"


def test_null_is_as_absent():
    body = event() | {"severity": None, "node": None, "details": None, "id": None}

    found = taken(body, "cluster.event.alert.error")

    assert (found.body.severity, found.body.node, found.extra) == ("error", None, None)


# The routing key, where the body is silent


@pytest.mark.parametrize(
    ("key", "kind", "severity"),
    [
        ("cluster.event.alert.critical", "alert", "critical"),
        ("cluster.event.alert.crit", "alert", "critical"),
        ("cluster.event.status.notice", "status", "info"),
        ("cluster.event.Metric.WARN.pve1", "metric", "warning"),
        ("cluster.event.metric", "metric", "info"),
        ("cluster.event.status.purple", "status", "info"),
    ],
)
def test_the_key_speaks_for_a_silent_body(key, kind, severity):
    found = taken(event(type=None, severity=None), key)

    assert (found.body.type, found.body.severity) == (kind, severity)
    assert found.extra is None


def test_the_body_is_the_truth_where_it_speaks():
    found = taken(event(type="action", severity="info"), "cluster.event.alert.critical")

    assert (found.body.type, found.body.severity) == ("action", "info")


def test_a_key_that_says_nothing_fills_nothing():
    for key in ("cluster.event", "cluster.event.purple.critical", "cluster.event..critical"):
        assert refused(event(type=None), key) == "type: Field required"
    assert taken(event(severity=None), "cluster.event.replayed").body.severity == "info"


@pytest.mark.parametrize(
    ("key", "body", "cluster"),
    [
        ("cluster.snapshot.lab", {"snapshot": {}}, "lab"),
        ("cluster.snapshot.eu.lab", {"snapshot": {}}, "eu.lab"),
        ("cluster.snapshot.lab", {"snapshot": {}, "cluster": None}, "lab"),
        ("cluster.snapshot.lab", {"snapshot": {}, "cluster": "home"}, "home"),
        ("cluster.snapshot.lab", {"snapshot": {}, "cluster": ""}, "lab"),
        ("cluster.snapshot", {"snapshot": {}}, ""),
        ("cluster.snapshot.a\0b", {"snapshot": {}}, ""),
    ],
)
def test_a_snapshot_is_of_the_cluster_that_its_key_names(key, body, cluster):
    found = taken(body, key).body

    assert isinstance(found, Snapshot)
    assert found.cluster == cluster


@pytest.mark.parametrize(
    ("key", "role"),
    [("chat.turn.user", "user"), ("chat.turn.AI", "assistant"), ("chat.turn.function", "tool")],
)
def test_a_turn_is_of_the_role_that_its_key_names(key, role):
    assert taken(turn(role=...), key).body.role == role


def test_every_element_of_a_batch_is_spoken_for():
    found = decoded([event(0, severity=None), event(1)], "cluster.event.alert.critical")

    assert [record.body.severity for record in found.records] == ["critical", "warning"]


# Turns


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALL = {"type": "tool_use", "id": "t1", "name": "list_nodes", "input": {}}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "what is this?"}, PICTURE], "what is this?"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        (["a", "b"], "a\nb"),
        ([{"type": "input_text", "text": "a"}], "a"),
        ([{"type": "output_text", "text": "a", "annotations": []}], "a"),
        ([{"text": "a"}, {"inline_data": {"data": "AAAA"}}], "a"),
        ([{"type": "thinking", "thinking": "hm", "signature": "x"},
          {"type": "text", "text": "a"}], "a"),
        ([{"type": "tool_result", "tool_use_id": "t1",
           "content": [{"type": "text", "text": "up"}, PICTURE]}], "up"),
        ([{"type": "tool_result", "tool_use_id": "t1", "content": "up"}], "up"),
        ([{"type": "text", "text": {"value": "a", "annotations": []}}], "a"),
        ([{"type": "refusal", "refusal": "no"}], "no"),
        ({"type": "text", "text": "a"}, "a"),
        ({"content_type": "text", "parts": ["a", "b"]}, "a\nb"),
        ([PICTURE], ""),
        ([None, "a"], "a"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_texts_of_a_content_in_parts_are_its_content(content, text):
    body, extra = turn_taken(content=content)

    assert body.content == text
    assert extra == {"content": content}


def test_calls_within_a_content_are_tool_calls():
    body, _ = turn_taken(role="assistant", content=[{"type": "text", "text": "let me see"}, CALL])

    assert (body.content, body.tool_calls) == ("let me see", [CALL])


def test_google_s_parts_are_a_content():
    parts = [{"text": "a"}, {"functionCall": {"name": "f", "args": {}}}]
    body, extra = turn_taken(role="model", content=..., parts=parts)

    assert (body.role, body.content, body.tool_calls) == ("assistant", "a", [parts[1]])
    assert extra == {"role": "model", "parts": parts}


@pytest.mark.parametrize("content", [None, ...])
@pytest.mark.parametrize(
    "beside",
    [
        {"tool_calls": [{"id": "c1"}]},
        {"toolCalls": [{"id": "c1"}]},
        {"function_call": {"name": "f"}},
    ],
)
def test_a_content_of_nothing_stands_next_to_tool_calls(content, beside):
    body, _ = turn_taken(role="assistant", content=content, **beside)

    assert body.content == ""
    assert body.tool_calls == (None if "function_call" in beside else [{"id": "c1"}])


@pytest.mark.parametrize("changes", [
    {"content": None}, {"content": ...}, {"content": None, "tool_calls": []}, {"content": 7},
    {"content": [7]}, {"content": [[True]]}, {"content": {}}, {"content": [{}]},
])  # fmt: skip
def test_a_content_that_is_none_is_refused(changes):
    assert refused(turn(**changes), KEYS[2]).startswith("content: ")


@pytest.mark.parametrize(
    ("word", "role"),
    [("developer", "system"), ("function", "tool"), ("model", "assistant"), ("human", "user"),
     ("ai", "assistant"), ("AI", "assistant"), ("Human", "user"), ("ASSISTANT", "assistant"),
     ("User", "user"), ("CHATBOT", "assistant")],
)  # fmt: skip
def test_roles_have_other_names(word, role):
    body, extra = turn_taken(role=word)

    assert body.role == role
    assert extra == {"role": word}
    assert refused(turn(role="nobody"), KEYS[2]).startswith("role: ")


@pytest.mark.parametrize(
    "names",
    [("sessionId", "tokensUsed", "inputTokens", "outputTokens", "costUsd", "toolCalls"),
     ("SessionID", "TokensUsed", "InputTokens", "OutputTokens", "CostUSD", "ToolCalls"),
     ("session-id", "tokens-used", "input-tokens", "output-tokens", "cost-usd", "tool-calls")],
)  # fmt: skip
def test_fields_are_known_in_camel_case(names):
    values = ("s-2", 120, 100, 20, "0.0012", [{"id": 1}])
    body = turn(session_id=..., **dict(zip(names, values, strict=True)))

    found = taken(body, KEYS[2])

    turn_ = found.body
    assert isinstance(turn_, Turn)
    assert (turn_.session_id, turn_.tokens_used, turn_.input_tokens, turn_.output_tokens) == (
        "s-2", 120, 100, 20,
    )  # fmt: skip
    assert (turn_.cost_usd, turn_.tool_calls) == (Decimal("0.0012"), [{"id": 1}])
    assert found.extra == dict(zip(names, values, strict=True))
    assert decoded(body, KEYS[2]).near_misses == ()


def test_a_cost_in_camel_case_is_exact_too():
    text = json.dumps(turn()).encode()[:-1] + b', "costUsd": 0.1000000000000000000001}'

    for body in (text, b"[" + text + b"]"):
        assert taken(body, KEYS[2]).body.cost_usd == Decimal("0.1000000000000000000001")


@pytest.mark.parametrize("name", ["cost_usd", "costUsd"])
@pytest.mark.parametrize(
    "envelope",
    [
        b'{"pattern": "chat.turn", "data": %b}',
        b'{"messageType": ["urn:message:Turn"], "message": %b}',
        b'{"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": %b}',
        (
            b'{"specversion": "1.0", "id": "1", "source": "/a", "type": "t",'
            b' "data": {"messageType": [], "message": %b}}'
        ),
    ],
)
def test_a_cost_in_an_envelope_is_exact_too(envelope, name):
    cost = b"0.1000000000000000000001"
    body = envelope % (json.dumps(turn()).encode()[:-1] + b', "%b": %b}' % (name.encode(), cost))

    for text in (body, b"[" + body + b"]"):
        assert taken(text, KEYS[2]).body.cost_usd == Decimal(cost.decode())


@pytest.mark.parametrize("name", ["cost_usd", "costUsd"])
@pytest.mark.parametrize("around", [b"%b", b'{"data": %b, "specversion": "1.0", %b}'])
@pytest.mark.parametrize(
    "envelope",
    [
        b'{"pattern": "chat.turn", "data": %b}',
        b'{"messageType": ["urn:message:Turn"], "message": %b}',
    ],
)
def test_an_envelope_is_kept_with_the_cost_that_was_sent(envelope, around, name):
    """As a number, under its own name, and under no other."""
    cost = b"0.1000000000000000000001"
    sent = envelope % (json.dumps(turn()).encode()[:-1] + b', "%b": %b}' % (name.encode(), cost))
    attributes = b'"id": "1", "source": "/a", "type": "t"'
    body = around % ((sent, attributes) if b"data" in around else (sent,))

    for text in (body, b"[" + body + b"]"):
        (found,) = decode(*delivered(text, KEYS[2]), RECEIVED, as_text=True).records
        kept = json.loads(found.extra)
        kept.pop("cloudevent", None)
        assert found.body.cost_usd == Decimal(cost.decode())
        assert kept == json.loads(sent)


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize(
    "zero",
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00.000Z",
     "0001-01-01T00:00:00", "0001-01-01T00:00:00.0000000", "0001-01-01T00:00:00+01:00",
     "0001-01-01T00:00:00-05:00", "0001-01-01 00:00:00", "0001-01-01 00:00:00 +0000 UTC",
     "/Date(-62135596800000)/", {"$date": "0001-01-01T00:00:00Z"},
     {"$date": {"$numberLong": "-62135596800000"}}],
)  # fmt: skip
def test_a_time_that_was_never_set_is_none(kind, zero):
    """As Go and .NET write one; with its second known, too."""
    key = KEYS[kind]
    whole = (event(), {"cluster": "c", "snapshot": {}}, turn())[kind]
    at = 1_795_000_000
    near = delivered(whole | {"timestamp": "0001-01-01T00:00:00.001Z"}, key)
    plain.decode(*near, RECEIVED)

    for body in (whole | {"timestamp": zero}, [whole | {"timestamp": zero}]):
        found = taken(body, key)
        assert (found.timestamp, found.stamped) == (RECEIVED, True)
        assert found.extra == {"timestamp": zero}
        of_property = taken(body, key, timestamp=datetime.fromtimestamp(at, UTC))
        assert of_property.timestamp == at * 1_000_000
        assert plain.decode(*delivered(body, key), RECEIVED) is None


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("unset", ["00000000-0000-0000-0000-000000000000", 0, ""])
def test_an_identity_that_was_never_set_is_none(kind, unset):
    """As .NET and Go write one: all messages of such a publisher would be one."""
    key = KEYS[kind]
    whole = (event(), {"cluster": "c", "snapshot": {}}, turn())[kind] | {"id": unset}

    assert taken(whole, key).message_id is None
    assert taken(whole, key, message_id="m").message_id == "m"
    assert [
        one.message_id
        for one in decoded(json.dumps([whole, whole]).encode(), key, message_id="m").records
    ] == ["m/0", "m/1"]
    assert plain.decode(*delivered(whole, key), RECEIVED) is None
    assert taken(whole | {"id": "0"}, key).message_id == "0"


@pytest.mark.parametrize("zero", ["00000000-0000-0000-0000-000000000000", 0, ""])
def test_an_identity_that_was_never_set_hides_none_of_the_envelope(zero):
    envelope = {"messageId": "m1", "messageType": ["x"], "message": event(id=zero)}

    assert taken(envelope).message_id == "m1"


@pytest.mark.parametrize(
    "more",
    [{"timestamp": 1_769_846_400_000}, {"id": 7}, {"Timestamp": "2026-11-20T08:00:00Z"}, {}],
)
def test_a_snapshot_of_an_empty_cluster_is_of_the_one_in_the_routing_key(more):
    body = {"snapshot": {"a": 1}, "cluster": ""} | more

    assert taken(body, "cluster.snapshot.alpha").body.cluster == "alpha"
    assert taken(body, "cluster.snapshot").body.cluster == ""


@pytest.mark.parametrize(
    "name", ["conversation_id", "conversationId", "ConversationId", "conversation-id",
             "thread_id", "ThreadId", "THREAD_ID"],
)  # fmt: skip
def test_a_session_is_named_in_any_capitals(name):
    body = {"role": "user", "content": "hi", name: "c1"}

    assert taken(body, KEYS[2]).body.session_id == "c1"
    assert taken(body | {"session_id": ""}, KEYS[2]).body.session_id == "c1"
    assert taken(body | {"session_id": "own"}, KEYS[2]).body.session_id == "own"


def test_a_conversation_comes_before_a_thread():
    body = {"role": "user", "content": "hi", "ThreadId": "t", "ConversationId": "c"}

    assert taken(body, KEYS[2]).body.session_id == "c"


def test_of_texts_that_were_never_set_key_and_properties_speak():
    """Go writes an empty text for a field that was never set."""
    at = datetime(2026, 11, 20, tzinfo=UTC)
    empty = event() | {"type": "", "severity": "", "timestamp": ""}
    found = taken(empty, "cluster.event.alert.warning", timestamp=at)

    assert (found.body.type, found.body.severity) == ("alert", "warning")
    assert found.timestamp == 1_795_132_800_000_000
    assert taken(event() | {"severity": ""}, "cluster.event").body.severity == "info"
    said = taken(turn() | {"role": ""}, "chat.turn.assistant")
    assert said.body.role == "assistant"


def test_fields_behind_many_labels_are_found_too():
    """Collectors put the labels of Kubernetes in front of a record's own fields."""
    labels = {f"label{number:03}_kubernetes_io_name": "x" for number in range(300)}
    fields = {"type": "alert", "source": "monitor", "summary": "x", "Severity": "critical"}

    assert taken(labels | fields, "cluster.event.alert.warning").body.severity == "critical"
    said = {"SessionId": "s", "Role": "user", "Content": "hi"}
    assert taken(labels | said, KEYS[2]).body.session_id == "s"


@pytest.mark.parametrize(
    "zero",
    ["", "0001-01-01T00:00:00Z", "0001-01-01 00:00:00 +0000 UTC", "/Date(-62135596800000)/"],
)
def test_the_time_of_a_cloudevent_that_was_never_set_is_none(zero):
    body = event(timestamp=None)

    for found in (
        taken(ATTRIBUTES | {"time": zero, "data": body}),
        taken(body, headers=in_headers(time=zero)),
    ):
        assert (found.timestamp, found.stamped) == (RECEIVED, True)
        assert found.extra["cloudevent"]["time"] == zero


@pytest.mark.parametrize(
    ("reported", "counts"),
    [
        ({"usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}},
         (120, 100, 20)),
        ({"usage": {"input_tokens": 100, "output_tokens": 20}}, (120, 100, 20)),
        ({"usage": {"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 7}},
         (120, 100, 20)),
        ({"usage": {"promptTokens": 100, "completionTokens": 20, "totalTokens": 120}},
         (120, 100, 20)),
        ({"prompt_eval_count": 100, "eval_count": 20, "eval_duration": 5}, (120, 100, 20)),
        ({"usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20,
                            "totalTokenCount": 130}}, (130, 100, 20)),
        ({"usage_metadata": {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}},
         (120, 100, 20)),
        ({"prompt_tokens": 100, "completion_tokens": 20}, (120, 100, 20)),
        ({"usage": {"total_tokens": 120}}, (120, None, None)),
        ({"usage": {"prompt_tokens": "100", "completion_tokens": 20.0}}, (120, 100, 20)),
        ({"usage": {"prompt_tokens": 100}, "tokens_used": 5}, (5, 100, None)),
    ],
)  # fmt: skip
def test_tokens_are_counted_as_the_makers_of_models_report_them(reported, counts):
    body, extra = turn_taken(role="assistant", **reported)

    assert (body.tokens_used, body.input_tokens, body.output_tokens) == counts
    assert extra == {name: value for name, value in reported.items() if name != "tokens_used"}


def test_answers_of_models_are_turns_once_they_have_a_session():
    ollama = {"session_id": "s", "model": "llama3.2", "created_at": "2026-01-26T08:00:37.5Z",
              "message": {"role": "assistant", "content": "up"}, "done": True,
              "prompt_eval_count": 26, "eval_count": 290}  # fmt: skip
    openai = {"session_id": "s", "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o",
              "choices": [{"index": 0, "message": {"role": "assistant", "content": None,
                                                   "tool_calls": [{"id": "c"}]}}],
              "usage": {"prompt_tokens": 26, "completion_tokens": 290}}  # fmt: skip
    anthropic = {"session_id": "s", "id": "msg_1", "type": "message", "role": "assistant",
                 "model": "claude", "content": [{"type": "text", "text": "up"}],
                 "usage": {"input_tokens": 26, "output_tokens": 290}}  # fmt: skip

    for answer, content in ((ollama, "up"), (openai, ""), (anthropic, "up")):
        found = taken(answer, KEYS[2]).body
        assert isinstance(found, Turn)
        assert (found.role, found.content) == ("assistant", content)
        assert (found.input_tokens, found.output_tokens) == (26, 290)


@pytest.mark.parametrize(("written", "count"), [("12", 12), (12.0, 12)])
def test_a_number_may_be_a_text(written, count):
    body, extra = turn_taken(tokens_used=written)

    assert body.tokens_used == count
    assert extra == {"tokens_used": written}


def test_an_identity_may_be_a_number():
    found = taken(turn(session_id=42, id=7), KEYS[2])

    assert (found.body.session_id, found.message_id) == ("42", "7")
    assert found.extra == {"session_id": 42, "id": 7}


@pytest.mark.parametrize(
    "cost", ["-0.0", "0e-40", "0E+99", '"0e-40"', '"-0.0"', '"-0"', "-0", "0", "0e-400"]
)
def test_nothing_costs_nothing(cost):
    text = json.dumps(turn()).encode()[:-1] + b', "cost_usd": %b}' % cost.encode()

    found = taken(text, KEYS[2]).body.cost_usd

    assert found == 0
    assert format(found, "f") in ("0", "0.0")


# Events in other names


def test_names_have_other_capitals():
    body = {"Type": "Alert", "Severity": "Error", "Source": "Monitor", "Summary": "hot",
            "Node": "pve1", "Details": {"t": 99}, "Timestamp": AT}  # fmt: skip

    found = taken(body)

    plain = {"type": "alert", "severity": "error", "source": "monitor", "summary": "hot",
             "node": "pve1", "details": {"t": 99}, "timestamp": AT}  # fmt: skip
    assert found._replace(extra=None) == taken(plain)
    assert found.extra == body


def test_the_field_itself_comes_first():
    found = taken(event(node="pve1", Node="other", NODE=7))

    assert found.body.node == "pve1"
    assert found.extra == {"Node": "other", "NODE": 7}


def test_an_id_in_capitals_is_not_taken_for_the_identity():
    """It is as likely that of a device, and would make one of all its events."""
    assert taken(event(ID=7)).message_id is None


@pytest.mark.parametrize(
    "other",
    [{"tokensUsed": "many"}, {"costUsd": -1.5}, {"costUsd": 1e-300}, {"costUsd": "cheap"},
     {"usage": "much"}, {"usage": {"prompt_tokens": -1}}],
)  # fmt: skip
def test_another_name_with_a_bad_value_refuses_nothing(other):
    found = taken(turn(**other), KEYS[2])

    assert isinstance(found.body, Turn)
    assert (found.body.tokens_used, found.body.cost_usd) == (None, None)
    assert found.extra == other
    assert len(decoded(turn(**other), KEYS[2]).near_misses) == 1


@pytest.mark.parametrize(
    ("key", "name", "field"),
    [
        (KEYS[2], "token_used", "tokens_used"), (KEYS[2], "tokens_usd", "tokens_used"),
        (KEYS[2], "cost", "cost_usd"), (KEYS[2], "costs_usd", "cost_usd"),
        (KEYS[2], "usage", "tokens_used"), (KEYS[2], "tokens", "tokens_used"),
        (KEYS[2], "modelName", "model"), (KEYS[2], "tokensUsed", "tokens_used"),
        (KEYS[0], "hostname", "node"), (KEYS[0], "detials", "details"),
        (KEYS[0], "severty", "severity"), (KEYS[0], "level", "severity"),
        (KEYS[0], "created_at", "timestamp"), (KEYS[0], "timestmp", "timestamp"),
        (KEYS[1], "clusters", "cluster"),
    ],
)  # fmt: skip
def test_a_near_miss_of_a_field_is_reported(key, name, field):
    bodies = (
        event(node=None, details=None, severity=None, timestamp=None),
        {"snapshot": {}},
        turn(),
    )
    body = bodies[KEYS.index(key)] | {name: "x"}

    found = decoded(body, "cluster.event.alert" if key == KEYS[0] else key)

    assert found.near_misses == ((field, name, 1),)
    assert found.records[0].extra == {name: "x"}


def test_near_misses_of_a_batch_are_counted_by_field():
    batch = [turn(cost=1, tokens=2), turn(price=3), turn(cost=1, cost_usd=1)]

    assert sorted(decoded(batch, KEYS[2]).near_misses) == [
        ("cost_usd", "cost", 2), ("tokens_used", "tokens", 1),
    ]  # fmt: skip


def test_of_many_names_and_long_ones_none_is_remembered():
    """A publisher cannot grow the memory of names without bound."""
    many = {f"cost{number}": number for number in range(20_000)}

    assert len(decoded(turn() | many, KEYS[2]).records[0].extra) == 20_000
    assert decoded(turn() | {"cost" + "-" * 10_000: 1}, KEYS[2]).near_misses == ()
    assert decoded(turn() | {f"x{'y' * 40}": 1, "cost": 1}, KEYS[2]).near_misses != ()


def test_a_field_that_is_filled_is_missed_by_no_name():
    body = event(hostname="pve1", level=4, vm_id=7, weight=1, created_at=AT)

    assert decoded(body, KEYS[0]).near_misses == ()


@pytest.mark.parametrize(
    ("changes", "severity", "extra"),
    [
        ({}, "info", None),
        ({"severity": None}, "info", None),
        ({"severity": "notice"}, "info", {"severity": "notice"}),
        ({"Severity": "page", "extra": {"a": 1}}, "critical", {"a": 1, "Severity": "page"}),
        ({"timestamp": 1_769_414_437, "vm": 1}, "info", {"timestamp": 1_769_414_437, "vm": 1}),
    ],
)
def test_an_event_that_is_asked_for_is_read_as_liberally(changes, severity, extra):
    params = {"type": "alert", "source": "monitor", "summary": "hot", "message_id": "m"} | changes

    question = read_params(BY_NAME["events.record"], params)

    assert isinstance(question, RecordEvent)
    assert (question.severity, question.extra, question.message_id) == (severity, extra, "m")
    with pytest.raises(RpcError, match="Input should be"):
        read_params(BY_NAME["events.record"], params | {"severity": "purple"})


@pytest.mark.parametrize("wrong", [False, 0, "", [], "a"])
@pytest.mark.parametrize("severity", ["info", "notice"])
def test_more_fields_that_are_no_object_are_refused_however_the_rest_is_spelled(wrong, severity):
    params = {"type": "alert", "source": "monitor", "summary": "hot", "severity": severity}

    with pytest.raises(RpcError, match="valid dictionary"):
        read_params(BY_NAME["events.record"], params | {"extra": wrong})


def test_a_batch_of_other_words_can_be_taken_apart_again():
    bodies = [event(0, severity="notice", id="own"), event(1, severity="page")]
    content = json.dumps(bodies).encode()
    header = ContentHeader(0, len(content), Basic.Properties(message_id="m")).marshal()
    message = Delivery(1, False, b"jarvis", KEYS[0].encode(), header, content)

    for position, kept in enumerate(decode(message, TOPICS[0], RECEIVED).records):
        (element,) = elements_of(message, TOPICS[0], [(kept.position, kept.message_id)])
        assert json.loads(element.body) == bodies[position]
        again = taken(element.body, message_id=element.message_id)
        assert again == kept._replace(position=None)


def test_names_in_another_order_are_judged_once():
    """Each set of names is another one, and there are more of them than are remembered."""
    names = [f"name-{number}" for number in range(16)]
    bodies = [event(**dict.fromkeys(names[at:] + names[:at], 1)) for at in range(16)]
    before = near_misses._classify_name.cache_info().misses

    decoded(json.dumps(bodies * 40).encode(), KEYS[0])

    assert near_misses._classify_name.cache_info().misses - before == len(names)
