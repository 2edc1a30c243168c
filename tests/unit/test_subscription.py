"""Subscriptions: what waits for the reader, and who else has a turn; broker and reader steered."""

import asyncio
import gzip
import sys
import threading
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jarvis_recorder.client import subscription as module
from jarvis_recorder.client.subscription import Subscription
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.wire.amqp.delivery import Delivery
from tests.support.amqp_bytes import delivery
from tests.support.fakes import FakeFlow

MIB = 1024 * 1024
SMALL = b"{}"
MANY_VALUES = b"[" + b"0," * 500 + b"0]"
LARGE = gzip.compress(b"[" + b"0," * 10_000 + b"0]")


class Reader(FakeFlow):
    """The reader of a connection, given deliveries by the test, and the end of the connection."""

    lost: asyncio.Future[None]

    def deliver_to(self, _: int, sink: Any, most_bytes: int = sys.maxsize) -> None:
        self.sink, self.most_bytes = sink, most_bytes

    def deliver(self, *bodies: bytes) -> None:
        self.sink([of(body, tag) for tag, body in enumerate(bodies, 1)])


def of(body: bytes, tag: int = 1) -> Delivery:
    return delivery(body)._replace(
        tag=tag, exchange=b"jarvis", routing_key=b"cluster.event.alert.error"
    )


class Channel:
    """A channel that accepts everything."""

    number = 1

    async def queue_declare(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(queue="q")

    async def accept(self, *_: Any, **__: Any) -> None:
        pass

    queue_bind = basic_consume = basic_ack = accept


@pytest.fixture
def reader(monkeypatch):
    reader = Reader()

    async def channel(*, prefetch: int) -> Channel:
        return Channel()

    @asynccontextmanager
    async def open_link(*_: Any, **__: Any) -> Any:
        reader.lost = lost = asyncio.get_running_loop().create_future()
        yield SimpleNamespace(reader=reader, lost=lost, channel=channel)

    monkeypatch.setattr(module, "open_link", open_link)
    return reader


def subscribed(read: Any, on_gap: Any = None) -> Subscription[Any]:
    return Subscription(cast(Any, None), ["cluster.event.#"], read, Tls(), on_gap)


@asynccontextmanager
async def turns():
    """Count the turns that another task has meanwhile."""
    count = [0]

    async def take_turns() -> None:
        while True:
            count[0] += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    try:
        yield count
    finally:
        other.cancel()


async def test_other_tasks_have_their_turn_between_messages_that_are_there_already(reader):
    async with subscribed(lambda one: [one.tag]) as subscription, turns() as count:
        reader.deliver(*[SMALL] * 100)

        assert [await anext(subscription) for _ in range(100)] == [*range(1, 101)]
        assert count[0] >= 100


async def test_other_tasks_have_their_turn_within_a_batch(reader):
    async with subscribed(lambda _: range(10_000)) as subscription, turns() as count:
        reader.deliver(SMALL)

        assert [await anext(subscription) for _ in range(10_000)] == [*range(10_000)]
        assert count[0] >= 50


@pytest.mark.parametrize("slow", [LARGE, MANY_VALUES], ids=["large", "many values"])
async def test_what_takes_long_is_decoded_in_a_thread_and_in_its_order(reader, slow):
    def read(one: Delivery) -> list[tuple[int, bool]]:
        return [(one.tag, threading.current_thread() is threading.main_thread())]

    async with subscribed(read) as subscription:
        reader.deliver(SMALL, slow, SMALL)

        assert [await anext(subscription) for _ in range(3)] == [(1, True), (2, False), (3, True)]


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
async def test_several_tasks_that_read_get_each_value_once(reader, body):
    def read(one: Delivery) -> list[tuple[int, int]]:
        return [(one.tag, number) for number in range(100)]

    heard: list[tuple[int, int]] = []

    async def hear() -> None:
        async for value in subscription:
            heard.append(value)
            await asyncio.sleep(0)

    async with subscribed(read) as subscription:
        readers = [asyncio.create_task(hear()) for _ in range(3)]
        await asyncio.sleep(0)
        reader.deliver(*[body] * 10)
        async with asyncio.timeout(60):
            while len(heard) < 1_000:
                await asyncio.sleep(0.001)
        await subscription.aclose()
        await asyncio.wait_for(asyncio.gather(*readers), 60)

    assert sorted(heard) == [(tag, number) for tag in range(1, 11) for number in range(100)]


async def test_a_large_message_that_cannot_be_read_is_skipped(reader):
    def read(one: Delivery) -> list[int]:
        if one.tag == 1:
            raise ValueError
        return [one.tag]

    async with subscribed(read) as subscription:
        reader.deliver(LARGE, LARGE)

        assert (await anext(subscription), subscription.skipped) == (2, 1)


async def test_a_reader_that_gives_up_loses_no_large_message(reader):
    begun, may_end = threading.Event(), threading.Event()

    def read(one: Delivery) -> list[int]:
        begun.set()
        assert may_end.wait(60)
        return [one.tag]

    async with subscribed(read) as subscription:
        reader.deliver(LARGE, LARGE)
        first = asyncio.create_task(anext(subscription))
        await asyncio.to_thread(begun.wait, 60)
        first.cancel()
        await asyncio.wait({first})
        may_end.set()

        assert first.cancelled()
        assert [await anext(subscription), await anext(subscription)] == [1, 2]


async def test_while_much_waits_nothing_more_is_taken_from_the_broker(reader):
    async with subscribed(lambda one: [one.tag]) as subscription:
        reader.deliver(*[bytes(MIB)] * 15)
        assert reader.effects == []
        reader.deliver(bytes(MIB), bytes(MIB))
        assert reader.effects == ["pause"]

        await anext(subscription)
        await anext(subscription)
        assert reader.effects == ["pause", "resume"]


async def test_what_arrives_as_it_is_closed_is_dropped_and_holds_up_nothing(reader):
    subscription = subscribed(lambda one: [one.tag])
    async with subscription:
        reader.deliver(*[bytes(MIB)] * 17)
        await subscription.aclose()
        reader.deliver(*[bytes(MIB)] * 17)

    assert reader.effects == ["pause", "resume"]
    assert await anext(subscription, None) is None


async def test_a_body_larger_than_any_record_is_not_even_kept(reader):
    async with subscribed(lambda one: [one.tag]):
        assert reader.most_bytes == 16 * MIB


@pytest.mark.parametrize("entered", [True, False])
async def test_a_gap_is_told_of_between_what_was_heard_before_it_and_after(reader, entered):
    effects: list[Any] = []
    subscription = subscribed(lambda one: [one.tag], lambda: effects.append("gap"))
    if entered:
        await subscription.__aenter__()

    async def read() -> None:
        async for tag in subscription:
            effects.append(tag)  # noqa: PERF401 - each as it comes

    async def until(*expected: Any) -> None:
        async with asyncio.timeout(60):
            while effects != [*expected]:
                await asyncio.sleep(0.001)

    reading = asyncio.create_task(read())
    async with asyncio.timeout(60):
        while subscription._channel is None:
            await asyncio.sleep(0.001)
    reader.deliver(SMALL)
    reader.lost.set_result(None)
    await until(1, "gap")
    reader.deliver(SMALL)
    await until(1, "gap", 1)
    reader.lost.set_result(None)
    await until(1, "gap", 1, "gap")

    await subscription.aclose()
    await reading
    assert effects == [1, "gap", 1, "gap"]
