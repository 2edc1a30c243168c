"""The HTTP server for health and metrics."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from jarvis_recorder import __version__
from jarvis_recorder.monitoring.health import HealthCheck, is_ready
from jarvis_recorder.net.connection_limits import Bounded
from jarvis_recorder.net.http_server import HttpServer, listening

log = structlog.get_logger(__name__)

_DRAIN_SECONDS: Final = 1
_HINT: Final = 'name another HOST:PORT, or "" for no health and metrics over HTTP'
_MOST_BYTES: Final = 32 * 1024
_MOST_LINES: Final = 128


class _Connection(Bounded, H11Protocol):
    """
    A connection; above the limits the one that kept the server waiting longest is closed.

    Its parser is Python on the recorder's own event loop, and takes all that one read brought in
    one turn. So bytes and lines are bounded before it sees them: a field, a chunk and a pipelined
    request take a line or more each.
    """

    most = 32
    most_of_one_address = 16

    _bytes = 0
    _lines = 0

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        self._lines += data.count(b"\n")
        if self._bytes > _MOST_BYTES or self._lines > _MOST_LINES:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            super().data_received(data)

    def on_response_complete(self) -> None:
        self._bytes = self._lines = 0
        super().on_response_complete()


def application(
    checks: Callable[[], Sequence[HealthCheck]], measures: CollectorRegistry
) -> Starlette:
    """Return the application that serves `/livez`, `/readyz` and `/metrics`."""

    async def live(_: Request) -> Response:
        # Any response proves that the event loop runs.
        return JSONResponse({"alive": True, "version": __version__})

    async def ready(_: Request) -> Response:
        found = checks()
        ok = is_ready(found)
        body = {"ready": ok, "checks": [check._asdict() for check in found]}
        return JSONResponse(body, 200 if ok else 503, {"Cache-Control": "no-store"})

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(measures), headers={"Content-Type": content_type})

    return Starlette(
        routes=[Route("/livez", live), Route("/readyz", ready), Route("/metrics", metrics)]
    )


@contextlib.asynccontextmanager
async def serving(listen: str, answering: Starlette) -> AsyncIterator[None]:
    """
    Serve on this address while entered.

    Raises:
        ConfigurationError: The address is not available.
    """
    with listening("http.listen", listen, _HINT) as listener:
        server = HttpServer(
            answering,
            _Connection,
            h11_max_incomplete_event_size=_MOST_BYTES,
            proxy_headers=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        task = asyncio.create_task(server.serve(sockets=[listener]))
        host, port = listener.getsockname()[:2]
        log.info("health_served", host=host, port=port)
        try:
            yield
        finally:
            server.should_exit = True
            await asyncio.gather(task, return_exceptions=True)
