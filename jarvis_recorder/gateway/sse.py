"""
Live updates for open dashboard pages, as server-sent events.

Source: server-sent events of the HTML standard. One subscription serves all pages, each record
is encoded once, and those that arrive within 50 ms are sent together. Nothing waits for a page: its
queue is bounded, and what is too much for it is dropped. A page is told to fetch again what it shows
(`resync`) when something was dropped for it, and when the gateway listens again after a loss. If the
gateway is too slow and the broker drops messages, pages are not notified (see `Subscription`).
`net.connection_limits` closes a page that stops reading.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterable, Awaitable, Callable, MutableMapping
from typing import Any, Final

import structlog
from fastapi import Response
from pydantic_core import to_json

from jarvis_recorder.client import (
    EventRecorded,
    EventReopened,
    EventResolved,
    IncidentChanged,
    Notification,
    PreferenceChanged,
    PreferenceDeleted,
    RecorderClient,
)
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.gateway.dependencies import disconnected
from jarvis_recorder.gateway.schemas import shaped
from jarvis_recorder.wire import records
from jarvis_recorder.wire.times import format_rfc3339

log = structlog.get_logger(__name__)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_TOGETHER_SECONDS: Final = 0.05
_SILENCE_SECONDS: Final = 15.0
_MOST_WAITING_BYTES: Final = 1024 * 1024
# The most that one send puts into a connection's own buffer; more waits here, where it is shared.
_MOST_TOGETHER_BYTES: Final = 64 * 1024
# So long a page that cannot keep up hears nothing: fetching again at once, it would soon fall behind
# again.
_BEHIND_SECONDS: Final = 2.0
_LONGEST_CONTENT: Final = 4_000
_AGAIN_SECONDS: Final = 2.0
_MOST_PAGES: Final = 200
_MOST_OF_ONE: Final = 50
# A token is verified only when a page connects, and may have been withdrawn since.
_LONGEST_SECONDS: Final = 3_600.0


class Live:
    """The open pages and the feed that is sent to them."""

    def __init__(self, client: RecorderClient) -> None:
        self._client = client
        self._pages: dict[_Page, None] = {}

    async def run(self) -> None:
        """Send published records and notifications to the pages, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(self._client.tail, _record))
            group.create_task(self._follow(self._client.notifications, _notification))

    async def _follow(self, subscribe: Callable[..., Any], write: Callable[[Any], bytes]) -> None:
        while True:
            try:
                async with subscribe(on_gap=self._resync) as subscription:
                    # Pages that came before this heard nothing yet.
                    self._resync()
                    await self._pass_on(subscription, write)
            except RecorderError as error:
                # At the start only: a subscription that worked reconnects by itself.
                log.warning("not_listening", error=str(error))
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _pass_on(
        self, subscription: AsyncIterable[Any], write: Callable[[Any], bytes]
    ) -> None:
        async for one in subscription:
            if self._pages:
                self._put(write(one))

    def _resync(self) -> None:
        self._put(_RESYNC)

    def _put(self, text: bytes) -> None:
        for page in self._pages:
            page.put(text)

    def page(self, caller: str, seconds: float) -> "LivePage":
        """
        Return the response that continues until the page disconnects, for so long at most.

        A new page is always served. If its caller has too many, the caller's oldest is ended; if
        there are too many in all, the oldest of the caller with the most.
        """
        return LivePage(caller, min(seconds, _LONGEST_SECONDS), self._pages)


