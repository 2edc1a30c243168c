"""The exchanges and queues that are declared are those of docs/protocol.md."""

import pytest

from jarvis_recorder.broker.topology import EXCHANGES, QUEUES

RECORDING = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "jarvis.dead",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-delivery-limit": 50,
}
BY_NAME = {queue.name: queue for queue in QUEUES}


def test_three_exchanges():
    assert set(EXCHANGES) == {
        ("jarvis", "topic"),
        ("jarvis.rpc", "direct"),
        ("jarvis.dead", "topic"),
    }


@pytest.mark.parametrize(
    ("name", "binding"),
    [
        ("jarvis.recorder.events", "cluster.event.#"),
        ("jarvis.recorder.snapshots", "cluster.snapshot.#"),
        ("jarvis.recorder.turns", "chat.turn.#"),
    ],
)
def test_a_recording_queue_loses_nothing_and_dead_letters_under_its_own_name(name, binding):
    queue = BY_NAME[name]

    assert (queue.exchange, queue.routing_key) == ("jarvis", binding)
    assert queue.arguments == RECORDING | {"x-dead-letter-routing-key": name}


def test_dead_letters_are_kept_up_to_a_gibibyte():
    queue = BY_NAME["jarvis.recorder.dead"]

    assert (queue.exchange, queue.routing_key) == ("jarvis.dead", "#")
    assert queue.arguments == {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-max-length-bytes": 2**30,
    }


def test_requests_are_forgotten_after_half_a_minute():
    queue = BY_NAME["jarvis.recorder.rpc"]

    assert (queue.exchange, queue.routing_key) == ("jarvis.rpc", "recorder")
    assert queue.arguments == {
        "x-queue-type": "classic",
        "x-message-ttl": 30_000,
        "x-max-length": 10_000,
        "x-overflow": "reject-publish",
    }


def test_nothing_else_is_declared():
    assert len(BY_NAME) == len(QUEUES) == 5
