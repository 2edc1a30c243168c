"""The loop: take what has arrived, commit it, settle it."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple

import structlog

from jarvis_recorder.errors import (
    BrokerUnavailable,
    NotTried,
    RecorderError,
    StorageUnavailable,
)
from jarvis_recorder.ingest.batch import Batch
from jarvis_recorder.ingest.dead_letter_publisher import DeadLetterPublisher
from jarvis_recorder.ingest.intake import LARGE_PATIENCE_SECONDS, Intake
from jarvis_recorder.ports import Appended, Clock, RefusedRecord, Repository, Tracer
from jarvis_recorder.runtime.process import give_memory_back, in_turn
from jarvis_recorder.telemetry.metrics import SYSTEM
from jarvis_recorder.telemetry.status import RecorderStatus, State
from jarvis_recorder.wire.records import EventRow, Record

log = structlog.get_logger(__name__)

# Well below the broker's consumer timeout of 30 minutes, after which it would take the
# deliveries back by itself and count them as failed.
HOLD_SECONDS: Final = 600.0
_LEAST_PATIENCE_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.5
_FIRST_RETRY_SECONDS: Final = 0.1
_LONGEST_RETRY_SECONDS: Final = 2.0
# Large batches leave holes in the heap: a few dozen would double the process.
_LARGE_BYTES: Final = 1024 * 1024
_VERY_LARGE_BYTES: Final = 4 * 1024 * 1024
_GIVE_BACK_AFTER_BYTES: Final = 16 * 1024 * 1024
# Of smaller records the repository keeps little, and it is slower for a while after a release.
_LARGE_RECORD_BYTES: Final = 1024


class OutageTooLong(RecorderError):
    """The database was unavailable for so long that the broker should take its messages back."""

    def __init__(self, records: Sequence[Record | EventRow]) -> None:
        super().__init__("the database has been away for too long")
        self.records = records


class _UnderWay(NamedTuple):
    """A batch that the repository has, and when it was handed over (monotonic)."""

    batch: Batch
    appending: asyncio.Task[Appended]
    began: float


class Recorder:
    """
    A loop that commits batch after batch; a delivery is acked only when all of it is safe.

    A full batch is handed to the repository while the one before is being committed, so that
    SQLite's thread need not wait for the event loop in between. Both are settled in their order:
    an ack covers all deliveries before it. After a failure both are tried again, one by one.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        repository: Repository,
        dead_letters: DeadLetterPublisher,
        status: RecorderStatus,
        clock: Clock,
        tracer: Tracer,
        large: asyncio.Lock,
        full_seconds: float,
    ) -> None:
        """
        Take the parts of a session, and how long a commit may take while the intake is full.

        It has to be less than the silence after which the connection counts as dead: behind a
        paused flow not even the broker's heartbeats are read.
        """
        self._intake = intake
        self._full_seconds = full_seconds
        self._large = large
        self._repository = repository
        self._dead_letters = dead_letters
        self._status = status
        self._clock = clock
        self._tracer = tracer
        self._freed = self._freed_of_large = 0
        self._next: _UnderWay | None = None
        """The batch handed over behind the one that is settled first."""

    async def run(self) -> None:
        """
        Record deliveries until the intake is closed and empty.

        No timer: what arrives during one commit is the next batch, so a quiet queue commits
        at once and a busy one in thousands.

        Raises:
            OutageTooLong: No commit succeeded for `HOLD_SECONDS`. With a full intake a failed one
                is enough, or one that takes longer than `full_seconds`.
            StorageUncertain, StorageDamaged: As `Repository.append`.
        """
        first = None
        try:
            while first := self._next or await self._take():
                self._next = None
                size, count = first.batch.size, first.batch.count
                await self._record(first)
                # This one may be tens of megabytes, and the wait for the next one long.
                first = None
                await self._give_back(size, count)
        finally:
            await _cancelled(first, self._next)

    async def _take(self) -> _UnderWay | None:
        """Hand over what has arrived, once there is anything; None at the end."""
        batch = await self._intake.take()
        if batch is None:
            return None
        return _UnderWay(batch, asyncio.create_task(self._append(batch)), time.monotonic())

    async def _follow(self, first: _UnderWay, since: float) -> None:
        """Hand over the next batch if it is full before the first is committed."""
        if first.batch.size >= _VERY_LARGE_BYTES:
            return
        filled = asyncio.create_task(self._intake.filled())
        try:
            done = await self._done({first.appending, filled}, first.began, since)
        finally:
            filled.cancel()
        # If the first has ended, it may have failed: then the next one has to wait for it.
        if done == {filled} and filled.result() < _VERY_LARGE_BYTES:
            self._next = await self._take()

    async def _give_back(self, size: int, count: int) -> None:
        """Note the size of a batch that is settled; give memory back once enough is free."""
        if size < _LARGE_BYTES:
            return
        if size > count * _LARGE_RECORD_BYTES:
            self._freed_of_large += size
        if self._freed_of_large > _GIVE_BACK_AFTER_BYTES:
            self._freed_of_large = 0
            self._repository.release_memory()
        self._freed += size
        if self._freed > _GIVE_BACK_AFTER_BYTES:
            self._freed = 0
            await asyncio.to_thread(give_memory_back)

    async def _record(self, first: _UnderWay) -> None:
        batch, since = first.batch, time.monotonic()
        deliveries = batch.deliveries()
        with (
            self._status.under_way(batch.oldest),
            self._tracer.batch(deliveries, len(batch.records)),
        ):
            await self._follow(first, since)
            appended = await self._appended(first, since)
            await self._refuse(batch, appended.refused)
            await self._settle(batch)
        self._intake.release()
        self._status.count_batch(appended.stored, appended.duplicates)
        self._status.count_decoded(len(batch.records), batch.plain)
        self._report_near_misses(batch)
        self._measure(batch, time.monotonic() - first.began)
        log.debug(
            "batch_committed",
            records=len(batch.records),
            stored=appended.stored,
            duplicates=appended.duplicates,
            refused=len(batch.refusals),
            seconds=round(time.monotonic() - first.began, 4),
        )

    def _report_near_misses(self, batch: Batch) -> None:
        """Count each; log the first of a field, since a publisher sends the same name every time."""
        for settlement, (resembled, name, records) in batch.near_misses:
            if self._status.count_near_misses(settlement.topic.queue, resembled, records):
                log.warning(
                    "field_not_known",
                    queue=settlement.topic.queue,
                    name=name,
                    resembles=resembled,
                    hint="kept in extra; what asks for the field will not find it",
                )

    async def _append(self, batch: Batch) -> Appended:
        if not batch.records:
            return Appended(0, 0, ())
        async with self._room_for(batch):
            return await self._repository.append(batch.records, self._clock())

    async def _appended(self, first: _UnderWay, since: float) -> Appended:
        """Return once it is stored, retrying while the database is unavailable; see `HOLD_SECONDS`."""
        batch, began = first.batch, first.began
        attempt: asyncio.Task[Appended] = first.appending
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                appended = await self._outcome(attempt, batch, began, since)
            except NotTried:
                # The outage, if there was one, was that of the batch before.
                began = time.monotonic()
                await self._next_has_failed()
            except StorageUnavailable as error:
                self._report_outage(error, len(batch.records), time.monotonic() - began)
                if self._intake.is_full or time.monotonic() - began > HOLD_SECONDS:
                    raise OutageTooLong(batch.records) from error
                await self._next_has_failed()
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_RETRY_SECONDS)
            else:
                self._report_recovery(time.monotonic() - began)
                self._status.measured.commit_seconds.observe(time.monotonic() - began)
                return appended
            attempt, since = asyncio.create_task(self._append(batch)), time.monotonic()

    async def _outcome(
        self, attempt: asyncio.Task[Appended], batch: Batch, began: float, since: float
    ) -> Appended:
        """
        Return the outcome of an attempt; give the messages back while it hangs, as a frozen server does.

        The broker would close the channel later, and count a failed delivery of each again and again.
        """
        try:
            await self._done({attempt}, began, since)
        finally:
            # What has begun is finished all the same.
            attempt.cancel()
        if not attempt.done():
            error = StorageUnavailable("the database has not answered")
            self._report_outage(error, len(batch.records), time.monotonic() - began)
            raise OutageTooLong(batch.records) from error
        return attempt.result()

    async def _done(
        self, futures: set[asyncio.Future[Any]], began: float, since: float
    ) -> set[asyncio.Future[Any]]:
        """
        Return the futures that are done, as soon as one is; none if the messages must go back.

        `began` is when their batch was handed over, `since` when its turn or this attempt came.
        """
        least = min(_LEAST_PATIENCE_SECONDS, self._full_seconds)
        while True:
            most = self._full_seconds if self._intake.is_full else HOLD_SECONDS
            left = max(began + most, since + least) - time.monotonic()
            done, _ = await asyncio.wait(
                futures,
                # The intake may become full meanwhile.
                timeout=min(max(left, 0.0), _LOOK_SECONDS),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if done or left <= 0:
                return done

    async def _next_has_failed(self) -> None:
        """Return once the batch behind the failed one has failed, too: it must not overtake."""
        if self._next is not None:
            await asyncio.wait({self._next.appending})

    def _room_for(self, batch: Batch) -> AbstractAsyncContextManager[None]:
        """Keep large replies out of memory while a large batch takes three times its size."""
        if batch.size < _VERY_LARGE_BYTES:
            return contextlib.nullcontext()
        return in_turn(self._large, LARGE_PATIENCE_SECONDS)

    def _report_outage(self, error: StorageUnavailable, waiting: int, seconds: float) -> None:
        self._status.state = State.STORAGE_UNAVAILABLE
        log.warning(
            "storage_unavailable", error=str(error), waiting=waiting, seconds=round(seconds, 1)
        )

    def _report_recovery(self, seconds: float) -> None:
        if self._status.state is State.STORAGE_UNAVAILABLE:
            self._status.state = State.RECORDING
            log.info("storage_available", seconds=round(seconds, 1))

    async def _refuse(self, batch: Batch, refused: Sequence[RefusedRecord]) -> None:
        if refused:
            # Taking one message apart may take a second, and what is refused may be of many.
            async with self._room_for(batch):
                batch.refusals += await asyncio.to_thread(batch.refusals_of, refused)
        for origin, refusals in batch.refused_deliveries():
            await self._dead_letters.send(origin, refusals)

    def _measure(self, batch: Batch, seconds: float) -> None:
        measured = self._status.measured
        if batch.records:
            measured.records.observe(len(batch.records))
        for settlement in batch.last_tags:
            queue = settlement.topic.queue
            measured.process_seconds.labels(SYSTEM, "process", queue).observe(seconds)

    async def _settle(self, batch: Batch) -> None:
        for settlement, tag in batch.last_tags.items():
            self._status.settled[settlement.topic.queue] += settlement.unsettled(tag)
            try:
                await settlement.settle(tag)
            except BrokerUnavailable as error:
                # The channel is gone and its tags mean nothing now. RabbitMQ delivers these
                # again, and `append` skips what it has stored.
                log.warning("ack_lost", queue=settlement.topic.queue, error=str(error))


async def _cancelled(*batches: _UnderWay | None) -> None:
    """Stop waiting for these; a transaction that has begun continues all the same."""
    appending = [one.appending for one in batches if one is not None]
    for task in appending:
        task.cancel()
    await asyncio.gather(*appending, return_exceptions=True)
