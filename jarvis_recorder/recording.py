"""Recording on one session after another: attach, work, drain, leave."""

import asyncio
import contextlib
from typing import Final, NamedTuple

import structlog

from jarvis_recorder.broker.session import Session, open_session
from jarvis_recorder.config import Settings
from jarvis_recorder.errors import StorageDamaged, StorageUnavailable, StorageUncertain
from jarvis_recorder.ingest.dead_letters import DeadLetters
from jarvis_recorder.ingest.intake import Intake
from jarvis_recorder.ingest.lane import Lane
from jarvis_recorder.ingest.progress import Progress, State
from jarvis_recorder.ingest.recorder import Recorder
from jarvis_recorder.lifecycle import first_of, raise_first, unless_stopped
from jarvis_recorder.ports import Clock, Consumer, Repository
from jarvis_recorder.wire.topics import TOPICS, Kind

log = structlog.get_logger(__name__)

_DRAIN_SECONDS: Final = 3.0
_PROBE_SECONDS: Final = 2.0
# One snapshot may be as large as four thousand events.
_SNAPSHOT_PREFETCH: Final = 100


class _Pipeline(NamedTuple):
    """What works on the deliveries of one session."""

    intake: Intake
    dead_letters: DeadLetters
    recorder: Recorder


class Recording:
    """What records into one repository; each attempt lasts as long as its session."""

    def __init__(
        self,
        settings: Settings,
        repository: Repository,
        progress: Progress,
        clock: Clock,
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._repository = repository
        self._clock = clock
        self._stop = stop
        self.progress = progress

    async def attempt(self) -> None:
        """
        Record until the process is told to stop.

        Raises:
            BrokerUnavailable: The session is lost; try again.
            RecorderError: What ends the process.
        """
        try:
            await self._record()
        except StorageUnavailable:
            # The session is over: the broker has its messages back, and counts one failed
            # delivery of each, not one for every attempt.
            await self._until_storage_is_back()

    async def _record(self) -> None:
        """Record on one session, from connecting until it is lost or the process stops."""
        self.progress.state = State.CONNECTING
        broker = self._settings.broker
        async with contextlib.AsyncExitStack() as stack:
            opening = open_session(
                broker.url.get_secret_value(), broker.topology, heartbeat=broker.heartbeat
            )
            session = await unless_stopped(self._stop, stack.enter_async_context(opening))
            if session is None:
                return
            pipeline = self._pipeline(session)
            consumers = await self._attach(session, pipeline.intake)
            self.progress.state = State.RECORDING
            log.info("recording", queues=[topic.queue for topic in TOPICS])
            working = asyncio.create_task(pipeline.recorder.run())
            try:
                await first_of(self._stop, working, session.lost)
                if self._stop.is_set():
                    await self._drain(session, consumers, pipeline, working)
                    await self._sweep(session)
                else:
                    await raise_first(working, session.lost)
            finally:
                pipeline.intake.abandon()
                await self._leave(working, pipeline.dead_letters)

    def _pipeline(self, session: Session) -> _Pipeline:
        intake = Intake(session.flow, self._clock)
        dead_letters = DeadLetters(session.publisher, self.progress, self._clock)
        recorder = Recorder(
            intake=intake,
            repository=self._repository,
            dead_letters=dead_letters,
            progress=self.progress,
            clock=self._clock,
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
        await raise_first(working, session.lost)
        await pipeline.dead_letters.drain(_DRAIN_SECONDS / 3)
        for consumer in consumers:
            await consumer.close()

    async def _sweep(self, session: Session) -> None:
        """Record what cancelling has left marked as redelivered; see `Consumer.sweep`."""
        pipeline = self._pipeline(session)
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

    async def _until_storage_is_back(self) -> None:
        while not self._stop.is_set():
            try:
                await self._repository.probe()
            except StorageUnavailable as error:
                self.progress.state = State.STORAGE_UNAVAILABLE
                log.warning("storage_unavailable", error=str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), _PROBE_SECONDS)
            else:
                return
