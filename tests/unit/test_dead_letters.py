"""Dead letters, and the messages that they become again."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode as pamqp_decode

from jarvis_recorder.client.dead_letter_replay import Filter
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.dead_letter import (
    fault_of,
    read_dead_letter,
    read_published,
    readable_body,
    reset_delivery_count,
    to_message,
    topic_of,
    validate_replay,
)
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import content_header

EVENTS = TOPICS[0]
GOOD = b'{"type":"alert","source":"monitor","summary":"x"}'
BURIED = {
    "x-recorder-reason": "invalid",
    "x-recorder-error": "source: Field required",
    "x-recorder-queue": EVENTS.queue,
    "x-recorder-exchange": "jarvis",
    "x-recorder-routing-key": "cluster.event.alert.critical",
    "x-recorder-received-at": "2026-11-23T08:00:00.000000Z",
    "x-recorder-sha256": "00",
    "x-recorder-version": "0.1.0",
    "x-recorder-user-id": "monitor",
}


def letter(body=GOOD, queue=EVENTS.queue, **known):
    head = content_header(len(body), **known)
    return Delivery(1, False, b"jarvis.dead", queue.encode(), head, body)


def headers_of(message):
    head = b"\0<\0\0" + len(message.body).to_bytes(8, "big") + message.properties
    return properties.headers(head), properties.others(head)


def test_a_letter_says_why_when_and_where_from():
    found = read_dead_letter(letter(headers=BURIED, message_id="m-1"))

    assert found.reason == "invalid"
    assert found.error == "source: Field required"
    assert found.queue == EVENTS.queue
    assert (found.exchange, found.routing_key) == ("jarvis", "cluster.event.alert.critical")
    assert found.received_at == datetime(2026, 11, 23, 8, tzinfo=UTC)
    assert (found.message_id, found.size_bytes, found.replays) == ("m-1", len(GOOD), 0)


def test_what_the_broker_gave_up_is_read_from_its_own_headers():
    death = {"reason": "delivery_limit", "queue": EVENTS.queue, "routing-keys": ["cluster.event.a"]}
    found = read_dead_letter(
        letter(headers={"x-first-death-reason": "delivery_limit", "x-death": [death]})
    )

    assert found.reason == "delivery_limit"
    assert found.routing_key == "cluster.event.a"


def test_what_is_published_has_the_id_under_which_the_broker_returns_it():
    """A quorum queue returns headers by name, with a count of its own among them."""
    known = {"b": "2", "a": "1", "x-recorder-reason": "invalid"}
    returned = letter(headers=dict(sorted(known.items())) | {"x-delivery-count": 2}, message_id="m")
    origin = letter(b"another body", message_id="m")
    published = content_header(0, headers=known, message_id="m")[12:]

    found = read_published(origin, EVENTS.queue, published, GOOD)

    assert found == read_dead_letter(returned)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        ("not JSON: expected value at line 12 column 301", "not JSON: expected value at line N column N"),
        ("elements 17: node: too long", "elements N: node: too long"),
        ("severity: Field required", "severity: Field required"),
        ("x" * 1_000, "x" * 255),
    ],
)  # fmt: skip
def test_errors_that_differ_in_numbers_are_one_fault(error, fault):
    assert fault_of(error) == fault


def test_an_id_stays_the_same_however_often_it_is_looked_at():
    fresh = read_dead_letter(letter(headers=BURIED, message_id="m-1"))
    returned = read_dead_letter(letter(headers=BURIED | {"x-delivery-count": 7}, message_id="m-1"))
    another = read_dead_letter(letter(headers=BURIED, message_id="m-2"))

    assert fresh.id == returned.id != another.id


def test_one_larger_than_any_recorded_has_its_id_and_size_without_its_body_too():
    """It is not read where it is only looked at, and is where it is replayed."""
    whole = letter(bytes(16 * 1024 * 1024 + 1), message_id="m-1")
    unread = whole._replace(body=b"")
    larger = letter(bytes(16 * 1024 * 1024 + 2), message_id="m-1")

    assert read_dead_letter(unread) == read_dead_letter(whole)
    assert read_dead_letter(unread).size_bytes == 16 * 1024 * 1024 + 1
    assert read_dead_letter(larger).id != read_dead_letter(whole).id
    assert read_dead_letter(letter(b"ab")).id != read_dead_letter(letter(b"ac")).id


def test_a_renewed_letter_has_lost_the_count_of_its_returns_alone():
    looked_at = letter(headers=BURIED | {"x-delivery-count": 12}, message_id="m-1")
    anew = looked_at._replace(header=looked_at.header[:12] + reset_delivery_count(looked_at))

    assert properties.delivery_count(looked_at.header) == 12
    assert properties.delivery_count(anew.header) == 0
    assert read_dead_letter(anew) == read_dead_letter(looked_at)


def test_a_replay_is_the_message_again_with_a_count():
    death = [{"reason": "rejected", "routing-keys": ["cluster.event.x"]}]
    dead = letter(
        headers=BURIED | {"x-death": death, "x-delivery-count": 3, "mine": "kept"},
        message_id="m-1",
        content_type="application/json",
        timestamp=datetime(2026, 11, 23, tzinfo=UTC),
    )
    message = to_message(dead, EVENTS)
    headers, others = headers_of(message)

    assert message.routing_key == "cluster.event.alert.critical"
    assert message.body == GOOD
    assert headers == {"mine": "kept", "x-recorder-user-id": "monitor", "x-recorder-replays": "1"}
    assert others["message_id"] == "m-1"
    assert others["timestamp"] == "1795392000"
    assert validate_replay(dead, EVENTS, message, 0).records[0].message_id == "m-1"


def test_replays_are_counted_on():
    again = to_message(letter(headers=BURIED | {"x-recorder-replays": "4"}), EVENTS)

    assert headers_of(again)[0]["x-recorder-replays"] == "5"


@pytest.mark.parametrize(
    "key", ["recorder.event.resolved", "chat.turn.user", "", "cluster.eventful"]
)
def test_no_letter_chooses_another_way_in_than_its_own(key):
    """Any publisher may have written the headers: an operator's rights must not carry them on."""
    message = to_message(letter(headers=BURIED | {"x-recorder-routing-key": key}), EVENTS)

    assert message.routing_key == "cluster.event.replayed"


