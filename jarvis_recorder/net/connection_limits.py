"""
Bounds on the number of an HTTP server's connections, and on the time that each may take.

uvicorn bounds neither the time for a head nor that for a body, and above a limit of its own it
sends every client a 503. Here the connection that has kept the server waiting longest is dropped
for the newest, which is served.
"""

import asyncio
import heapq
import resource
from http import HTTPStatus
from operator import itemgetter
from typing import Any, ClassVar, Final

from jarvis_recorder.net.listen_address import network_of

HEAD_SECONDS: Final = 10.0
BODY_SECONDS: Final = 30.0
_TAKING_SECONDS: Final = 60.0
"""The time for the peer to take a response, or the next piece of one."""
_MOST_UNSENT_BYTES: Final = 64 * 1024 * 1024


class Bounded(asyncio.Protocol):
    """
    A mixin for a uvicorn protocol: one connection out of a bounded number.

    uvicorn keeps the open ones in `connections` and closes those idle between two requests;
    `HttpServer` calls `close_if_late`.
    """

    most: ClassVar[int]
    most_of_one_address: ClassVar[int]

    # Attributes that both of uvicorn's protocols have.
    config: Any
    connections: Any
    cycle: Any
    flow: Any
    loop: Any
    timeout_keep_alive_task: Any
    transport: Any
    client: Any

    address = ""
    _since = 0.0
    stalled_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._since = self.loop.time()
        self.address = network_of(self.client[0]) if self.client else ""
        self._make_room()

    def data_received(self, data: bytes) -> None:
        if self.timeout_keep_alive_task is not None:
            self._since = self.loop.time()
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._since = self.loop.time()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()  # type: ignore[misc]

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled_since = self.loop.time()
        self._bound_unsent()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stalled_since = None

    @property
    def late_since(self) -> float | None:
        """The time since which the server waits for the peer; None while the server is at work."""
        if self.stalled_since is not None:
            return self.stalled_since
        if self._owes_a_head or self._owes_a_body or self.transport.is_closing():
            return self._since
        return None

    @property
    def _owes_a_head(self) -> bool:
        """True while no request is under way, even if the rest of a body is still unread."""
        return self.cycle is None or bool(self.cycle.response_complete)

    @property
    def _owes_a_body(self) -> bool:
        return bool(self.cycle.more_body) and not self.flow.read_paused

    def close_if_late(self, now: float) -> None:
        """Close the connection if the peer has exceeded its time."""
        since = self.late_since
        if since is None:
            return
        waited = now - since
        if self.stalled_since is not None or self.transport.is_closing():
            if waited > _TAKING_SECONDS:
                self.drop()
        elif self._owes_a_head:
            # No status: a browser connecting ahead would take it for the reply to its next request.
            if waited > HEAD_SECONDS:
                self.transport.close()
        elif waited > BODY_SECONDS:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT)

    def refuse(self, status: HTTPStatus) -> None:
        """Close the connection, with this status if a response is awaited and none has begun."""
        awaited = self._owes_a_head or not self.cycle.response_started
        if awaited and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                % (status.value, status.phrase.encode())
            )
        self.transport.close()

    def drop(self) -> None:
        """Close the connection at once and discard unsent data."""
        # uvicorn notices only in the next turn of the loop; until then it would count.
        self.connections.discard(self)
        self.transport.abort()

    @property
    def is_known(self) -> bool:
        """False while the client of the current request has not shown a valid token."""
        return True

    @property
    def rank(self) -> tuple[bool, float] | None:
        """The place in the order in which connections are dropped; None for one that is kept."""
        if (late_since := self.late_since) is not None:
            return False, late_since
        return None if self.is_known else (True, self._since)

    def _make_room(self) -> None:
        # At most half of the file descriptors: the others are for the broker and the page's files.
        most = min(self.most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        # Behind trusted proxies all clients may share one address: the proxies have to bound them.
        most_of_one = most if self.config.proxy_headers else self.most_of_one_address
        if len(self.connections) > most_of_one:
            mine = [one for one in self.connections if one.address == self.address]
            self._let_give_way(mine, most_of_one)
        self._let_give_way(self.connections, most)

    def _let_give_way(self, among: Any, most: int) -> None:
        if len(among) <= most:
            return
        ranked = [(one.rank, one) for one in among if one is not self]
        giving_way = [(rank, one) for rank, one in ranked if rank is not None]
        if not giving_way:
            self.drop()
        # Also some for the next connections, since each time all are compared.
        for _, one in heapq.nsmallest(1 + most // 16, giving_way, key=itemgetter(0)):
            one.drop()

    def _bound_unsent(self) -> None:
        stalled = [one for one in self.connections if one.stalled_since is not None]
        stalled.sort(key=lambda one: one.stalled_since, reverse=True)
        unsent = sum(one.transport.get_write_buffer_size() for one in stalled)
        while unsent > _MOST_UNSENT_BYTES and stalled:
            longest = stalled.pop()
            unsent -= longest.transport.get_write_buffer_size()
            longest.drop()
