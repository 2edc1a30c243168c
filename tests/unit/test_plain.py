"""The plain path, against the decoder whose work it does."""

import json
from collections import Counter
from dataclasses import fields
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from jarvis_recorder.wire import codec, plain
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.records import OPEN, Record
from jarvis_recorder.wire.topics import Topic
from tests.support.any_messages import any_message

RECEIVED = 77


def by_value(record: Record) -> str:
    """Return a packed record in a form that tells 1 from 1.0 and True, but not 1e16 from 1e+16."""
    body = {field.name: getattr(record.body, field.name) for field in fields(record.body)}
    if (text := body[OPEN[record.kind]]) is not None:
        body[OPEN[record.kind]] = json.loads(text)
    return repr((record._replace(body=None), body))


def agree(message: Delivery, topic: Topic) -> str:
    """Compare both ways of a message; return the way that it goes."""
    found = plain.decode(message, topic, RECEIVED)
    exact = codec.decode(message, topic, RECEIVED, as_text=True)
    if found is None:
        return "refused" if exact.refusals else "in doubt"
    assert not exact.refusals, (message, exact.refusals)
    assert not exact.near_misses
    assert found.size == exact.size
    assert [*map(by_value, found.records)] == [*map(by_value, exact.records)], message
    return "plain"


def test_the_plain_path_records_what_the_decoder_would():
    ways = Counter()

    @settings(max_examples=10_000, deadline=None)
    @given(st.integers(0, 2**64 - 1))
    def compared(seed):
        ways[agree(*any_message(Random(seed)))] += 1

    compared()
    assert 3 * ways["plain"] >= ways.total()
    assert ways.keys() == {"plain", "in doubt", "refused"}
