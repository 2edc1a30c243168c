"""The buffer for deliveries that arrive while the batch before them is being committed."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from jarvis_recorder.ingest.batch import Batch, Origin, Source
from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.ports import Clock, Flow, Sink
from jarvis_recorder.runtime.process import in_turn
from jarvis_recorder.telemetry.status import RecorderStatus
from jarvis_recorder.wire import plain
from jarvis_recorder.wire.amqp.delivery import Deliveries, Stretch
from jarvis_recorder.wire.amqp.properties import is_without_body
from jarvis_recorder.wire.codec import Decoded, decode, is_large, most_values, smuggled
from jarvis_recorder.wire.plain import Plain
from jarvis_recorder.wire.refusal import Reason, Refusal
from jarvis_recorder.wire.topics import Kind, Topic

# A batch is closed at this many records or bytes, so that acks flow back while more is decoded:
# were the whole prefetch window in one transaction, broker and recorder would wait in turn.
# Two batches may be under way while a third one fills.
MAX_BATCH_RECORDS: Final = 3_000
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
# The prefetch of all queues, so that in an outage the messages need not go back at once.
MAX_HELD_RECORDS: Final = 24_000
MAX_HELD_BYTES: Final = 24 * 1024 * 1024
# The bytes that may be held while a large delivery, which may briefly take a hundred megabytes,
# is decoded; and the bytes of those that are decoded at once, and about how long that takes.
_HELD_BESIDE_LARGE: Final = 6 * 1024 * 1024
_DECODED_AT_ONCE: Final = 1024 * 1024
_DECODING_SECONDS: Final = 0.1
# The values that are read in one turn of the event loop where a message is not plain. A bad
# element of two bytes takes as long as a good one of hundreds.
_VALUES_A_TURN: Final = 2_000
# A large reply takes less. One that the broker does not accept must not stop the recording.
LARGE_PATIENCE_SECONDS: Final = 2.0


class Intake:
    """
    A buffer that decodes each delivery as it arrives and gathers them in batches.

    No timer closes a batch: taking it does, so it holds the deliveries that arrived during one
    commit. Above a limit of records or bytes, the batches being committed included, the flow is
    paused, however large the prefetch.

    Large deliveries, and those that hold many values, are decoded in a thread, and those that
    arrive after them wait their turn. `large` is held while something large is in memory.
    """

    def __init__(
        self, flow: Flow, clock: Clock, large: asyncio.Lock, status: RecorderStatus
    ) -> None:
        self._flow = flow
        self._clock = clock
        self._large = large
        self._status = status
        self._batches = deque([Batch()])
        self._under_way: deque[tuple[int, int]] = deque()
        """Records and bytes of each batch that is taken and not released, oldest first."""
        self._held_records = 0
        self._held_bytes = 0
        self._values_left = _VALUES_A_TURN
        self._undecoded: deque[Origin] = deque()
        self._decoding: asyncio.Task[None] | None = None
        self._has_room = asyncio.Event()
        self._something = asyncio.Event()
        self._full = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._paused = False

    def sink(self, settlement: Settlement) -> Sink:
        """Return the sink for the deliveries that `settlement` settles."""
        return partial(self._take_in, settlement)

    def _take_in(self, settlement: Settlement, deliveries: Deliveries) -> None:
        received_at = self._clock()
        if isinstance(deliveries, Stretch) and settlement.topic.kind is Kind.EVENT:
            self._take_stretch(settlement, deliveries, received_at)
        else:
            for delivery in deliveries:
                self._take(Origin(settlement, delivery, received_at))
        self._balance()

    def _take_stretch(self, settlement: Settlement, stretch: Stretch, received_at: int) -> None:
        """Take the rows of those that are plain, and cut out the others."""
        number = 0
        # As long as one row is held, all bytes of the stretch are.
        own_size = len(stretch.data)
        while number < len(stretch):
            if not self._undecoded:
                first = len(self._batches[-1].records) - number
                source = Source(settlement, stretch, received_at, first)
                if (end := self._add_rows(source, number, own_size)) > number:
                    number, own_size = end, 0
            if number < len(stretch):
                self._take(Origin(settlement, stretch.at(number), received_at))
                number += 1

    def _add_rows(self, source: Source, number: int, own_size: int) -> int:
        """Take the rows of plain deliveries from `number` on; return the number of the next other."""
        settlement, stretch, received_at, _ = source
        batch = self._batches[-1]
        end, size = plain.add_rows(batch.records, stretch, number, settlement.topic, received_at)
        if end > number:
            batch.add_rows(source, stretch.tag(end - 1), own_size + size)
            self._idle.clear()
            self._count(batch, end - number, own_size + size)
        return end

    def _take(self, origin: Origin) -> None:
        self._idle.clear()
        if not (self._undecoded or is_large(origin.delivery)):
            decoded = _decoded_quickly(origin) or self._decoded_in_turn(origin)
            if decoded is not None:
                self._add(origin, decoded)
                return
        self._undecoded.append(origin)
        self._show_undecoded()
        if self._decoding is None:
            self._decoding = asyncio.create_task(self._decode_undecoded())

    def _decoded_in_turn(self, origin: Origin) -> Decoded | None:
        """Decode a delivery in full, None if its values are too many for this turn of the loop."""
        if self._values_left == _VALUES_A_TURN:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self._values_left -= most_values(origin.delivery)
        return _decoded_in_full(origin) if self._values_left >= 0 else None

    def _begin_turn(self) -> None:
        self._values_left = _VALUES_A_TURN

    def _show_undecoded(self) -> None:
        """Expose the age of the first delivery that is not decoded."""
        first = self._undecoded[0].received_at if self._undecoded else None
        self._status.oldest_undecoded = first

    def _add(self, origin: Origin, decoded: Decoded | Plain) -> None:
        batch = self._batches[-1]
        size, count = batch.size, batch.count
        batch.add(origin, decoded)
        self._count(batch, batch.count - count, batch.size - size)

    def _count(self, batch: Batch, records: int, size: int) -> None:
        """Count what was added to the batch that gathers; close it if it is full now."""
        self._held_records += records
        self._held_bytes += size
        if batch.count >= MAX_BATCH_RECORDS or batch.size >= MAX_BATCH_BYTES:
            self._batches.append(Batch())
            self._full.set()
        self._something.set()

    async def _decode_undecoded(self) -> None:
        while self._undecoded:
            while self.is_full:
                self._has_room.clear()
                await self._has_room.wait()
            async with in_turn(self._large, LARGE_PATIENCE_SECONDS):
                decoded = await asyncio.to_thread(_decode_some, tuple(self._undecoded))
            for one in decoded:
                self._add(self._undecoded.popleft(), one)
            self._show_undecoded()
        self._decoding = None
        self._balance()

    @property
    def is_full(self) -> bool:
        """True where a limit is reached, and the flow is paused until some of it is recorded."""
        return (
            self._held_records >= MAX_HELD_RECORDS
            or self._held_bytes >= MAX_HELD_BYTES
            or bool(self._undecoded and self._held_bytes > _HELD_BESIDE_LARGE)
        )

    @property
    def is_settled(self) -> bool:
        """True while nothing is held: all that arrived is committed and settled."""
        return self._idle.is_set()

    def _balance(self) -> None:
        """Pause or resume the flow."""
        pause = bool(self._undecoded) or self.is_full
        if pause == self._paused:
            return
        self._paused = pause
        if pause:
            self._flow.pause()
        else:
            self._flow.resume()

    async def take(self) -> Batch | None:
        """
        Return the oldest batch, once there is anything in it; None at the end.

        It counts as held until it is released.
        """
        while not self._batches[0]:
            if self._closed and self._decoding is None:
                return None
            self._something.clear()
            await self._something.wait()
        batch = self._batches.popleft()
        if not self._batches:
            self._batches.append(Batch())
        self._under_way.append((batch.count, batch.size))
        return batch

    async def filled(self) -> int:
        """Return the size of the batch to be taken next, once it is full and so gains nothing."""
        while len(self._batches) < 2:
            self._full.clear()
            await self._full.wait()
        return self._batches[0].size

    def release(self) -> None:
        """Count the oldest batch that was taken as settled: it is no longer held."""
        records, size = self._under_way.popleft()
        self._held_records -= records
        self._held_bytes -= size
        self._has_room.set()
        if not self._held_records and not self._undecoded:
            self._idle.set()
        self._balance()

    async def settled(self) -> None:
        """Return once nothing is held: all that arrived is committed and settled."""
        await self._idle.wait()

    def close(self) -> None:
        """Let `take` end once everything is taken: nothing more will arrive."""
        self._closed = True
        self._something.set()

    def abandon(self) -> None:
        """Drop batches not taken: their channel is gone and the broker will deliver them again."""
        if self._decoding is not None:
            self._decoding.cancel()
            self._decoding = None
        self._undecoded.clear()
        self._show_undecoded()
        self._batches = deque([Batch()])
        self._held_records = sum(records for records, _ in self._under_way)
        self._held_bytes = sum(size for _, size in self._under_way)
        self.close()


def _decoded_quickly(origin: Origin) -> Decoded | Plain | None:
    """Decode what is plain, or refused by its routing key: in a time that its bytes limit."""
    settlement, delivery, received_at, _ = origin
    return smuggled(delivery, settlement.topic) or plain.decode(
        delivery, settlement.topic, received_at
    )


def _decoded_in_full(origin: Origin) -> Decoded:
    settlement, delivery, received_at, _ = origin
    if is_without_body(delivery.header, delivery.body):
        return _passed_over(settlement.topic)
    return decode(delivery, settlement.topic, received_at, as_text=True)


def _passed_over(topic: Topic) -> Decoded:
    error = f"the body is larger than {topic.max_bytes} bytes, and was not read"
    return Decoded([], [Refusal(Reason.TOO_LARGE, error)], 0)


def _decode_some(origins: Sequence[Origin]) -> list[Decoded | Plain]:
    """Decode from the first one on, until they are large together, or it takes long."""
    some: list[Decoded | Plain] = []
    size = 0
    until = time.monotonic() + _DECODING_SECONDS
    for origin in origins:
        some.append(_decoded_quickly(origin) or _decoded_in_full(origin))
        size += some[-1].size
        if size > _DECODED_AT_ONCE or time.monotonic() >= until:
            break
    return some