class _Page:
    """The queue of one page; the encoded texts are shared by all pages."""

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_behind = False
        self._arrived = asyncio.Event()
        self._over = asyncio.Event()

    def put(self, text: bytes) -> None:
        """Let a text wait; where that is too much, all of it is replaced by one `resync`."""
        if self._is_behind:
            return
        self._waiting.append(text)
        self._waiting_bytes += len(text)
        self._arrived.set()
        if self._waiting_bytes > _MOST_WAITING_BYTES:
            self._waiting.clear()
            self._waiting_bytes = 0
            self._is_behind = True

    def end(self) -> None:
        self._over.set()

    async def ended(self) -> None:
        await self._over.wait()

    async def next(self) -> bytes:
        """Return the texts that have gathered, or a comment after a long silence."""
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                await self._arrived.wait()
        except TimeoutError:
            return b":\n\n"
        await asyncio.sleep(_TOGETHER_SECONDS)
        if self._is_behind:
            return await self._caught_up()
        gathered, size = [], 0
        while self._waiting and size < _MOST_TOGETHER_BYTES:
            gathered.append(self._waiting.popleft())
            size += len(gathered[-1])
        self._waiting_bytes -= size
        if not self._waiting:
            self._arrived.clear()
        return b"".join(gathered)

    async def _caught_up(self) -> bytes:
        await asyncio.sleep(_BEHIND_SECONDS)
        self._is_behind = False
        self._arrived.clear()
        return _RESYNC


class LivePage(Response):
    """Server-sent events until the page leaves or gives way, or its time is over."""

    media_type = "text/event-stream"

    def __init__(self, caller: str, seconds: float, pages: dict[_Page, None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["Content-Length"]
        self._caller = caller
        self._seconds = seconds
        self._pages = pages

    async def __call__(self, _: Any, receive: Receive, send: Send) -> None:
        _make_room(self._pages, self._caller)
        page = _Page(self._caller)
        self._pages[page] = None
        ends = [
            asyncio.ensure_future(self._send_all(page, send)),
            asyncio.ensure_future(disconnected(receive)),
            asyncio.ensure_future(page.ended()),
        ]
        try:
            await asyncio.wait(ends, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pages.pop(page, None)
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _send_all(self, page: _Page, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        # A proxy may hold the response back until it sees a first part of the body.
        begin = b"retry: 2000\n\n" + _RESYNC
        await send({"type": "http.response.body", "body": begin, "more_body": True})
        while True:
            body = await page.next()
            await send({"type": "http.response.body", "body": body, "more_body": True})


def _make_room(pages: dict[_Page, None], caller: str) -> None:
    of_each = Counter(page.caller for page in pages)
    if of_each[caller] < _MOST_OF_ONE:
        if len(pages) < _MOST_PAGES:
            return
        [(caller, _)] = of_each.most_common(1)
    oldest = next(page for page in pages if page.caller == caller)
    del pages[oldest]
    oldest.end()


def _sent(event: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event.encode(), to_json(data))


_RESYNC: Final = _sent("resync", {})


def _shown(answer: Any) -> dict[str, Any]:
    return shaped(answer).model_dump(mode="json", by_alias=True)


def _record(record: records.Record) -> bytes:
    """Return a record as it was published; it has no id before it is recorded."""
    body = record.body
    shown: dict[str, Any] = {"timestamp": format_rfc3339(record.timestamp)}
    match body:
        case records.Event():
            shown |= {
                "type": body.type,
                "severity": body.severity,
                "source": body.source,
                "node": body.node,
                "cluster": body.cluster or None,
                "summary": body.summary,
            }
        case records.Turn():
            shown |= {
                "sessionId": body.session_id,
                "role": body.role,
                "content": body.content[:_LONGEST_CONTENT],
            }
        case records.Snapshot():
            shown["cluster"] = body.cluster
    return _sent(record.kind.value, shown)


def _notification(notification: Notification) -> bytes:
    match notification:
        case EventRecorded(event):
            return _sent("event", _shown(event))
        case EventResolved(event):
            return _sent("resolved", _shown(event))
        case EventReopened(event):
            return _sent("reopened", _shown(event))
        case IncidentChanged(change, incident):
            return _sent("incident", {"change": change, **_shown(incident)})
        case PreferenceChanged(preference):
            return _sent("preference", _shown(preference))
        case PreferenceDeleted(key):
            return _sent("preference", {"key": key, "deleted": True})
