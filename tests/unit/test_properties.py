"""Properties, decoded where nothing can break but the message."""

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import commands, header

from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.refusal import Reason, Refused
from tests.support.amqp_bytes import content_header

FULL = {
    "content_type": "application/json",
    "content_encoding": "gzip",
    "headers": {
        "text": "a", "number": 7, "list": [1, "b", {"c": 2}], "table": {"d": {"e": True}},
        "nothing": None, "when": datetime(2026, 1, 1, tzinfo=UTC), "bytes": bytearray(b"\xff"),
        "float": 1.5,
    },
    "delivery_mode": 2,
    "priority": 3,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m",
    "timestamp": datetime(2026, 1, 26, 8, 0, 37, tzinfo=UTC),
    "message_type": "t",
    "user_id": "monitor",
    "app_id": "a",
}  # fmt: skip


def decoded_by_pamqp(raw: bytes) -> commands.Basic.Properties:
    parsed = header.ContentHeader()
    parsed.unmarshal(struct.pack(">HHQ", 60, 0, 0) + raw)
    return parsed.properties


def test_what_the_recorder_reads():
    found = properties.decode(content_header(**FULL))

    assert found == properties.Properties(
        "application/json", "gzip", "m", 1_769_414_437_000_000, {"text": "a"}
    )


@pytest.mark.parametrize(
    ("number", "micros"),
    [
        (1_769_414_437, 1_769_414_437_000_000),
        (1_769_414_437_123, 1_769_414_437_123_000),
        (1_769_414_437_123_456, 1_769_414_437_123_456),
        (1_769_414_437_123_456_789, 1_769_414_437_123_456),
        (0, None),
        (42, None),
        (2**64 - 1, None),
    ],
)
def test_a_timestamp_is_of_any_unit_or_none_and_never_refused(number, micros):
    found = properties.decode(raw(1 << 6, struct.pack(">Q", number)))

    assert found.timestamp == micros


def test_headers_of_cloud_events_are_read_in_every_type():
    """The types of a table are RabbitMQ's; the values are those of the JSON format."""
    values = {
        b"time": (b"T" + struct.pack(">Q", 1_769_414_437), "2026-01-26T08:00:37.000000Z"),
        b"early": (b"T" + struct.pack(">Q", 7), "1970-01-01T00:00:07.000000Z"),
        b"late": (b"T" + b"\xff" * 8, 2**64 - 1),
        b"true": (b"t\x01", True),
        b"byte": (b"b\xff", -1),
        b"ubyte": (b"B\xff", 255),
        b"short": (b"s\xff\xfe", -2),
        b"ushort": (b"u\xff\xfe", 65_534),
        b"int": (b"I\xff\xff\xff\xfd", -3),
        b"uint": (b"i\xff\xff\xff\xfd", 2**32 - 3),
        b"long": (b"l" + struct.pack(">q", -4), -4),
        b"float": (b"f" + struct.pack(">f", 1.5), 1.5),
        b"double": (b"d" + struct.pack(">d", 1.25), 1.25),
        b"nan": (b"d" + struct.pack(">d", float("nan")), "nan"),
        b"decimal": (b"D\x02" + struct.pack(">i", 314), "3.14"),
        b"text": (b"S" + table("ü".encode()), "ü"),
        b"bytes": (b"x" + table(b"abc"), "abc"),
        b"binary": (b"x" + table(b"\xff\x00"), "/wA="),
        b"list": (b"A" + table(b"t\x00" + b"V"), [False, None]),
        b"table": (b"F" + table(b"\x01k" + b"b\x07"), {"k": 7}),
    }
    entries = b"".join(
        bytes([len(name) + 3]) + b"ce-" + name + value for name, (value, _) in values.items()
    )

    found = properties.decode(raw(1 << 13, table(entries)))

    assert found.headers == {f"ce-{name.decode()}": json for name, (_, json) in values.items()}


