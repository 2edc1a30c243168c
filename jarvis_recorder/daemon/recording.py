"""Recording, one session after another: consume, record, drain, close."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import structlog

from jarvis_recorder.broker.session import BrokerSession, open_session
from jarvis_recorder.config.settings import BrokerSettings
from jarvis_recorder.errors import (
    BrokerUnavailable,
    LostAtStart,
    StorageDamaged,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.ingest.dead_letter_publisher import DeadLetterPublisher
from jarvis_recorder.ingest.intake import Intake
from jarvis_recorder.ingest.recorder import OutageTooLong, Recorder
from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.ingest.slow_start import SlowStart
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.ports import Clock, Consumer, DeadLetterIndex, Repository, Tracer
from jarvis_recorder.runtime.process import first_of, raise_first, set_within, unless_stopped
from jarvis_recorder.telemetry.metrics import MeasuredPublisher
from jarvis_recorder.telemetry.status import RecorderStatus, State
from jarvis_recorder.wire.records import EventRow, Record
from jarvis_recorder.wire.topics import TOPICS, Kind, Topic

log = structlog.get_logger(__name__)

_PURPOSE: Final = "recording"
_DRAIN_SECONDS: Final = 3.0
_RETRY_SECONDS: Final = 2.0
# The broker's replies at a stop. Behind a paused flow they come once there is room, perhaps never.
_REPLY_SECONDS: Final = 10.0
# Three heartbeats of silence end a connection, and nothing is heard behind a paused flow.
_FULL_HEARTBEATS: Final = 2
# Fetched messages are acked one by one. RabbitMQ holds acks back once 32 of a channel are not in the
# queue's log yet, and drops those if the channel closes.
_FETCHED_AT_ONCE: Final = 16
# One snapshot may be as large as four thousand events.
_SNAPSHOT_PREFETCH: Final = 100


class _Pipeline(NamedTuple):
    """The parts that process the deliveries of one session."""

    intake: Intake
    dead_letters: DeadLetterPublisher
    recorder: Recorder


class Recording:
    """Recording into one repository; each attempt lasts as long as its session."""

    def __init__(
        self,
        *,
        broker: BrokerSettings,
        prefetch: int,
        addresses: Addresses,
        repository: Repository,
        dead_letters: DeadLetterIndex,
        status: RecorderStatus,
        tracer: Tracer,
        clock: Clock,
        large: asyncio.Lock,
        stop: asyncio.Event,
    ) -> None:
        self._broker = broker
        self._prefetch = prefetch
        self._addresses = addresses
        self._repository = repository
        self._dead_letters = dead_letters
        self._large = large
        self._tracer = tracer
        self._clock = clock
        self._stop = stop
        self.has_worked = False
        # Of several recorders the one with the highest number takes all turns, in their order.
        self._priority = random.randrange(1, 2**31)  # noqa: S311 - no secret
        self.status = status

    async def attempt(self) -> None:
        """
        Record until `stop` is set.

        Raises:
            BrokerUnavailable: The session is lost; try again.
            ConfigurationError: The broker refuses it.
            RecorderError: An error that ends the process.
        """
        try:
            await self._record()
        except OutageTooLong as outage:
            # The session has ended: the broker has its messages back and counts one failed
            # delivery of each. Open no other session before these records can be stored:
            # with a disk almost full, the messages would reach their delivery limit.
            await self._until_stored(outage.records)

    async def _record(self) -> None:
        """Record on one session, from connecting until it is lost or `stop` is set."""
        self.status.state = State.CONNECTING
        broker = self._broker
        async with contextlib.AsyncExitStack() as stack:
            opening = open_session(
                self._addresses,
                broker.topology,
                tls=broker.tls,
                heartbeat=broker.heartbeat,
            )
            session = await unless_stopped(self._stop, stack.enter_async_context(opening))
            if session is None:
                return
            self.status.connected = True
            session.report_alarm(partial(self.status.note_alarm, _PURPOSE))
            pipeline = self._pipeline(session)
            working = asyncio.create_task(pipeline.recorder.run())
            try:
                await self._work(session, pipeline, working)
            finally:
                self.status.detach()
                self.status.note_alarm(_PURPOSE, None)
                pipeline.intake.abandon()
                await self._leave(working, pipeline.dead_letters)

    async def _work(
        self, session: BrokerSession, pipeline: _Pipeline, working: asyncio.Task[None]
    ) -> None:
        # The recorder already runs: the first queue may fill the intake, and a paused flow would
        # hold back the broker's replies that consuming the other queues waits for.
        attaching = asyncio.create_task(self._attach(session, pipeline.intake))
        try:
            await self._one_of(attaching, working, session.lost)
            await raise_first(session.lost, working)
            if not attaching.done():
                _report_given_up(pipeline.intake)
                return
            consumers = await attaching
        except BrokerUnavailable as error:
            raise LostAtStart(str(error)) from error
        finally:
            attaching.cancel()
        if not self._stop.is_set():
            self.status.attach()
            self.has_worked = True
            log.info("recording", queues=[topic.queue for topic in TOPICS])
        await first_of(self._stop, working, session.lost)
        await raise_first(working, session.lost)
        if await self._drain(session, consumers, pipeline, working):
            await self._sweep(session)

    async def _one_of(self, *futures: asyncio.Future[Any]) -> None:
        """Return once one of them is done, and not much later than `stop` is set."""
        await first_of(self._stop, *futures)
        await asyncio.wait(futures, timeout=_REPLY_SECONDS, return_when=asyncio.FIRST_COMPLETED)

    def _pipeline(self, session: BrokerSession) -> _Pipeline:
        intake = Intake(session.flow, self._clock, self._large, self.status)
        dead_letters = DeadLetterPublisher(
            MeasuredPublisher(session.publisher, self.status.sent),
            self.status,
            self._dead_letters,
        )
        recorder = Recorder(
            intake=intake,
            repository=self._repository,
            dead_letters=dead_letters,
            status=self.status,
            clock=self._clock,
            tracer=self._tracer,
            large=self._large,
            full_seconds=_FULL_HEARTBEATS * self._broker.heartbeat,
        )
        return _Pipeline(intake, dead_letters, recorder)

    async def _attach(self, session: BrokerSession, intake: Intake) -> list[Consumer]:
        """
        Consume every queue, after a slow start of one queue after another.

        In random order: if the first message of one queue ends the process, the other queues
        still get their turn after some restart.
        """
        for topic in random.sample(TOPICS, len(TOPICS)):
            await SlowStart(topic, session.consumer, intake, self._stop).run()
        consumers: list[Consumer] = []
        for topic in () if self._stop.is_set() else TOPICS:
            prefetch = self._prefetch
            if topic.kind is Kind.SNAPSHOT:
                prefetch = min(prefetch, _SNAPSHOT_PREFETCH)
            priority = self._priority if topic.kind is Kind.TURN else 0
            consumer = await session.consumer(topic.queue, prefetch, priority)
            await consumer.start(intake.sink(Settlement(topic, consumer, prefetch)))
            consumers.append(consumer)
        return consumers

    async def _drain(
        self,
        session: BrokerSession,
        consumers: list[Consumer],
        pipeline: _Pipeline,
        working: asyncio.Task[None],
    ) -> bool:
        """
        Stop consuming, record the deliveries held, close once the broker has read every ack.

        Return False if the storage or the broker does not answer, or accepts no dead letters:
        the deliveries held return to the broker.
        """
        self.status.state = State.STOPPING
        cancelling = asyncio.create_task(_cancel(consumers))
        try:
            await self._one_of(cancelling, working, session.lost)
            await raise_first(working, session.lost, cancelling)
            if cancelling.done():
                pipeline.intake.close()
                ends: set[asyncio.Future[None]] = {working, session.lost}
                await asyncio.wait(
                    ends, timeout=_DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                await raise_first(working, session.lost)
        finally:
            cancelling.cancel()
        if not working.done():
            _report_given_up(pipeline.intake)
            return False
        are_confirmed = await pipeline.dead_letters.drain(_DRAIN_SECONDS / 3)
        for consumer in consumers:
            await consumer.close()
        # To fetch those once more would count a second failed delivery of each.
        return are_confirmed

    async def _sweep(self, session: BrokerSession) -> None:
        """
        Record the messages that cancelling has left marked as redelivered.

        A quorum queue may deliver messages to a consumer while it is being cancelled, and no one
        receives them. They are first in the queue; stop after the first other message.
        """
        pipeline = self._pipeline(session)
        working = asyncio.create_task(pipeline.recorder.run())
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                for topic in TOPICS:
                    await self._sweep_queue(session, topic, pipeline)
                pipeline.intake.close()
                await working
        except TimeoutError:
            log.warning("sweep_given_up")
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _sweep_queue(self, session: BrokerSession, topic: Topic, pipeline: _Pipeline) -> None:
        consumer = await session.consumer(topic.queue, 0)
        sink = pipeline.intake.sink(Settlement(topic, consumer))
        fetched = 0
        while (delivery := await consumer.fetch()) is not None:
            sink([delivery])
            fetched += 1
            if fetched % _FETCHED_AT_ONCE == 0:
                await pipeline.intake.settled()
            if not delivery.redelivered:
                break
        await pipeline.intake.settled()
        await pipeline.dead_letters.drain(_DRAIN_SECONDS / 3)
        await consumer.close()

    async def _leave(self, working: asyncio.Task[None], dead_letters: DeadLetterPublisher) -> None:
        """End the session's tasks, but give a commit under way time to finish."""
        if not self._stop.is_set():
            await asyncio.wait({working}, timeout=_DRAIN_SECONDS)
        working.cancel()
        (outcome,) = await asyncio.gather(working, return_exceptions=True)
        await dead_letters.drain(0)
        if isinstance(outcome, StorageUncertain | StorageDamaged):
            raise outcome

    async def _until_stored(self, records: Sequence[Record | EventRow]) -> None:
        """Retry until the records are stored; the broker redelivers them, as duplicates."""
        while not self._stop.is_set():
            try:
                # While the database hangs, this does not end either.
                appending = self._repository.append(records, self._clock())
                await unless_stopped(self._stop, appending)
            except StorageUnavailable as error:
                self.status.state = State.STORAGE_UNAVAILABLE
                log.warning("storage_unavailable", error=str(error))
                await set_within(self._stop, _RETRY_SECONDS)
            else:
                return


def _report_given_up(intake: Intake) -> None:
    """Log whose answer a stop has waited for in vain: where nothing is held, the broker's."""
    log.warning("stopped_without_reply" if intake.is_settled else "stopped_without_storage")


async def _cancel(consumers: Sequence[Consumer]) -> None:
    for consumer in consumers:
        await consumer.cancel()