def test_a_replay_is_routed_by_its_own_key_alone():
    message = to_message(letter(headers=BURIED | {"CC": ["chat.turn.user"], "BCC": ["x"]}), EVENTS)

    assert {"CC", "BCC"}.isdisjoint(headers_of(message)[0])


def test_a_new_body_is_not_packed():
    packed = letter(b"\x1f\x8b broken", headers=BURIED, content_encoding="gzip")
    message = to_message(packed, EVENTS, GOOD)

    assert "content_encoding" not in headers_of(message)[1]
    assert validate_replay(packed, EVENTS, message, 0).refusals == []
    assert readable_body(packed, 100) == packed.body


def test_a_letter_of_another_queue_has_no_way_in():
    assert topic_of(letter(queue="orders")) is None
    assert topic_of(letter()) is EVENTS


@given(st.binary(max_size=200), st.binary(max_size=60), st.binary(max_size=40))
def test_any_bytes_are_a_letter(header, key, body):
    hostile = Delivery(1, False, b"jarvis.dead", key, b"\0<\0\0" + header, body)

    found = read_dead_letter(hostile)
    to_message(hostile, EVENTS)
    reset_delivery_count(hostile)
    properties.delivery_count(hostile.header)

    assert found.size_bytes == (len(body) or int.from_bytes(hostile.header[4:12], "big"))


def test_filters_combine():
    found = read_dead_letter(letter(headers=BURIED, message_id="m-1"))
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)

    assert Filter(ids=(found.id,), reasons=("invalid", "not_json"), until=noon).fits(found)
    assert not Filter(ids=("other",)).fits(found)
    assert not Filter(reasons=("not_json",)).fits(found)
    assert not Filter(queue="other").fits(found)
    assert not Filter(since=noon).fits(found)
    assert not Filter(until=noon).fits(read_dead_letter(letter()))


def test_pamqp_reads_what_a_replay_sends():
    message = to_message(letter(headers=BURIED, message_id="m-1"), EVENTS)
    taken, table = pamqp_decode.field_table(message.properties[2:])

    assert taken
    assert table["x-recorder-replays"] == "1"
