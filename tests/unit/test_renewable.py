"""A channel that is replaced while it is in use."""

import asyncio
import contextlib
from typing import Any

import pytest

from jarvis_recorder.broker.renewable import RenewableChannel
from jarvis_recorder.errors import BrokerUnavailable


class Channels:
    """A link whose channels are numbers; they open and close while the events are set."""

    def __init__(self) -> None:
        self.opening = asyncio.Event()
        self.opening.set()
        self.closing = asyncio.Event()
        self.begun = 0
        self.closed: list[int] = []
        self.failures: list[Exception] = []
        link: Any = self
        open_one: Any = self._open_one
        self.renewable = RenewableChannel(link, open_one)

    async def _open_one(self) -> int:
        self.begun += 1
        number = self.begun
        await self.opening.wait()
        if self.failures:
            raise self.failures.pop()
        return number

    async def close_channel(self, channel: int) -> None:
        await self.closing.wait()
        self.closed.append(channel)

    async def use(self) -> Any:
        async with self.renewable.used() as channel:
            return channel


@pytest.fixture
async def channels():
    channels = Channels()
    await channels.renewable.open()
    return channels


async def given_up(channels: Channels) -> None:
    """Have a user give up while the next channel is being opened."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await channels.use()


async def turns_of_the_loop(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_user_that_gives_up_does_not_end_the_opening_of_the_next(channels):
    """With a channel that is closed on its way all requests in flight would be lost."""
    channels.renewable.renew(channels.renewable.current)
    channels.opening.clear()

    await given_up(channels)
    waiting = [asyncio.create_task(channels.use()) for _ in range(2)]
    await given_up(channels)
    channels.opening.set()

    assert await asyncio.gather(*waiting) == [2, 2]
    assert channels.begun == 2


async def test_the_next_is_ready_though_all_have_given_up(channels):
    channels.renewable.renew(channels.renewable.current)
    channels.opening.clear()

    await given_up(channels)
    channels.opening.set()
    await turns_of_the_loop(5)

    assert channels.renewable.current == 2
    assert await channels.use() == 2


async def test_no_user_waits_for_a_channel_to_close(channels):
    async with channels.renewable.used() as first:
        channels.renewable.renew(first)
        async with asyncio.timeout(60):
            assert await channels.use() == 2
        await turns_of_the_loop(5)
        assert channels.closed == []

    channels.closing.set()
    await turns_of_the_loop(5)
    assert channels.closed == [1]


async def test_after_one_that_cannot_be_opened_the_next_user_tries_again(channels):
    channels.renewable.renew(channels.renewable.current)
    channels.failures = [BrokerUnavailable("gone")]

    with pytest.raises(BrokerUnavailable):
        await channels.use()

    assert await channels.use() == 3
