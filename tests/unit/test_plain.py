"""The plain path, against the decoder whose work it does."""

import json
from collections import Counter
from dataclasses import fields
from datetime import UTC, datetime
from random import Random
from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, Field

from jarvis_recorder.storage.tables import events
from jarvis_recorder.wire import codec, plain
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.records import (
    BODY_CLASSES,
    EVENT_COLUMNS,
    OPEN,
    EventRow,
    Record,
    event_row,
)
from jarvis_recorder.wire.topics import TOPICS, Kind, Topic
from tests.support.amqp_bytes import delivery, stretch
from tests.support.any_messages import any_message
from tests.support.publisher import event

EVENTS = TOPICS[0]
RECEIVED = 77
DETAILS = EVENT_COLUMNS.index("details")


def by_value(record: Record | EventRow) -> str:
    """Return a record in a form that tells 1 from 1.0 and True, but not 1e16 from 1e+16."""
    if isinstance(record, Record) and record.kind is Kind.EVENT:
        record = event_row(record)
    if not isinstance(record, Record):
        details = None if record[DETAILS] is None else json.loads(record[DETAILS])
        return repr((*record[:DETAILS], details, *record[DETAILS + 1 :]))
    body = {field.name: getattr(record.body, field.name) for field in fields(record.body)}
    if (text := body[OPEN[record.kind]]) is not None:
        body[OPEN[record.kind]] = json.loads(text)
    return repr((record._replace(body=None), body))


def agree(message: Delivery, topic: Topic) -> str:
    """Compare both ways of a message; return the way that it goes."""
    exact = codec.decode(message, topic, RECEIVED, as_text=True)
    found = plain.decode(message, topic, RECEIVED)
    if topic is EVENTS and message.body:
        compare_rows(message, found)
    if found is None:
        return "refused" if exact.refusals else "in doubt"
    assert not exact.refusals, (message, exact.refusals)
    assert not exact.near_misses
    assert found.size == exact.size
    assert [*map(by_value, found.records)] == [*map(by_value, exact.records)], message
    return "plain"


def compare_rows(message: Delivery, found: plain.Plain | None) -> None:
    """
    Compare what a message becomes by itself with what it becomes in a stretch.

    Its header is learnt by the first, if at all, its layout by the second; the third is like that.
    """
    came = stretch([message] * 3)
    assert [*came] == [message] * 3
    rows: list[Record | EventRow] = []
    taken, size = plain.add_rows(rows, came, 0, EVENTS, RECEIVED)
    is_array = message.body.startswith(b"[")
    if found is None or is_array or codec.smuggled(message, EVENTS):
        assert (rows, taken, size) == ([], 0, 0)
    else:
        assert (rows, taken, size) == (found.records * 3, 3, found.size * 3)


@pytest.mark.long
def test_the_plain_path_records_what_the_decoder_would():
    ways = Counter()

    @settings(max_examples=10_000)
    @given(st.integers(0, 2**64 - 1))
    def compared(seed):
        ways[agree(*any_message(Random(seed)))] += 1

    compared()
    assert 3 * ways["plain"] >= ways.total()
    assert ways.keys() == {"plain", "in doubt", "refused"}


def message(number: int, **properties: str) -> Delivery:
    body = json.dumps(event(number) | {"details": {"n": number}}).encode()
    return delivery(body, number, content_type="application/json", **properties)


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("depth", [200, 15_000])
def test_what_is_nested_too_deep_is_left_to_the_decoder_wherever_it_stands(topic, depth):
    """msgspec gives up on it by a RecursionError in a field that it only skips."""
    nested = b"[" * depth + b"]" * depth
    for field in fields(BODY_CLASSES[topic.kind]):
        body = b'{"%b":%b}' % (field.name.encode(), nested)

        assert agree(delivery(body), topic) == "refused"


def test_a_stretch_is_taken_up_to_the_first_delivery_in_doubt():
    doubtful = delivery(b'{"type":"alert","type":"alert","source":"user","summary":"x"}', 3)
    came = stretch([message(1, message_id="a"), message(2, message_id="b"), doubtful, message(4)])
    rows = []

    assert plain.add_rows(rows, came, 0, EVENTS, RECEIVED)[0] == 2
    assert plain.add_rows(rows, came, 2, EVENTS, RECEIVED)[0] == 2
    assert plain.add_rows(rows, came, 3, EVENTS, RECEIVED)[0] == 4
    assert [row[0] for row in rows] == ["a", "b", None]
    assert (came.at(2), came.tag(3)) == (doubtful, 4)


