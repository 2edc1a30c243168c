"""The queue of dead letters: what is read of each, and what is held of many; the broker steered."""

import asyncio
import sys
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jarvis_recorder.broker.dead_letter_queue import DeadLetterQueue
from jarvis_recorder.wire.amqp.delivery import Delivery
from tests.support.amqp_bytes import content_header, delivery
from tests.support.fakes import FakeFlow

KIB = 1024
MIB = 1024 * KIB
LARGE = {"header": "x" * 128 * KIB}


class Reader(FakeFlow):
    """The reader of a connection, which notes how much of a body it is to read."""

    close_reason = None

    def __init__(self) -> None:
        super().__init__()
        self.most_bytes: list[int] = []

    def deliver_to(self, _: int, sink: Any, most_bytes: int = sys.maxsize) -> None:
        self.take = sink
        self.most_bytes.append(most_bytes)

    def fetch_to(self, _: int, take: Any, most_bytes: int = sys.maxsize) -> None:
        self.take = take
        self.most_bytes.append(most_bytes)


class Broker:
    """A channel, and a broker with a queue of dead letters behind it."""

    number = 1
    server_version = (4, 0, 0)

    def __init__(self, *letters: Delivery) -> None:
        self.reader = Reader()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.left = list(letters)
        self.published: list[bytes] = []
        self.prefetched: list[int] = []

    async def basic_get(self, *_: Any, **__: Any) -> None:
        if self.left:
            self.reader.take(self.left.pop(0))

    async def basic_qos(self, *, prefetch_count: int, **_: Any) -> None:
        self.prefetched.append(prefetch_count)

    async def basic_consume(self, *_: Any, **__: Any) -> None:
        most = self.prefetched[-1]
        sent, self.left = self.left[:most], self.left[most:]
        asyncio.get_running_loop().call_soon(self.reader.take, sent)

    async def basic_cancel(self, *_: Any, **__: Any) -> None:
        pass

    async def basic_ack(self, *_: Any, **__: Any) -> None:
        pass

    async def publish(self, _: str, __: str, ___: bytes, body: bytes) -> None:
        self.published.append(body)


def opened(*letters: Delivery) -> tuple[Broker, DeadLetterQueue]:
    broker = Broker(*letters)
    link = SimpleNamespace(
        reader=broker.reader, lost=broker.lost, server_version=broker.server_version
    )
    given = cast(Any, broker)
    return broker, DeadLetterQueue(cast(Any, link), given, given, len(letters), 0.0)


def unread(**properties: Any) -> Delivery:
    """Return a dead letter with a body of 128 MiB that was not read."""
    return delivery(b"")._replace(header=content_header(128 * MIB, **properties))


async def test_what_is_held_of_many_is_bounded_by_their_headers_too():
    """A queue of them is bounded by their bodies alone, so a gigabyte of headers may be there."""
    letters = [delivery(b"x", number, headers=LARGE) for number in range(1_500)]
    broker, queue = opened(*letters)

    found, is_kept = await queue.find(lambda _: False)

    assert (found, is_kept) == (None, True)
    assert "pause" in broker.reader.effects
    assert broker.reader.effects[-1] == "resume"
    assert broker.prefetched[0] == 200
    assert max(broker.prefetched[1:]) * 128 * KIB <= 64 * MIB
    assert sum(broker.prefetched) == 1_500


async def test_of_what_the_broker_sends_also_what_is_not_kept_is_bounded():
    broker, queue = opened(*[unread()] * 1_000)

    await queue.find(lambda _: False)

    assert broker.prefetched[:3] == [200, 1, 1]


@pytest.mark.parametrize(
    "large",
    [delivery(b"x", headers=LARGE), delivery(bytes(MIB))],
    ids=["headers", "body"],
)
async def test_a_large_one_is_looked_at_in_a_thread(large):
    """One header may hold 65,000 fields."""
    _, queue = opened(delivery(b"x"), large)
    by_the_loop: list[bool] = []

    def fits(_: Delivery) -> bool:
        by_the_loop.append(threading.current_thread() is threading.main_thread())
        return False

    await queue.find(fits)

    assert by_the_loop == [True, False]


async def test_a_body_that_is_larger_than_any_recorded_is_read_only_to_be_published_again():
    broker, queue = opened(*[delivery(b"x")] * 5)

    assert await anext(queue.deliveries())
    assert await anext(queue.deliveries(whole=True))
    assert await queue.discard_next() is False  # it is put back
    await queue.find(lambda _: True)

    assert broker.reader.most_bytes == [16 * MIB, sys.maxsize, sys.maxsize, 16 * MIB]
    assert broker.published == [b"x"]


@pytest.mark.parametrize(("returns", "is_kept"), [(2, True), (12, True), (18, False)])
async def test_one_that_was_not_read_is_kept_as_it_is(returns, is_kept):
    """There is no body to publish again; the others are renewed as ever."""
    broker, queue = opened()

    assert await queue.keep(unread(headers={"x-delivery-count": returns})) is is_kept
    assert broker.published == []
    assert await queue.keep(delivery(b"other", headers={"x-delivery-count": 12}))
    assert broker.published == [b"other"]
