"""Where deliveries gather while the batch before them is being committed."""

import asyncio
from collections import deque
from functools import partial
from typing import Final

from jarvis_recorder.ingest.batch import Batch, Origin
from jarvis_recorder.ingest.lane import Lane
from jarvis_recorder.ports import Clock, Flow, Sink
from jarvis_recorder.wire.codec import decode, smuggled
from jarvis_recorder.wire.delivery import Delivery

# A batch is closed at this many records, so that acks flow back while more is decoded: were
# the whole prefetch window in one transaction, broker and recorder would wait in turn.
MAX_BATCH_RECORDS: Final = 2_000
MAX_HELD_RECORDS: Final = 20_000
MAX_HELD_BYTES: Final = 32 * 1024 * 1024


class Intake:
    """
    Decodes each delivery as it arrives and gathers them in batches.

    No timer closes a batch: whoever takes it ends it, so it holds what one commit took to
    finish. Above a bound of records or bytes the flow is paused, however large the prefetch.
    """

    def __init__(self, flow: Flow, clock: Clock) -> None:
        self._flow = flow
        self._clock = clock
        self._batches = deque([Batch()])
        self._held_records = 0
        self._held_bytes = 0
        self._something = asyncio.Event()
        self._closed = False
        self._paused = False

    def sink(self, lane: Lane) -> Sink:
        """Return what takes the deliveries of a lane."""
        return partial(self._take_in, lane)

    def _take_in(self, lane: Lane, delivery: Delivery) -> None:
        received_at = self._clock()
        decoded = smuggled(delivery, lane.topic) or decode(delivery, lane.topic, received_at)
        batch = self._batches[-1]
        batch.add(Origin(lane, delivery, received_at), decoded)
        if len(batch.records) >= MAX_BATCH_RECORDS:
            self._batches.append(Batch())
        self._held_records += len(decoded.records)
        self._held_bytes += decoded.size
        self._something.set()
        if not self._paused and self.is_full:
            self._paused = True
            self._flow.pause()

    @property
    def is_full(self) -> bool:
        """Whether more is held than may be, and the flow paused."""
        return self._held_records >= MAX_HELD_RECORDS or self._held_bytes >= MAX_HELD_BYTES

    async def take(self) -> Batch | None:
        """Return the oldest batch, once there is anything in it; None at the end."""
        while not self._batches[0]:
            if self._closed:
                return None
            self._something.clear()
            await self._something.wait()
        batch = self._batches.popleft()
        if not self._batches:
            self._batches.append(Batch())
        self._held_records -= len(batch.records)
        self._held_bytes -= batch.size
        if self._paused and not self.is_full:
            self._paused = False
            self._flow.resume()
        return batch

    def close(self) -> None:
        """Let `take` end once everything is taken: nothing more will arrive."""
        self._closed = True
        self._something.set()

    def abandon(self) -> None:
        """Drop what is not taken: its channel is gone and the broker will deliver it again."""
        self._batches = deque([Batch()])
        self._held_records = self._held_bytes = 0
        self.close()
