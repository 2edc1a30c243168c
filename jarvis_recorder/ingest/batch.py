"""The records and refusals since the last commit, and the deliveries they came in."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.codec import Decoded
from jarvis_recorder.wire.liberal import NearMiss
from jarvis_recorder.wire.records import Record
from jarvis_recorder.wire.refusal import Refusal


class Origin(NamedTuple):
    """The delivery that a record or a refusal came in, its lane, and its time in microseconds."""

    lane: Settlement
    delivery: Delivery
    received_at: int


@dataclass(slots=True)
class Batch:
    """
    Decoded deliveries that will be committed and settled together.

    `origins` is parallel to `records`. `last_tags` holds the newest delivery of each lane:
    deliveries come in order, so all of a lane up to that tag are in this batch or before it.
    """

    records: list[Record] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    refusals: list[tuple[Origin, Refusal]] = field(default_factory=list)
    last_tags: dict[Settlement, int] = field(default_factory=dict)
    near_misses: list[tuple[Settlement, NearMiss]] = field(default_factory=list)
    size: int = 0
    plain: int = 0
    """How many of the records were decoded on the plain path."""

    def add(self, origin: Origin, decoded: Decoded) -> None:
        """Add a delivery with the records and refusals decoded from it."""
        lane, delivery, _ = origin
        self.last_tags[lane] = delivery.tag
        self.size += len(delivery.header) + len(delivery.body) + decoded.size
        self.records += decoded.records
        if decoded.is_plain:
            self.plain += len(decoded.records)
        self.origins += [origin] * len(decoded.records)
        if decoded.near_misses:
            self.near_misses += ((lane, near) for near in decoded.near_misses)
        for refusal in decoded.refusals:
            self.refusals.append((origin, refusal))

    @property
    def count(self) -> int:
        """The number of records and refusals."""
        return len(self.records) + len(self.refusals)

    @property
    def oldest(self) -> int | None:
        """The time its first delivery arrived; None if its deliveries held nothing."""
        first = (*self.origins[:1], *(origin for origin, _ in self.refusals[:1]))
        return min((origin.received_at for origin in first), default=None)

    def __bool__(self) -> bool:
        return bool(self.last_tags)

    def refused_deliveries(self) -> Iterator[tuple[Origin, list[Refusal]]]:
        """Yield each delivery that has refusals, with all of them."""
        found: dict[tuple[int, int], tuple[Origin, list[Refusal]]] = {}
        for origin, refusal in self.refusals:
            key = (id(origin.lane), origin.delivery.tag)
            found.setdefault(key, (origin, []))[1].append(refusal)
        yield from found.values()
