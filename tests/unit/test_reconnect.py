"""A client's connection, and a part of the recorder, after a refusal; the broker is steered."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jarvis_recorder.broker.supervisor import supervise
from jarvis_recorder.client import reconnect as client_module
from jarvis_recorder.client import subscription as subscription_module
from jarvis_recorder.client.reconnect import ReconnectingConnection
from jarvis_recorder.client.subscription import Subscription
from jarvis_recorder.errors import (
    BrokerUnavailable,
    ConfigurationError,
    NotConfirmed,
    RecorderError,
    RecorderUnavailable,
)
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.net.tls import Tls

pytestmark = pytest.mark.long

ADDRESSES = Addresses("amqp://guest:guest@127.0.0.1:1/")
REFUSED = ConfigurationError("wrong user or password")
AWAY = BrokerUnavailable("it is away")
NO_EXCHANGE = RecorderUnavailable("no recorder has ever run on this broker")
PATIENCE_SECONDS = 60.0


class Broker:
    """A broker that takes a connection, or ends the attempt as `obstacle` says."""

    def __init__(self) -> None:
        self.obstacle: RecorderError | None = None
        self.attempts = 0
        self._lost: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def open_link(self, *_: Any, **__: Any) -> Any:
        self.attempts += 1
        if self.obstacle is not None:
            raise self.obstacle
        lost = asyncio.get_running_loop().create_future()
        self._lost.append(lost)
        yield SimpleNamespace(lost=lost, reader=None)

    def cut(self) -> None:
        self._lost.pop().set_result(None)


@pytest.fixture
def broker(monkeypatch):
    broker = Broker()

    async def opened(*_: Any) -> Any:
        return object()

    for module in (client_module, subscription_module):
        monkeypatch.setattr(module, "open_link", broker.open_link)
    monkeypatch.setattr(client_module, "open_rpc_channel", opened)
    monkeypatch.setattr(client_module, "open_record_publisher", opened)
    monkeypatch.setattr(subscription_module, "_consume", opened)
    return broker


def connection() -> ReconnectingConnection:
    return ReconnectingConnection(ADDRESSES, "test", Tls())


async def connected(to: ReconnectingConnection, seconds: float = PATIENCE_SECONDS) -> Any:
    return await to.connected(asyncio.get_running_loop().time() + seconds)


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("obstacle", [REFUSED, AWAY])
async def test_what_prevents_the_first_connection_is_raised_at_once(broker, obstacle):
    broker.obstacle = obstacle

    with pytest.raises(type(obstacle), match=str(obstacle)):
        await connection().__aenter__()

    assert broker.attempts == 1


async def test_a_refusal_after_a_loss_is_raised_and_the_connection_comes_back(broker):
    async with connection() as kept:
        broker.obstacle = REFUSED
        broker.cut()
        for _ in range(3):
            with pytest.raises(ConfigurationError, match="wrong user or password"):
                await connected(kept)

        broker.obstacle = None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await connected(kept)
                    break
                except ConfigurationError:
                    # The attempt that was under way.
                    pass


async def test_one_who_waits_too_short_for_the_next_attempt_gets_the_refusal_too(broker):
    async with connection() as kept:
        broker.obstacle = REFUSED
        broker.cut()
        await until(lambda: broker.attempts == 3)

        with pytest.raises(ConfigurationError, match="wrong user or password"):
            await connected(kept, 0)


async def test_a_refusal_of_before_is_no_reason_while_the_broker_is_away(broker):
    async with connection() as kept:
        broker.obstacle = REFUSED
        broker.cut()
        await until(lambda: broker.attempts == 2)
        broker.obstacle = AWAY
        await until(lambda: broker.attempts == 4)

        with pytest.raises(BrokerUnavailable, match="not come back in time"):
            await connected(kept, 0)


@pytest.mark.parametrize("obstacle", [REFUSED, AWAY, NO_EXCHANGE])
async def test_a_subscription_that_worked_goes_on_after_a_refusal(broker, monkeypatch, obstacle):
    waiting = asyncio.Event()

    class Arrivals:
        """None arrive before the connection is lost."""

        def __init__(self, _: Any) -> None:
            self._end = asyncio.Event()
            self.put_end = self.close = self._end.set

        async def next(self) -> None:
            waiting.set()
            await self._end.wait()

    monkeypatch.setattr(subscription_module, "_Arrivals", Arrivals)
    async with Subscription(ADDRESSES, ["recorder.#"], cast(Any, None), Tls()) as subscription:
        reading = asyncio.create_task(anext(subscription, "closed"))
        await waiting.wait()
        broker.obstacle = obstacle
        broker.cut()
        await until(lambda: broker.attempts == 4)
        waiting.clear()
        broker.obstacle = None
        await asyncio.wait_for(waiting.wait(), PATIENCE_SECONDS)

        assert not reading.done()
    assert await asyncio.wait_for(reading, PATIENCE_SECONDS) == "closed"


@pytest.mark.parametrize("obstacle", [REFUSED, AWAY, NO_EXCHANGE])
async def test_what_prevents_the_first_subscription_is_raised_at_once(broker, obstacle):
    broker.obstacle = obstacle

    with pytest.raises(type(obstacle)):
        await anext(Subscription(ADDRESSES, [], cast(Any, None), Tls()))

    assert broker.attempts == 1


class Part:
    """A part that works at `None`, and else raises what stands there; at the end it stops."""

    def __init__(self, stop: asyncio.Event, *outcomes: RecorderError | None) -> None:
        self._stop = stop
        self._outcomes = list(outcomes)
        self.has_worked = False

    async def attempt(self) -> None:
        outcome = self._outcomes.pop(0)
        if not self._outcomes:
            self._stop.set()
        if outcome is not None:
            raise outcome
        self.has_worked = True


async def supervised(*outcomes: RecorderError | None) -> None:
    stop = asyncio.Event()
    working = supervise(Part(stop, *outcomes), name="it", address="", origin="", stop=stop)
    await asyncio.wait_for(working, PATIENCE_SECONDS)


async def test_a_part_that_has_worked_is_tried_again_after_a_refusal():
    await supervised(None, AWAY, REFUSED, REFUSED, None, REFUSED, None)


async def test_a_part_that_is_refused_before_it_has_worked_ends():
    with pytest.raises(ConfigurationError, match="wrong user or password"):
        await supervised(AWAY, AWAY, REFUSED, None)


async def test_any_other_error_ends_a_part_that_has_worked():
    with pytest.raises(NotConfirmed):
        await supervised(None, NotConfirmed("defect"), None)
