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


class Topology(NamedTuple):
    """Exchanges and queues that one part of the recorder needs."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]


_RECORDED: Final = Exchange(EXCHANGE, "topic")


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


def _requests(queue_type: str) -> Queue:
    arguments: Arguments = {
        "x-queue-type": queue_type,
        "x-message-ttl": 30_000,
        "x-max-length": 10_000,
        "x-overflow": "reject-publish",
    }
    return Queue(RPC_QUEUE, RPC_EXCHANGE, RPC_KEY, arguments)


RECORDING: Final = Topology(
    (_RECORDED, Exchange(DEAD_EXCHANGE, "topic")),
    (
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
    ),
)

REQUESTS: Final = _requests("classic")
"""The queue of requests on a single node: nothing is copied, and a request takes least."""

REQUESTS_IN_A_CLUSTER: Final = _requests("quorum")
"""The queue of requests that outlives the node it was declared on."""


def answering(*, in_a_cluster: bool) -> Topology:
    """Return the exchanges and the queue that replies and notifications need."""
    queue = REQUESTS_IN_A_CLUSTER if in_a_cluster else REQUESTS
    return Topology((_RECORDED, Exchange(RPC_EXCHANGE, "direct")), (queue,))


def whole(*, in_a_cluster: bool = False) -> Topology:
    """Return all exchanges and queues."""
    asked = answering(in_a_cluster=in_a_cluster)
    return Topology(
        tuple(dict.fromkeys(asked.exchanges + RECORDING.exchanges)),
        RECORDING.queues + asked.queues,
    )


EXCHANGES, QUEUES = whole()
"""All exchanges and queues, as they are on a single node."""
