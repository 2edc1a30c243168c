"""Monitoring: health and metrics over HTTP, and the doctor."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from jarvis_recorder.monitoring.collector import Facts, registry
from jarvis_recorder.monitoring.health import HealthCheck, Storage, health_checks
from jarvis_recorder.monitoring.server import application, serving
from jarvis_recorder.monitoring.storage_probe import StorageProbe
from jarvis_recorder.ports import Clock, StorageHealth
from jarvis_recorder.telemetry.metrics import CallMetrics
from jarvis_recorder.telemetry.status import RecorderStatus


@contextlib.asynccontextmanager
async def monitored(
    listen: str,
    status: RecorderStatus,
    calls: CallMetrics,
    probe: Callable[[], Awaitable[StorageHealth]],
    clock: Clock,
) -> AsyncIterator[None]:
    """
    Probe the storage and serve health and metrics on this address while entered.

    If the address is empty, nothing is served or probed.

    Raises:
        ConfigurationError: The address is not available.
    """
    if not listen:
        yield
        return
    watch = StorageProbe(probe)

    def checks() -> Sequence[HealthCheck]:
        storage = Storage(watch.refusal, watch.silent_seconds, watch.health)
        return health_checks(status, storage, clock())

    facts = Facts(status=status, health=lambda: watch.health, checks=checks, clock=clock)
    watching = asyncio.create_task(watch.run())
    try:
        async with serving(listen, application(checks, registry(status, calls, facts))):
            yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