def any_delivery(number: int, chance: Random) -> Delivery:
    """Return one of the deliveries of some publishers that have much in common."""
    key = chance.choice([b"cluster.event.alert.error", b"cluster.event.alert.other", b"other"])
    properties = {
        "message_id": chance.choice(["", "a", "b\0", "ü", f"{number:04}", f"{number:08}"]),
        "timestamp": chance.choice([None, datetime.fromtimestamp(10**9 + number, UTC)]),
        "app_id": chance.choice([None, "x", "y"]),
    }
    body = b'{"type":"alert","source":"user","summary":"%d"}' % number
    made = delivery(body, number, **properties)
    return made._replace(routing_key=key, redelivered=chance.random() < 0.2)


def test_deliveries_in_a_row_are_read_each_as_it_would_be_alone():
    """Nearly all are compared with the one before and cut; what differs must not go unseen."""
    chance = Random(15)
    for _ in range(200):
        kinds = [any_delivery(number, chance) for number in range(3)]
        sent = [
            chance.choice(kinds)._replace(tag=tag) if chance.random() < 0.9 else
            any_delivery(tag, chance)
            for tag in range(1, 40)
        ]  # fmt: skip
        came = stretch(sent)
        assert [*came] == sent
        for at, one in enumerate(sent):
            rows: list[Record | EventRow] = []
            taken, _ = plain.add_rows(rows, came, at, EVENTS, RECEIVED)
            if codec.smuggled(one, EVENTS) or plain.decode(one, EVENTS, RECEIVED) is None:
                assert taken == at
            alone = [plain.decode(each, EVENTS, RECEIVED) for each in sent[at:taken]]
            assert rows == [found.records[0] for found in alone if found is not None]


def test_a_header_is_cut_only_where_it_is_like_one_that_was_decoded():
    identities = [
        plain.decode(message(1, message_id=identity, app_id=app), EVENTS, RECEIVED).records[0][0]
        for identity, app in [("aa", "x"), ("bb", "x"), ("cc", "y"), ("d", "yz"), ("", "x")]
    ]

    assert identities == ["aa", "bb", "cc", "d", None]


def test_a_row_has_the_columns_of_its_table():
    columns = {column.name for column in events.columns}

    assert columns - {*EVENT_COLUMNS} == {
        "id", "recorded_at", "resolved", "resolved_at", "resolved_by"
    }  # fmt: skip


@pytest.mark.parametrize(
    "rule",
    [Annotated[str, AfterValidator(str.strip)], Annotated[str, Field(pattern="x")], bytes],
)
def test_a_rule_that_is_not_translated_is_an_error(rule):
    """Else the plain path would take what the decoder refuses."""
    with pytest.raises(TypeError, match="no plain path"):
        plain._struct_type(rule)


SLOW = [b"1.7976931348623158079e308", b"5E-324", b"17976931348623158079" + b"0" * 289 + b".0"]


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("number", SLOW)
def test_numbers_that_msgspec_reads_slowly_are_left_to_the_decoder(topic, number):
    """Each took 15 µs in a call that holds Python's lock: for a message of 4 MB two seconds."""
    many = with_numbers(topic, number, 10_000)

    assert plain.decode(many, topic, RECEIVED) is None
    assert not codec.decode(many, topic, RECEIVED).refusals
    assert plain.decode(with_numbers(topic, number, 500), topic, RECEIVED) is not None


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("usual", [b"0.012345678901234567", b'"7e5a0e8e-9e"', b"1234567.5"])
def test_many_usual_numbers_and_texts_are_plain(topic, usual):
    assert plain.decode(with_numbers(topic, usual, 10_000), topic, RECEIVED) is not None


def with_numbers(topic: Topic, number: bytes, count: int) -> Delivery:
    """Return a message that holds a value so often where it may hold any."""
    required = {
        Kind.EVENT: {"type": "alert", "source": "user", "summary": "x"},
        Kind.SNAPSHOT: {"cluster": "c"},
        Kind.TURN: {"session_id": "s", "role": "user", "content": "x"},
    }[topic.kind]
    body = json.dumps(required).encode()[:-1]
    values = b",".join([number] * count)
    return delivery(b'%b,"%b":{"a":[%b]}}' % (body, OPEN[topic.kind].encode(), values))
