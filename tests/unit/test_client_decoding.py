"""The records and notifications that a subscriber gets."""

import json

import pytest

from jarvis_recorder.client.decoding import (
    EventRecorded,
    EventReopened,
    EventResolved,
    IncidentChanged,
    PreferenceChanged,
    PreferenceDeleted,
    RecordReader,
    read_notification,
)
from jarvis_recorder.wire.notifications import NOTICES, PREFERENCE_CHANGED
from jarvis_recorder.wire.refusal import Refused
from tests.support.amqp_bytes import delivery
from tests.support.publisher import event


def heard(body, routing_key=b"cluster.event.alert.error", **filters):
    reader = RecordReader(**{"severity": None, "node": None} | filters, now=lambda: 0)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return list(reader(delivery(raw)._replace(routing_key=routing_key)))


@pytest.mark.parametrize(
    ("severity", "passes"), [("info", True), ("warning", True), ("error", False)]
)
def test_a_severity_lets_through_what_is_at_least_as_severe(severity, passes):
    assert bool(heard(event(1, severity="warning"), severity=severity)) is passes


def test_a_node_keeps_back_what_is_of_another_or_of_none():
    assert heard(event(1, node="pve1"), node="pve1")
    assert not heard(event(1, node="pve2"), node="pve1")
    turn = {"session_id": "s", "role": "user", "content": "hi"}
    assert heard(turn, b"chat.turn.user")
    assert not heard(turn, b"chat.turn.user", node="pve1")


def test_what_cannot_be_read_says_so():
    with pytest.raises(Refused):
        heard(b"junk")
    with pytest.raises(ValueError, match="no records"):
        heard(event(1), b"cluster.eventual")


def test_notifications_are_read_as_what_they_are():
    for announced, kind in zip(
        NOTICES,
        (EventRecorded, EventResolved, EventReopened, *[IncidentChanged] * 4, PreferenceChanged),
        strict=True,
    ):
        body = json.dumps(announced.example).encode()
        key = announced.routing_key.encode()
        (read,) = read_notification(delivery(body)._replace(routing_key=key))
        assert isinstance(read, kind)
    gone = b'{"preference":{"key":"theme","deleted":true}}'
    (deleted,) = read_notification(delivery(gone)._replace(routing_key=PREFERENCE_CHANGED.encode()))
    assert deleted == PreferenceDeleted("theme")
    assert list(read_notification(delivery(b"{}")._replace(routing_key=b"recorder.new"))) == []
