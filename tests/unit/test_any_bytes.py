"""For any bytes at all, decoding returns a record or a refusal, never another exception."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.codec import Decoded, decode
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.strict_json import dump
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import content_header
from tests.support.publisher import event

pytestmark = pytest.mark.long

CONTENT_TYPES = (
    None,
    "application/json",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "text/plain",
)
NAMES = [*event(), "id", "data", "specversion", "cost_usd", "snapshot", "session_id", "role",
         "content", "parts", "usage", "message", "choices", "tool_calls", "sessionId", "costUsd",
         "Severity", "cost"]  # fmt: skip
WORDS = ["alert", "info", "2026-11-23T05:00:00Z", "1.0", "user", "notice", "developer", "7",
         "2026-11-23T05:00+00", "text", 1_769_414_437, 0.5]  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=6,
    ),
    max_leaves=15,
)  # fmt: skip


def sound(decoded: Decoded) -> None:
    assert decoded.records or decoded.refusals
    assert all(refused.reason is not Reason.INTERNAL for refused in decoded.refusals)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=20))
def test_any_header_any_body_any_routing_key(header, body, routing_key):
    for topic in TOPICS:
        sound(decode(Delivery(1, False, b"", routing_key, header, body), topic, 0))


@settings(max_examples=300)
@given(anything, st.sampled_from(CONTENT_TYPES), st.sampled_from(TOPICS))
def test_any_json(document: Any, content_type, topic):
    body = json.dumps(document).encode()
    header = content_header(content_type=content_type) if content_type else content_header()
    sound(decode(Delivery(1, False, b"", b"", header, body), topic, 0))


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(NAMES), anything, max_size=6), st.booleans())
def test_a_turn_with_anything_in_it(changes: Any, batched):
    whole = {"session_id": "s", "role": "user", "content": "c"} | changes
    body = json.dumps([whole, whole] if batched else whole).encode()
    message = Delivery(1, False, b"jarvis", b"chat.turn.user", content_header(), body)

    decoded = decode(message, TOPICS[2], 0, as_text=True)

    sound(decoded)
    for record in decoded.records:
        kept = json.loads(record.extra or b"{}")
        for name, value in whole.items():
            field = getattr(record.body, name, ...)
            field = json.loads(field) if isinstance(field, bytes) else field
            # An empty field is what null means; the time is an integer there.
            assert (
                value is None
                or name in kept
                or field == value
                or (name == "cost_usd" and float(field) == float(value))
                or (name == "timestamp" and isinstance(field, int))
                or (name == "data" and "cloudevent" in kept)
            ), name


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 1_000), st.binary(max_size=4)), max_size=5),
    st.sampled_from(TOPICS),
    st.booleans(),
)
def test_a_good_message_with_any_damage(damage, topic, batched):
    body = bytearray(json.dumps([event(id="x")] if batched else event(id="x")).encode())
    for position, piece in damage:
        at = position % len(body)
        body[at : at + 1] = piece or b" "
    sound(decode(Delivery(1, False, b"", b"", content_header(), bytes(body)), topic, 0))


secrets = st.sampled_from(["hunter2", "hunter2\0", "hunter2" * 2_000, "hunter2\ud800", 2**70, -1])
holders = st.recursive(
    secrets,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b c", "data"]), inner, min_size=1, max_size=3)
    ),
    max_leaves=4,
)
FIELDS = [*event(), "id", "session_id", "role", "content", "cost_usd", "tokens_used", "snapshot",
          "cluster", "data", "data_base64", "specversion", "time"]  # fmt: skip


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(FIELDS), holders, max_size=3),
    st.sampled_from(CONTENT_TYPES),
    st.sampled_from(TOPICS),
    st.booleans(),
    st.integers(0, 60),
)
def test_no_error_repeats_a_value(secret, content_type, topic, batched, cut):
    """A reader of the dead letters' reasons need not be allowed to read the messages."""
    whole = {
        "specversion": "1.0", "id": "1", "source": "monitor", "data": event(), "session_id": "s",
        "role": "user", "content": "c", "snapshot": {},
    } | event() | secret  # fmt: skip
    body = json.dumps([whole, 1] if batched else whole).encode()
    header = content_header(content_type=content_type) if content_type else content_header()

    decoded = decode(Delivery(1, False, b"", b"", header, body[: len(body) - cut // 2]), topic, 0)

    for refused in decoded.refusals:
        assert "hunter" not in refused.error
        assert str(2**70)[:10] not in refused.error


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(["a", "b"]) | st.text(max_size=4), anything, max_size=4))
def test_what_is_recorded_is_what_was_sent(details):
    body = json.dumps(event() | {"details": details}).encode()

    decoded = decode(Delivery(1, False, b"", b"", content_header(), body), TOPICS[0], 0)

    sound(decoded)
    for record in decoded.records:
        assert json.loads(dump(record.body.details)) == details
