"""Recording into a storage that does not answer: a frozen server, or one that waits for its standby."""

import asyncio
from collections.abc import Callable

import aio_pika
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from yarl import URL

from jarvis_recorder.broker import connection
from jarvis_recorder.broker.session import open_session
from jarvis_recorder.config.settings import BrokerSettings
from jarvis_recorder.daemon import recording as recording_module
from jarvis_recorder.daemon.recording import Recording
from jarvis_recorder.ingest import intake as intake_module
from jarvis_recorder.ingest import recorder as recorder_module
from jarvis_recorder.ingest import slow_start
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.telemetry.status import RecorderStatus, State
from jarvis_recorder.telemetry.tracing import NoopTracer
from tests.support.fakes import FakeIndex, FakeRepository
from tests.support.proxy import SwallowingProxy
from tests.support.publisher import EVENT_KEY, event, publish

pytestmark = pytest.mark.broker

SNAPSHOT = {"snapshot": {"nodes": ["x" * 90] * 2_000}}


class Recorded:
    """A recording into a storage that hangs while its disk does; one large message waits for it."""

    def __init__(self, url: str, heartbeat: int) -> None:
        self.url = url
        self.storage = FakeRepository()
        self.status = RecorderStatus()
        self.stop = asyncio.Event()
        self.recording = Recording(
            broker=BrokerSettings(url=SecretStr(url), heartbeat=heartbeat),
            prefetch=100,
            addresses=Addresses(url),
            repository=self.storage,
            dead_letters=FakeIndex(),
            status=self.status,
            tracer=NoopTracer(),
            clock=lambda: 0,
            large=asyncio.Lock(),
            stop=self.stop,
        )

    def attempt(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.recording.attempt())

    async def ends(self, attempt: asyncio.Task[None]) -> None:
        """Make sure that the attempt ends without an error, and before a service manager kills it."""
        async with asyncio.timeout(30):
            await attempt

    async def failures(self) -> list[int]:
        """Return how often each snapshot in the queue has failed."""
        async with await aio_pika.connect(self.url, timeout=60) as connection:
            channel = await connection.channel()
            queue = await channel.get_queue("jarvis.recorder.snapshots", ensure=False)
            found = []
            while (message := await queue.get(fail=False)) is not None:
                found.append(int(str(message.headers.get("x-delivery-count", 0))))
            return found


@pytest.fixture
async def recorded(amqp_url, monkeypatch) -> Callable[[int], Recorded]:
    """The large message fills the intake."""
    monkeypatch.setattr(slow_start, "_KEPT_BYTES", 50_000)
    monkeypatch.setattr(intake_module, "MAX_HELD_BYTES", 50_000)
    async with open_session(Addresses(amqp_url), "declare"):
        pass
    return lambda heartbeat: Recorded(amqp_url, heartbeat)


async def until(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


async def test_a_hanging_commit_costs_a_large_message_one_failed_delivery(recorded, monkeypatch):
    """Not one for each reply of the broker that waits behind the paused flow, too long for it."""
    monkeypatch.setattr(connection, "_REPLY_SECONDS", 3.0)
    recorded = recorded(2)
    await publish(recorded.url, ("cluster.snapshot", SNAPSHOT, {"message_id": "large"}))
    recorded.storage.disk.clear()

    attempt = recorded.attempt()
    await until(lambda: recorded.status.state is State.STORAGE_UNAVAILABLE, "it is reported")
    await until(lambda: not recorded.status.connected, "the session has ended")
    assert await recorded.failures() == [1]
    assert not attempt.done(), "no other session begins before the storage answers"

    recorded.storage.disk.set()
    await recorded.ends(attempt)
    assert [record.message_id for record in recorded.storage.stored] == ["large"]


@pytest.mark.parametrize("attached", [False, True])
async def test_it_stops_behind_a_paused_flow(recorded, monkeypatch, attached):
    monkeypatch.setattr(recording_module, "_REPLY_SECONDS", 0.5)
    recorded = recorded(60)
    if attached:
        attempt = recorded.attempt()
        await until(lambda: recorded.status.attached, "it is attached")
    recorded.storage.disk.clear()
    await publish(recorded.url, ("cluster.snapshot", SNAPSHOT, {"message_id": "large"}))
    if not attached:
        attempt = recorded.attempt()
    await until(lambda: recorded.storage.under_way, "it is being stored")

    with capture_logs() as logs:
        recorded.stop.set()
        await recorded.ends(attempt)

    assert [line["event"] for line in logs] == ["stopped_without_storage"]


@pytest.mark.parametrize("attached", [False, True])
async def test_a_stop_without_the_brokers_replies_is_not_blamed_on_the_storage(
    amqp_url, monkeypatch, attached
):
    monkeypatch.setattr(recording_module, "_REPLY_SECONDS", 0.5)
    address = URL(amqp_url)
    proxy = SwallowingProxy(address.port)
    attach = Recording._attach
    asked = asyncio.Event()

    async def attach_in_vain(*given):
        proxy.swallowing = True
        asked.set()
        return await attach(*given)

    if not attached:
        monkeypatch.setattr(Recording, "_attach", attach_in_vain)
    async with proxy as port:
        through = Recorded(str(address.with_host("127.0.0.1").with_port(port)), 60)
        attempt = through.attempt()
        await until(lambda: through.status.attached or asked.is_set(), "it is attached, or asks")
        proxy.swallowing = True

        with capture_logs() as logs:
            through.stop.set()
            await through.ends(attempt)

    assert [line["event"] for line in logs] == ["stopped_without_reply"]


async def test_it_stops_while_it_waits_for_the_storage(recorded, monkeypatch):
    monkeypatch.setattr(recorder_module, "HOLD_SECONDS", 0.01)
    monkeypatch.setattr(recorder_module, "_LEAST_PATIENCE_SECONDS", 0.01)
    recorded = recorded(60)
    recorded.storage.disk.clear()
    await publish(recorded.url, (EVENT_KEY, event(1), {"message_id": "small"}))
    attempt = recorded.attempt()
    await until(lambda: recorded.status.state is State.STORAGE_UNAVAILABLE, "it hangs")
    await until(lambda: not recorded.status.connected and recorded.storage.under_way, "it waits")

    recorded.stop.set()
    await recorded.ends(attempt)