def test_absent_and_empty_are_alike():
    assert properties.decode(content_header()) == (None, None, None, None, {})
    empty = properties.decode(content_header(message_id="", headers={}))
    assert empty == (None, None, None, None, {})


def test_a_dead_letter_keeps_every_property_but_two():
    letter = properties.with_headers(content_header(**FULL), {"x-recorder-reason": b"invalid"})

    found = decoded_by_pamqp(letter)
    original = decoded_by_pamqp(content_header(**FULL)[12:])
    for name in ("content_type", "content_encoding", "delivery_mode", "priority", "message_id",
                 "correlation_id", "reply_to", "timestamp", "message_type", "app_id"):  # fmt: skip
        assert getattr(found, name) == getattr(original, name)
    assert found.user_id in (None, "")
    assert found.expiration in (None, "")
    assert found.headers == original.headers | {
        "x-recorder-reason": "invalid",
        "x-recorder-user-id": "monitor",
        "x-recorder-expiration": "60000",
    }


short = st.text(max_size=60)
instants = st.integers(10**8, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20)
    | st.binary(max_size=20).map(bytearray) | st.floats(allow_nan=False, width=32)
    | st.decimals(-1_000, 1_000, places=2)
    | instants,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
property_sets = st.fixed_dictionaries(
    {},
    optional={
        "headers": st.dictionaries(short, values, max_size=4),
        "delivery_mode": st.integers(1, 2),
        "priority": st.integers(0, 9),
        "timestamp": instants,
    } | dict.fromkeys(
        ("content_type", "content_encoding", "correlation_id", "reply_to", "expiration",
         "message_id", "message_type", "user_id", "app_id"), short
    ),
)  # fmt: skip


@given(property_sets, st.dictionaries(st.from_regex(r"\Ax-[a-z]{1,9}\Z"), short, max_size=3))
def test_a_header_with_more_in_it_is_otherwise_the_same(given_, added):
    header_ = content_header(**given_)
    letter = properties.with_headers(header_, {key: text.encode() for key, text in added.items()})

    original, found = decoded_by_pamqp(header_[12:]), decoded_by_pamqp(letter)

    moved = {
        f"x-recorder-{name.replace('_', '-')}": getattr(original, name)
        for name in ("user_id", "expiration")
        if getattr(original, name) is not None
    }
    assert found.headers == (original.headers or {}) | added | moved
    for name in commands.Basic.Properties.attributes():
        if name not in ("headers", "user_id", "expiration"):
            assert getattr(found, name) == getattr(original, name)
    read = properties.decode(header_)
    assert (read.message_id or "") == given_.get("message_id", "")
    assert (read.content_type or "") == given_.get("content_type", "")
    if "timestamp" in given_:
        assert read.timestamp == int(given_["timestamp"].timestamp()) * 1_000_000


def test_headers_of_an_earlier_dead_letter_are_replaced():
    header_ = content_header(headers={"x-recorder-reason": "old", "kept": "yes"})

    letter = decoded_by_pamqp(properties.with_headers(header_, {"x-recorder-reason": b"new"}))

    assert letter.headers == {"kept": "yes", "x-recorder-reason": "new"}


def test_properties_can_be_given_and_taken():
    letter = properties.with_headers(
        content_header(message_id="old", content_encoding="gzip"),
        {},
        {"message_id": "new", "content_encoding": None, "content_type": "application/json"},
    )

    found = decoded_by_pamqp(letter)
    assert (found.message_id, found.content_type) == ("new", "application/json")
    assert found.content_encoding in (None, "")


def raw(flags: int, fields: bytes) -> bytes:
    return struct.pack(">HHQH", 60, 0, 0, flags) + fields


