"""The composition root: opens everything, runs it, closes it in reverse."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple

import structlog

from jarvis_recorder.broker.connection import redacted
from jarvis_recorder.broker.session import Session, open_session
from jarvis_recorder.broker.supervision import supervise
from jarvis_recorder.config import Loaded, sqlite_path
from jarvis_recorder.errors import StorageDamaged, StorageUnavailable, StorageUncertain
from jarvis_recorder.ingest.dead_letters import DeadLetters
from jarvis_recorder.ingest.intake import Intake
from jarvis_recorder.ingest.lane import Lane
from jarvis_recorder.ingest.progress import Progress, State
from jarvis_recorder.ingest.recorder import Recorder
from jarvis_recorder.ports import Consumer
from jarvis_recorder.storage.repository import SqliteRepository, open_repository
from jarvis_recorder.wire.topics import TOPICS, Kind

log = structlog.get_logger(__name__)

_SUMMARY_SECONDS: Final = 10.0
_DRAIN_SECONDS: Final = 3.0
_PROBE_SECONDS: Final = 2.0
# One snapshot may be as large as four thousand events.
_SNAPSHOT_PREFETCH: Final = 100


def now() -> int:
    """The present moment in microseconds since the epoch."""
    return time.time_ns() // 1_000


class _Pipeline(NamedTuple):
    """What works on the deliveries of one session."""

    intake: Intake
    dead_letters: DeadLetters
    recorder: Recorder


class App:
    """The recorder of one database and one broker."""

    def __init__(self, loaded: Loaded, stop: asyncio.Event) -> None:
        self._settings = loaded.settings
        self._broker_origin = loaded.origins["broker.url"]
        self._stop = stop
        self.progress = Progress()

    async def run(self) -> None:
        """
        Record until `stop` is set.

        Raises:
            RecorderError: What ends the process; its `exit_code` says how.
        """
        url = self._settings.broker.url.get_secret_value()
        async with open_repository(sqlite_path(self._settings)) as repository:
            reporter = asyncio.create_task(self._report())
            try:
                await supervise(
                    lambda: self._attempt(repository),
                    address=redacted(url),
                    origin=self._broker_origin,
                    stop=self._stop,
                )
            finally:
                reporter.cancel()
        log.info("stopped", **self._summary())

    async def _attempt(self, repository: SqliteRepository) -> None:
        try:
            await self._record(repository)
        except StorageUnavailable:
            # The session is over: the broker has its messages back, and counts one failed
            # delivery of each, not one for every attempt.
            await self._until_storage_is_back(repository)

    async def _record(self, repository: SqliteRepository) -> None:
        """Record on one session, from connecting until it is lost or the process stops."""
        self.progress.state = State.CONNECTING
        broker = self._settings.broker
        async with contextlib.AsyncExitStack() as stack:
            opening = open_session(
                broker.url.get_secret_value(), broker.topology, heartbeat=broker.heartbeat
            )
            session = await self._unless_stopped(stack.enter_async_context(opening))
            if session is None:
                return
            pipeline = self._pipeline(session, repository)
            consumers = await self._attach(session, pipeline.intake)
            self.progress.state = State.RECORDING
            log.info("recording", queues=[topic.queue for topic in TOPICS])
            working = asyncio.create_task(pipeline.recorder.run())
            try:
                await self._first_of(working, session.lost)
                if self._stop.is_set():
                    await self._drain(session, consumers, pipeline, working)
                    await self._sweep(session, repository)
                else:
                    await _raise_first(working, session.lost)
            finally:
                pipeline.intake.abandon()
                await self._leave(working, pipeline.dead_letters)

    def _pipeline(self, session: Session, repository: SqliteRepository) -> _Pipeline:
        intake = Intake(session.flow, now)
        dead_letters = DeadLetters(session.publisher, self.progress, now)
        recorder = Recorder(
            intake=intake,
            repository=repository,
            dead_letters=dead_letters,
            progress=self.progress,
            clock=now,
        )
        return _Pipeline(intake, dead_letters, recorder)

    async def _attach(self, session: Session, intake: Intake) -> list[Consumer]:
        consumers = []
        for topic in TOPICS:
            prefetch = self._settings.ingest.prefetch
            if topic.kind is Kind.SNAPSHOT:
                prefetch = min(prefetch, _SNAPSHOT_PREFETCH)
            consumer = await session.consumer(topic.queue, prefetch)
            await consumer.start(intake.sink(Lane(topic, consumer)))
            consumers.append(consumer)
        return consumers

    async def _unless_stopped(self, opening: Coroutine[Any, Any, Session]) -> Session | None:
        """Return what opens, or None where the process is told to stop before it has."""
        task = asyncio.create_task(opening)
        await self._first_of(task)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return None
        return await task

    async def _first_of(self, *futures: asyncio.Future[Any]) -> None:
        """Return when one of these is done, or the process is told to stop."""
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({stopping, *futures}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _drain(
        self,
        session: Session,
        consumers: list[Consumer],
        pipeline: _Pipeline,
        working: asyncio.Task[None],
    ) -> None:
        """Take no more, finish what is held, and leave once the broker has read every ack."""
        self.progress.state = State.STOPPING
        for consumer in consumers:
            await consumer.cancel()
        pipeline.intake.close()
        ends: set[asyncio.Future[None]] = {working, session.lost}
        await asyncio.wait(ends, timeout=_DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        await _raise_first(working, session.lost)
        await pipeline.dead_letters.drain(_DRAIN_SECONDS / 3)
        for consumer in consumers:
            await consumer.close()

    async def _sweep(self, session: Session, repository: SqliteRepository) -> None:
        """Record what cancelling has left marked as redelivered; see `Consumer.sweep`."""
        pipeline = self._pipeline(session, repository)
        consumers = []
        for topic in TOPICS:
            consumer = await session.consumer(topic.queue, 0)
            await consumer.sweep(pipeline.intake.sink(Lane(topic, consumer)))
            consumers.append(consumer)
        pipeline.intake.close()
        await pipeline.recorder.run()
        await pipeline.dead_letters.drain(_DRAIN_SECONDS / 3)
        for consumer in consumers:
            await consumer.close()

    async def _leave(self, working: asyncio.Task[None], dead_letters: DeadLetters) -> None:
        """End what belongs to the session, giving a commit under way the time to finish."""
        if not self._stop.is_set():
            await asyncio.wait({working}, timeout=_DRAIN_SECONDS)
        working.cancel()
        (outcome,) = await asyncio.gather(working, return_exceptions=True)
        await dead_letters.drain(0)
        if isinstance(outcome, StorageUncertain | StorageDamaged):
            raise outcome

    async def _until_storage_is_back(self, repository: SqliteRepository) -> None:
        while not self._stop.is_set():
            try:
                await repository.probe()
            except StorageUnavailable as error:
                self.progress.state = State.STORAGE_UNAVAILABLE
                log.warning("storage_unavailable", error=str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), _PROBE_SECONDS)
            else:
                return

    async def _report(self) -> None:
        while True:
            before = self.progress.stored
            await asyncio.sleep(_SUMMARY_SECONDS)
            rate = (self.progress.stored - before) / _SUMMARY_SECONDS
            log.info("summary", per_second=round(rate, 1), **self._summary())

    def _summary(self) -> dict[str, object]:
        progress = self.progress
        return {
            "state": progress.state.value,
            "stored": progress.stored,
            "duplicates": progress.duplicates,
            "dead_lettered": progress.dead_letters.total(),
            "batches": progress.batches,
        }


async def _raise_first(*futures: asyncio.Future[None]) -> None:
    for future in futures:
        if future.done():
            await future
