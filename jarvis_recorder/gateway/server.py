"""The gateway served: one process, until it is told to stop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import structlog
import uvicorn

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.client.dead_letters import DeadLetters
from jarvis_recorder.config import Settings
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.gateway.app import create
from jarvis_recorder.lifecycle import first_of, raise_first

log = structlog.get_logger(__name__)

_BACKLOG: Final = 512
_DRAIN_SECONDS: Final = 3
# A page that takes nothing for so long is gone, whatever still lies in the buffers for it.
_STALLED_MILLISECONDS: Final = 30_000
_APP_ID: Final = "jarvis-recorder-gateway"


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """
    Serve until `stop` is set; a broker that is away is waited for, request by request.

    Raises:
        ConfigurationError: A password or secret is missing, or the address cannot be had.
        BrokerUnavailable: The broker cannot be reached at the start.
    """
    url = settings.broker.url.get_secret_value()
    async with RecorderClient(url, app_id=_APP_ID) as client:
        application = create(client, DeadLetters(url), settings.gateway)
        with _listening(settings.gateway.listen) as listener:
            server = _Server(
                uvicorn.Config(
                    application,
                    http="httptools",
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    date_header=True,
                    timeout_graceful_shutdown=_DRAIN_SECONDS,
                )
            )
            live = asyncio.create_task(application.state.live.run())
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            log.info("serving", address=settings.gateway.listen)
            try:
                await first_of(stop, live, serving)
                await raise_first(live, serving)
            finally:
                live.cancel()
                server.should_exit = True
                await asyncio.gather(live, serving, return_exceptions=True)
    log.info("stopped")


@contextlib.contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]") or None, int(port), type=socket.SOCK_STREAM)
        listener = socket.create_server(found[0][4][:2], family=found[0][0], backlog=_BACKLOG)
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"gateway.listen: cannot listen on {address}: {error}; name another HOST:PORT"
        ) from None
    with listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MILLISECONDS)
        yield listener
