"""The one table of topics: the kind, queue, binding and size limit of each."""

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

EXCHANGE: Final = "jarvis"
_EXCHANGE: Final = EXCHANGE.encode()
RPC_EXCHANGE: Final = "jarvis.rpc"
RPC_KEY: Final = "recorder"
DEAD_EXCHANGE: Final = "jarvis.dead"
DEAD_QUEUE: Final = "jarvis.recorder.dead"
RPC_QUEUE: Final = "jarvis.recorder.rpc"

MIB: Final = 1024 * 1024


class Kind(StrEnum):
    """The kinds of recorded messages."""

    EVENT = "event"
    SNAPSHOT = "snapshot"
    TURN = "turn"


class Topic(NamedTuple):
    """One stream of records; `max_bytes` limits a body, compressed and decompressed alike."""

    kind: Kind
    queue: str
    binding: str
    max_bytes: int


TOPICS: Final = (
    Topic(Kind.EVENT, "jarvis.recorder.events", "cluster.event.#", 4 * MIB),
    Topic(Kind.SNAPSHOT, "jarvis.recorder.snapshots", "cluster.snapshot.#", 16 * MIB),
    Topic(Kind.TURN, "jarvis.recorder.turns", "chat.turn.#", 4 * MIB),
)

LARGEST_BYTES: Final = max(topic.max_bytes for topic in TOPICS)
"""The most bytes of any body that is recorded; a larger one is not read at all."""


@lru_cache(maxsize=256)
def is_bound(routing_key: bytes, binding: str) -> bool:
    """Return whether a binding that ends in `.#`, as all of them do, matches a routing key."""
    prefix = _prefix(binding)
    return routing_key.startswith(prefix) or routing_key == prefix[:-1]


@lru_cache(maxsize=64)
def _prefix(binding: str) -> bytes:
    return binding.removesuffix("#").encode()


def is_smuggled(exchange: bytes, routing_key: bytes, bindings: Iterable[str]) -> bool:
    """
    Return whether `jarvis` routed a message to a queue by a key other than its routing key.

    RabbitMQ also routes by the headers CC and BCC, and checks no topic permission for them.
    """
    # Runs for each delivery: a generator would cost more than the checks.
    for binding in bindings:
        if is_bound(routing_key, binding):
            return False
    return exchange == _EXCHANGE
