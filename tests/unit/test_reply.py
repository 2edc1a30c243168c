"""The wait for a reply of the broker."""

import asyncio
from typing import Any

import pytest

from jarvis_recorder.broker import connection
from jarvis_recorder.broker.connection import Link
from jarvis_recorder.broker.delivery_reader import DeliveryReader

PATIENCE = 0.02


@pytest.fixture
async def link(monkeypatch):
    monkeypatch.setattr(connection, "_REPLY_SECONDS", PATIENCE)
    loop = asyncio.get_running_loop()
    no_connection: Any = None
    return Link(no_connection, DeliveryReader(loop=loop), loop.create_future())


async def answer(reply: asyncio.Event) -> str:
    await reply.wait()
    return "ok"


async def test_a_reply_that_never_comes_is_not_waited_for(link):
    with pytest.raises(TimeoutError):
        await link.reply(answer(asyncio.Event()))


async def test_the_time_does_not_count_while_the_flow_is_paused(link):
    """The reply waits in the socket, behind what no one reads."""
    reply = asyncio.Event()
    link.reader.pause()
    asking = asyncio.create_task(link.reply(answer(reply)))
    await asyncio.sleep(5 * PATIENCE)
    assert not asking.done()

    link.reader.resume()
    reply.set()
    assert await asking == "ok"


async def test_it_counts_again_once_the_flow_is_resumed(link):
    link.reader.pause()
    asking = asyncio.create_task(link.reply(answer(asyncio.Event())))
    await asyncio.sleep(5 * PATIENCE)
    link.reader.resume()

    with pytest.raises(TimeoutError):
        await asking


async def test_an_error_of_the_broker_is_raised_as_it_came(link):
    async def refuse() -> None:
        raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        await link.reply(refuse())
