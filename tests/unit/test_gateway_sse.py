"""Pages that look: how many, for how long, and what waits for them; clock and client steered."""

import asyncio
import tracemalloc
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from jarvis_recorder.client import EventRecorded, RecorderClient
from jarvis_recorder.errors import ConfigurationError, RecorderError
from jarvis_recorder.gateway import sse as module
from jarvis_recorder.gateway.sse import Live
from jarvis_recorder.wire.rpc.results import StoredEvent
from jarvis_recorder.wire.times import to_datetime

NOW = to_datetime(1_767_225_600_000_000)
EVENT = StoredEvent(
    1, None, NOW, False, "alert", "critical", "monitor", "pve", "x" * 1_000, None, False, None, None, None, NOW,
)  # fmt: skip


class Browser:
    """One that opens a page, and reads what comes only while it is told to."""

    def __init__(self, live: Live, caller: str = "reader", seconds: float = 604_800.0) -> None:
        self._seconds = seconds
        self.read = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self._left = asyncio.Event()
        self.page = asyncio.create_task(self._look(live, caller))

    async def _look(self, live: Live, caller: str) -> None:
        await live.page(caller, self._seconds)({}, self._receive, cast(Any, self._send))

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


def tell(live: Live) -> None:
    """Send an event to the pages, as one that was recorded by a request."""
    live._put(module._notification(EventRecorded(EVENT)))


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_page_that_reads_nothing_hears_later_that_it_missed_something(live, monkeypatch):
    monkeypatch.setattr(module, "_BEHIND_SECONDS", 0.01)
    slow, other = Browser(live), Browser(live)
    other.read.set()
    await until(lambda: slow.sent and other.sent)

    for hundreds in range(1, 11):
        for _ in range(100):
            tell(live)
        await until(lambda: other.seen == hundreds * 100)  # noqa: B023 - waited for at once
    assert sum(page._waiting_bytes for page in live._pages) == 0
    slow.read.set()
    await until(lambda: resyncs(slow) == 2)
    tell(live)
    await until(lambda: slow.seen == 1 and other.seen == 1_001)

    assert resyncs(other) == 1
    await leave([slow, other])


async def test_of_what_is_too_much_at_once_a_page_hears_once_and_stays(live, monkeypatch):
    """A batch of ten thousand events is more than any page takes: all would come again at once."""
    monkeypatch.setattr(module, "_BEHIND_SECONDS", 0.01)
    (page,) = await opened(live, "reader")
    page.read.set()
    await until(lambda: len(page.sent) == 2)
    for _ in range(3_000):
        tell(live)
    await until(lambda: resyncs(page) == 2)
    tell(live)
    await until(lambda: page.seen == 1)

    assert resyncs(page) == 2
    assert not page.page.done()
    await page.leave()


async def opened(live, *callers):
    pages = []
    for caller in callers:
        pages.append(Browser(live, caller))
        await until(lambda: pages[-1].sent)
    return pages


async def test_the_oldest_page_of_a_caller_gives_way_to_the_newest(live, monkeypatch):
    monkeypatch.setattr(module, "_MOST_OF_ONE", 2)
    pages = await opened(live, "reader", "operator", "reader", "reader")
    await until(pages[0].page.done)

    assert [page.page.done() for page in pages] == [True, False, False, False]
    await leave(pages)


async def test_where_there_are_too_many_pages_one_of_who_has_most_gives_way(live, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PAGES", 4)
    pages = await opened(live, "ada", "reader", "reader", "reader", "operator")
    await until(pages[1].page.done)

    assert [page.page.done() for page in pages] == [False, True, False, False, False]
    await leave(pages)


async def leave(pages):
    for page in pages:
        await page.leave()


async def test_what_waits_for_many_pages_is_kept_once(live):
    pages = await opened(live, *["reader"] * 20)
    tracemalloc.start()
    try:
        for _ in range(700):
            tell(live)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert not any(page.page.done() for page in pages)
    assert kept < 4 * 1024 * 1024
    await leave(pages)


async def test_what_has_gathered_goes_out_in_small_pieces(live):
    (page,) = await opened(live, "reader")
    for _ in range(500):
        tell(live)
    page.read.set()
    await until(lambda: page.seen == 500)

    assert max(len(message.get("body", b"")) for message in page.sent) < 70_000
    await page.leave()


async def test_a_page_has_to_come_again_now_and_then(live, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_SECONDS", 0.05)
    page = Browser(live)
    page.read.set()

    await asyncio.wait_for(page.page, 60)

    assert page.sent[0]["status"] == 200


async def test_a_page_ends_with_its_token(live):
    page, later = Browser(live, seconds=0.05), Browser(live)
    page.read.set()

    await asyncio.wait_for(page.page, 60)

    assert page.sent[0]["status"] == 200
    assert not later.page.done()
    await later.leave()


class Subscriptions:
    """A client whose subscriptions end as the test says."""

    def __init__(self) -> None:
        self.gaps: list[Any] = []
        self.errors: asyncio.Queue[RecorderError] = asyncio.Queue()

    @asynccontextmanager
    async def tail(self, *, on_gap: Any) -> Any:
        self.gaps.append(on_gap)
        yield self._wait()

    notifications = tail

    async def _wait(self) -> Any:
        raise await self.errors.get()
        yield


def resyncs(page):
    return sum(
        message.get("body", b"").count(b"event: resync\ndata: {}\n\n") for message in page.sent
    )


async def test_a_page_hears_where_it_may_have_missed_something(monkeypatch):
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0)
    client = Subscriptions()
    live = Live(cast(RecorderClient, client))
    page = Browser(live)
    page.read.set()
    await until(lambda: resyncs(page) == 1)  # at its start

    running = asyncio.create_task(live.run())
    await until(lambda: resyncs(page) == 3)  # the gateway has begun to listen
    for on_gap in client.gaps:
        on_gap()
    await until(lambda: resyncs(page) == 5)
    client.errors.put_nowait(ConfigurationError("refused"))
    await until(lambda: resyncs(page) == 6)

    running.cancel()
    await page.leave()
