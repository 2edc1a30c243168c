"""The RPC service, one connection after another: consume requests, reply, publish, drain."""

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Final

import structlog

from jarvis_recorder.broker.connection import Link
from jarvis_recorder.broker.rpc_session import RpcSession, open_rpc_session
from jarvis_recorder.config.settings import BrokerSettings
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.ports import Clock, Outbox, Tracer
from jarvis_recorder.rpc.dispatcher import Dispatcher
from jarvis_recorder.rpc.outbox_relay import OutboxRelay
from jarvis_recorder.rpc.responder import Responder
from jarvis_recorder.runtime.process import first_of, raise_first, unless_stopped
from jarvis_recorder.telemetry.metrics import MeasuredPublisher
from jarvis_recorder.telemetry.status import RecorderStatus
from jarvis_recorder.wire.topics import DEAD_QUEUE

log = structlog.get_logger(__name__)

_PURPOSE: Final = "answering"
_DRAIN_SECONDS: Final = 3.0
_COUNT_SECONDS: Final = 1.0


class DeadLetterCount:
    """The number of dead letters in their queue, while there is a connection to ask on."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._counting: asyncio.Task[int | None] | None = None

    async def __call__(self) -> int | None:
        """Return how many can be fetched now, None if that is unknown."""
        # One at a time, and never given up: the broker may read nothing for long.
        if self._counting is None or self._counting.done():
            if self._link is None:
                return None
            self._counting = asyncio.create_task(self._link.count(DEAD_QUEUE))
        try:
            async with asyncio.timeout(_COUNT_SECONDS):
                return await asyncio.shield(self._counting)
        except (RecorderError, TimeoutError):
            return None

    @contextlib.contextmanager
    def asked_on(self, link: Link) -> Iterator[None]:
        """Ask on this connection while entered."""
        self._link = link
        try:
            yield
        finally:
            self._link = None
            if self._counting is not None:
                self._counting.cancel()


class Answering:
    """The RPC service of one archive; each attempt lasts as long as its connection."""

    def __init__(
        self,
        *,
        broker: BrokerSettings,
        concurrency: int,
        addresses: Addresses,
        dispatcher: Dispatcher,
        dead_letters: DeadLetterCount,
        outbox: Outbox,
        status: RecorderStatus,
        tracer: Tracer,
        clock: Clock,
        stop: asyncio.Event,
    ) -> None:
        self._broker = broker
        self._concurrency = concurrency
        self._addresses = addresses
        self._dispatcher = dispatcher
        self._dead_letters = dead_letters
        self._outbox = outbox
        self._status = status
        self._tracer = tracer
        self._clock = clock
        self._stop = stop
        self.has_worked = False

    async def attempt(self) -> None:
        """
        Reply to requests and publish notifications until `stop` is set.

        Raises:
            BrokerUnavailable: The connection is lost; try again.
            ConfigurationError: The broker refuses it.
            RecorderError: An error that ends the process.
        """
        broker = self._broker
        async with contextlib.AsyncExitStack() as stack:
            opening = open_rpc_session(
                self._addresses,
                broker.topology,
                tls=broker.tls,
                heartbeat=broker.heartbeat,
            )
            connected = await unless_stopped(self._stop, stack.enter_async_context(opening))
            if connected is not None:
                with self._dead_letters.asked_on(connected.link):
                    await self._answer(connected)

    async def _answer(self, connected: RpcSession) -> None:
        responder = Responder(
            connected.requests,
            self._dispatcher,
            self._tracer,
            clock=self._clock,
            concurrency=self._concurrency,
        )
        relay = OutboxRelay(
            self._outbox, MeasuredPublisher(connected.publisher, self._status.sent), self._clock
        )
        await connected.requests.start(responder.take)
        self.has_worked = True
        log.info("answering", concurrency=self._concurrency)
        self._status.answering = True
        connected.link.reader.report_alarm(partial(self._status.note_alarm, _PURPOSE))
        relaying = asyncio.create_task(relay.run())
        ends = (connected.link.lost, self._dispatcher.failed, relaying)
        try:
            await first_of(self._stop, *ends)
            await raise_first(*ends)
            await self._drain(connected, responder)
        finally:
            self._status.answering = False
            self._status.note_alarm(_PURPOSE, None)
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
            await responder.drain(0)

    @staticmethod
    async def _drain(connected: RpcSession, responder: Responder) -> None:
        """Stop consuming, reply to the requests held, close once the broker has read every ack."""
        await connected.requests.cancel()
        await responder.drain(_DRAIN_SECONDS)
        await connected.requests.close()
