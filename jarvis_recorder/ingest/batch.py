"""The records and refusals since the last commit, and the deliveries they came in."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.ports import RefusedRecord
from jarvis_recorder.wire.amqp.delivery import Delivery, Stretch
from jarvis_recorder.wire.codec import Decoded, elements_of
from jarvis_recorder.wire.near_misses import NearMiss
from jarvis_recorder.wire.plain import Plain
from jarvis_recorder.wire.records import EventRow, Record, identity_of
from jarvis_recorder.wire.refusal import Refusal


class Origin(NamedTuple):
    """
    The delivery that a record or a refusal came in, its settlement, and its time in microseconds.

    `first` is the position in the batch of the first of its records.
    """

    settlement: Settlement
    delivery: Delivery
    received_at: int
    first: int = 0


class Source(NamedTuple):
    """
    A stretch whose deliveries became a row each, its settlement, and its time in microseconds.

    `first` is the position in the batch that the first of its deliveries has, or would have.
    """

    settlement: Settlement
    stretch: Stretch
    received_at: int
    first: int


@dataclass(slots=True)
class Batch:
    """
    Decoded deliveries that will be committed and settled together.

    `origins` is parallel to `records`. `last_tags` holds the newest delivery of each consumer:
    deliveries come in order, so all of a consumer up to that tag are in this batch or before it.
    """

    records: list[Record | EventRow] = field(default_factory=list)
    origins: list[Origin | Source] = field(default_factory=list)
    refusals: list[tuple[Origin, Refusal]] = field(default_factory=list)
    last_tags: dict[Settlement, int] = field(default_factory=dict)
    near_misses: list[tuple[Settlement, NearMiss]] = field(default_factory=list)
    size: int = 0
    plain: int = 0
    """The number of records that were decoded on the plain path."""

    def add(self, origin: Origin, decoded: Decoded | Plain) -> None:
        """Add a delivery with the records and refusals decoded from it."""
        settlement, delivery, received_at, _ = origin
        self.last_tags[settlement] = delivery.tag
        self.size += delivery.held_bytes + decoded.size
        origin = Origin(settlement, delivery, received_at, len(self.records))
        self.records += decoded.records
        self.origins += [origin] * len(decoded.records)
        if isinstance(decoded, Plain):
            self.plain += len(decoded.records)
            return
        if decoded.near_misses:
            self.near_misses += ((settlement, near) for near in decoded.near_misses)
        for refusal in decoded.refusals:
            self.refusals.append((origin, refusal))

    def add_rows(self, source: Source, tag: int, size: int) -> None:
        """Count the rows added to `records`, the last of the delivery `tag`, that take `size`."""
        added = len(self.records) - len(self.origins)
        self.last_tags[source.settlement] = tag
        self.size += size
        self.origins += [source] * added
        self.plain += added

    def place(self, position: int) -> tuple[Origin, int | None]:
        """Return the delivery that a record came in, and its index if that was an array."""
        origin, record = self.origins[position], self.records[position]
        if isinstance(origin, Source):
            delivery = origin.stretch.at(position - origin.first)
            return Origin(origin.settlement, delivery, origin.received_at, position), None
        if isinstance(record, Record):
            return origin, record.position
        is_array = origin.delivery.body.startswith(b"[")
        return origin, position - origin.first if is_array else None

    def deliveries(self) -> Iterator[Delivery]:
        """Yield the delivery of each record."""
        return (self.place(position)[0].delivery for position in range(len(self.records)))

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
        found: dict[_Key, tuple[Origin, list[Refusal]]] = {}
        for origin, refusal in self.refusals:
            found.setdefault(_key(origin), (origin, []))[1].append(refusal)
        yield from found.values()

    def refusals_of(self, refused: Iterable[RefusedRecord]) -> list[tuple[Origin, Refusal]]:
        """
        Return the refusals of records that the repository has refused, each with its element.

        Not for the event loop: to take a large message apart may take a second.
        """
        found: dict[_Key, list[RefusedRecord]] = defaultdict(list)
        for record in refused:
            found[_key(self.place(record.position)[0])].append(record)
        return [refusal for records in found.values() for refusal in self._refusals_of(records)]

    def _refusals_of(self, refused: Sequence[RefusedRecord]) -> Iterator[tuple[Origin, Refusal]]:
        """Yield the refusals of records of one delivery."""
        origin, _ = self.place(refused[0].position)
        wanted = [
            (place, identity_of(self.records[record.position]))
            for record in refused
            if (place := self.place(record.position)[1]) is not None
        ]
        # What came in no batch is one record.
        elements = (
            elements_of(origin.delivery, origin.settlement.topic, wanted) if wanted else [None]
        )
        for record, element in zip(refused, elements, strict=True):
            yield origin, Refusal(record.reason, record.error, element)


_Key = tuple[int, int]


def _key(origin: Origin) -> _Key:
    """Return what a delivery is told from all others by."""
    return id(origin.settlement), origin.delivery.tag
