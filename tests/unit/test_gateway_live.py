"""Pages that look: how many, for how long, and what waits for them; clock and client steered."""

import asyncio
from typing import Any, cast

import pytest

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.gateway import live as module
from jarvis_recorder.gateway.live import Live
from jarvis_recorder.gateway.problems import Problem
from jarvis_recorder.wire.answers import StoredEvent
from jarvis_recorder.wire.times import to_datetime

NOW = to_datetime(1_767_225_600_000_000)
EVENT = StoredEvent(
    1, None, NOW, False, "alert", "critical", "monitor", "pve", "x" * 1_000, None, False, None, None, None, NOW,
)  # fmt: skip


class Browser:
    """One that opens a page, and reads what comes only while it is told to."""

    def __init__(self, live: Live) -> None:
        self.read = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self._left = asyncio.Event()
        self.page = asyncio.create_task(self._look(live))

    async def _look(self, live: Live) -> None:
        await live.page()({}, self._receive, cast(Any, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        await self.read.wait()

    @property
    def seen(self) -> int:
        return sum(message.get("body", b"").count(b"event: event") for message in self.sent)

    async def leave(self) -> None:
        self._left.set()
        await self.page


@pytest.fixture
def live():
    return Live(cast(RecorderClient, None))


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_page_that_reads_nothing_is_dropped_and_the_others_are_not(live):
    slow, other = Browser(live), Browser(live)
    other.read.set()
    await until(lambda: slow.sent and other.sent)

    for hundreds in range(1, 11):
        for _ in range(100):
            live.recorded(EVENT)
        await until(lambda: other.seen == hundreds * 100)  # noqa: B023 - waited for at once
    await asyncio.wait_for(slow.page, 10)

    assert not other.page.done()
    assert slow.seen == 0
    await other.leave()


async def test_there_are_only_so_many_pages(live, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PAGES", 2)
    pages = [Browser(live) for _ in range(2)]
    await until(lambda: all(page.sent for page in pages))

    with pytest.raises(Problem, match="2 pages are open"):
        live.page()

    await pages[0].leave()
    live.page()
    await pages[1].leave()


async def test_a_page_has_to_come_again_now_and_then(live, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_SECONDS", 0.05)
    page = Browser(live)
    page.read.set()

    await asyncio.wait_for(page.page, 10)

    assert page.sent[0]["status"] == 200
