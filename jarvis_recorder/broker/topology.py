"""The exchanges and queues that must exist on the broker, as data."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from jarvis_recorder.wire.topics import (
    DEAD_EXCHANGE,
    DEAD_QUEUE,
    EXCHANGE,
    RPC_EXCHANGE,
    RPC_KEY,
    RPC_QUEUE,
    TOPICS,
)

Arguments = Mapping[str, str | int]


class Exchange(NamedTuple):
    """A durable exchange."""

    name: str
    type: str


class Queue(NamedTuple):
    """A durable queue, and the one binding that feeds it."""

    name: str
    exchange: str
    routing_key: str
    arguments: Arguments


EXCHANGES: Final = (
    Exchange(EXCHANGE, "topic"),
    Exchange(RPC_EXCHANGE, "direct"),
    Exchange(DEAD_EXCHANGE, "topic"),
)


def _recording(queue: str) -> Arguments:
    """
    Return the arguments by which a queue loses nothing.

    At-least-once dead-lettering holds only with `reject-publish` and a dead-letter
    exchange; without them RabbitMQ falls back to at-most-once and says nothing.
    """
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": DEAD_EXCHANGE,
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": 50,
    }


QUEUES: Final = (
    *(Queue(topic.queue, EXCHANGE, topic.binding, _recording(topic.queue)) for topic in TOPICS),
    Queue(
        DEAD_QUEUE,
        DEAD_EXCHANGE,
        "#",
        {
            "x-queue-type": "quorum",
            "x-overflow": "reject-publish",
            "x-max-length-bytes": 1024**3,
        },
    ),
    Queue(
        RPC_QUEUE,
        RPC_EXCHANGE,
        RPC_KEY,
        {
            "x-queue-type": "classic",
            "x-message-ttl": 30_000,
            "x-max-length": 10_000,
            "x-overflow": "reject-publish",
        },
    ),
)