def table(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


@pytest.mark.parametrize(
    ("header_", "error"),
    [
        (b"", "cut short"),
        (raw(1 << 15, b""), "cut short"),
        (raw(1 << 15, b"\x05ab"), "do not fill"),
        (raw(0, b"more"), "do not fill"),
        (raw(1, b""), "do not fill"),
        (raw(1 << 7, b"\x01\xff"), "message_id is not UTF-8"),
        (raw(1 << 13, table(b"\x01a")), "cut short"),
        (raw(1 << 13, table(b"\x01aS\0\0")), "cut short"),
        (raw(1 << 13, table(b"\x01aI\0")), "cut short"),
        (raw(1 << 13, table(b"\x01a?")), "unknown type"),
        (raw(1 << 13, table(b"\x01\xffV")), "header key is not UTF-8"),
        (raw(1 << 13, table(b"\x01aA" + table(b"F" + table(b"\x01\xffV")))), "not UTF-8"),
    ],
)
def test_what_cannot_be_decoded_says_what(header_, error):
    with pytest.raises(Refused, match=error) as refused:
        properties.decode(header_)
    assert refused.value.reason is Reason.UNDECODABLE


@pytest.mark.parametrize(("levels", "fine"), [(98, True), (101, False), (5_000, False)])
def test_headers_nest_a_hundred_levels_deep(levels, fine):
    inner = table(b"")
    for _ in range(levels):
        inner = table(b"\x01aF" + inner)
    header_ = raw(1 << 13, inner)

    if fine:
        properties.decode(header_)
    else:
        with pytest.raises(Refused, match="deeper than 100"):
            properties.decode(header_)


@given(st.binary(max_size=200))
@example(raw(1 << 13, table(b"\x00A" + table(b"A"))))
def test_any_bytes_are_properties_or_refused(header_):
    for read in (properties.decode, lambda given: properties.with_headers(given, {"x": b"y"})):
        try:
            read(header_)
        except Refused as refused:
            assert refused.reason is Reason.UNDECODABLE  # noqa: PT017 - either is fine


def test_a_request_is_read_as_it_was_written():
    raw = properties.encode_request(
        reply_to="amq.rabbitmq.reply-to",
        correlation_id="17",
        expiration_ms=4_200,
        app_id="dashboard",
        user_id="guest",
        timestamp=1_795_420_000,
    )

    request = properties.decode_request(b"\0\x3c\0\0" + bytes(8) + raw)

    assert request == properties.RequestProperties(
        reply_to="amq.rabbitmq.reply-to",
        correlation_id=b"\x0217",
        expiration_ms=4_200,
        user_id="guest",
        timestamp=1_795_420_000,
    )


COUNT = b"\x10x-delivery-count"


@pytest.mark.parametrize(
    ("table", "count"),
    [
        (b"", 0),
        (COUNT + b"l" + (7).to_bytes(8, "big"), 7),
        (COUNT + b"I" + (7).to_bytes(4, "big"), 7),
        (COUNT + b"s\0\x0a", 10),
        (COUNT + b"b\x0a" + b"\0V" * 40_000, 10),
        (b"\0V" * 40_000 + COUNT + b"b\x0a", 10),
        (b"\1aS\0\0\0\x14" + COUNT + b"b\0" + COUNT + b"b\2", 2),
        (COUNT + b"b\2" + b"\1zS\0\0\0\x14" + COUNT + b"b\0\0", 2),
        (COUNT + b"S\0\0\0\0", 0),
        (COUNT + b"l\0", 0),
    ],
)
def test_the_count_of_deliveries_is_found_wherever_it_stands(table, count):
    head = content_header()[:12] + struct.pack(">HI", 1 << 13, len(table)) + table

    assert properties.apparent_delivery_count(head) == count


@given(st.integers(0, 2**62))
def test_the_count_of_deliveries_is_read_as_a_client_writes_it(count):
    head = content_header(headers={"a": "b", "x-delivery-count": count, "x-first-death": "c"})

    assert properties.apparent_delivery_count(head) == properties.delivery_count(head)
