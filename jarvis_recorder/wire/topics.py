"""The one table of what is recorded: which binding feeds which queue and what it may hold."""

from enum import StrEnum
from typing import Final, NamedTuple

EXCHANGE: Final = "jarvis"
RPC_EXCHANGE: Final = "jarvis.rpc"
RPC_KEY: Final = "recorder"
DEAD_EXCHANGE: Final = "jarvis.dead"
DEAD_QUEUE: Final = "jarvis.recorder.dead"
RPC_QUEUE: Final = "jarvis.recorder.rpc"

MIB: Final = 1024 * 1024


class Kind(StrEnum):
    """What a recorded message is about."""

    EVENT = "event"
    SNAPSHOT = "snapshot"
    TURN = "turn"


class Topic(NamedTuple):
    """One stream of records; `max_bytes` bounds a body, packed and unpacked alike."""

    kind: Kind
    queue: str
    binding: str
    max_bytes: int


TOPICS: Final = (
    Topic(Kind.EVENT, "jarvis.recorder.events", "cluster.event.#", 4 * MIB),
    Topic(Kind.SNAPSHOT, "jarvis.recorder.snapshots", "cluster.snapshot.#", 16 * MIB),
    Topic(Kind.TURN, "jarvis.recorder.turns", "chat.turn.#", 4 * MIB),
)
