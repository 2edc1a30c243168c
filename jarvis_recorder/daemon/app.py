"""The composition root: opens everything, runs it, closes it in reverse."""

import asyncio
import os
import socket
import time
from functools import partial
from typing import Final

import structlog

from jarvis_recorder import __version__
from jarvis_recorder.broker.supervisor import Part, supervise
from jarvis_recorder.config.loading import Loaded
from jarvis_recorder.daemon.answering import Answering, DeadLetterCount
from jarvis_recorder.daemon.recording import Recording
from jarvis_recorder.daemon.watchdog import Watchdog
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.monitoring import monitored
from jarvis_recorder.net.amqp_url import is_exposed, redacted
from jarvis_recorder.ports import Archive, Store
from jarvis_recorder.rpc.dispatcher import Dispatcher
from jarvis_recorder.rpc.permissions import Permissions
from jarvis_recorder.runtime.systemd import ServiceManager
from jarvis_recorder.spec.openrpc import document
from jarvis_recorder.storage.opening import with_store
from jarvis_recorder.telemetry.metrics import CallMetrics
from jarvis_recorder.telemetry.status import RecorderStatus
from jarvis_recorder.telemetry.tracing import open_tracer
from jarvis_recorder.wire.rpc.results import Activity
from jarvis_recorder.wire.times import to_datetime

log = structlog.get_logger(__name__)

_SUMMARY_SECONDS: Final = 10.0


def now() -> int:
    """The current time in microseconds since the epoch."""
    return time.time_ns() // 1_000


def _first(errors: ExceptionGroup[RecorderError]) -> RecorderError:
    """The first error of a group of groups."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


class App:
    """The recorder of one database and one broker."""

    def __init__(self, loaded: Loaded, stop: asyncio.Event) -> None:
        self._loaded = loaded
        self._settings = loaded.settings
        self._broker_origin = loaded.origins["broker.url"]
        self._stop = stop
        self._instance = f"{socket.gethostname()}:{os.getpid()}"
        self._started_at = to_datetime(now())
        self._per_second = 0.0
        self._addresses = loaded.settings.broker.new_addresses()
        self._large = asyncio.Lock()
        """Held while a large message or reply is in memory."""
        self._calls = CallMetrics()
        self._tracer = open_tracer(os.environ)
        self.status = RecorderStatus()

    async def run(self) -> None:
        """
        Record, and reply to requests, until `stop` is set.

        Raises:
            RecorderError: An error that ends the process, with its `exit_code`.
        """
        if not self._settings.rpc.permissions:
            log.info("everyone_may_ask_everything", setting="rpc.permissions")
        url = self._settings.broker.url.get_secret_value()
        if is_exposed(url):
            log.warning("broker_connection_not_encrypted", url=redacted(url), use="amqps://")
        async with Watchdog(ServiceManager(os.environ), self.status, now, self._stop) as pulse:
            await with_store(self._loaded, now, partial(self._run_on, pulse))
        await asyncio.to_thread(self._tracer.close)
        log.info("stopped", **self._summary())

    async def _run_on(self, pulse: Watchdog, store: Store) -> None:
        reporter = asyncio.create_task(self._report())
        try:
            with pulse.watching(store.respond):
                await self._run_monitored(store)
        finally:
            reporter.cancel()

    async def _run_monitored(self, store: Store) -> None:
        listen = self._settings.http.listen
        async with monitored(listen, self.status, self._calls, store.health, now):
            await self._run_parts(store)

    async def _run_parts(self, store: Store) -> None:
        """Run both parts concurrently; an error that ends one of them ends the other."""
        recording = Recording(
            broker=self._settings.broker,
            prefetch=self._settings.ingest.prefetch,
            addresses=self._addresses,
            repository=store.repository,
            dead_letters=store.dead_letters,
            status=self.status,
            tracer=self._tracer,
            clock=now,
            large=self._large,
            stop=self._stop,
        )
        count = DeadLetterCount()
        answering = Answering(
            broker=self._settings.broker,
            concurrency=self._settings.rpc.concurrency,
            addresses=self._addresses,
            dispatcher=self._dispatcher(store.archive, count),
            dead_letters=count,
            outbox=store.outbox,
            status=self.status,
            tracer=self._tracer,
            clock=now,
            stop=self._stop,
        )
        failure: RecorderError | None = None
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(store.maintain(self._stop))
                parts.create_task(self._supervised("recording", recording))
                parts.create_task(self._supervised("answering", answering))
        except* RecorderError as errors:
            failure = _first(errors)
        # Python before 3.11.4 wraps an error raised inside `except*` in another group.
        if failure is not None:
            raise failure

    def _dispatcher(self, archive: Archive, count: DeadLetterCount) -> Dispatcher:
        return Dispatcher(
            archive=archive,
            permissions=Permissions(self._settings.rpc.permissions),
            activity=self._activity,
            document=document,
            calls=self._calls,
            large=self._large,
            dead_letters=count,
        )

    async def _supervised(self, name: str, part: Part) -> None:
        await supervise(
            part,
            name=name,
            address=redacted(self._settings.broker.url.get_secret_value()),
            origin=self._broker_origin,
            stop=self._stop,
        )

    def _activity(self) -> Activity:
        status = self.status
        return Activity(
            __version__,
            status.state.value,
            self._started_at,
            status.stored,
            status.duplicates,
            status.dead_letters.total(),
            self._per_second,
            round(status.lag_seconds(now()), 3),
            self._instance,
        )

    async def _report(self) -> None:
        while True:
            before = self.status.stored
            await asyncio.sleep(_SUMMARY_SECONDS)
            self._per_second = round((self.status.stored - before) / _SUMMARY_SECONDS, 1)
            log.info("summary", per_second=self._per_second, **self._summary())

    def _summary(self) -> dict[str, object]:
        status = self.status
        return {
            "state": status.state.value,
            "stored": status.stored,
            "duplicates": status.duplicates,
            "dead_lettered": status.dead_letters.total(),
            "batches": status.batches,
        }
