"""The gateway's server: one process, until it is stopped."""

import asyncio
import socket
from typing import Final

import structlog

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin
from jarvis_recorder.config.settings import Settings
from jarvis_recorder.gateway.app import create
from jarvis_recorder.gateway.connection import Connection
from jarvis_recorder.net.http_server import HttpServer, listening
from jarvis_recorder.runtime.process import first_of, raise_first

log = structlog.get_logger(__name__)

_DRAIN_SECONDS: Final = 3
# A peer that acknowledges nothing for so long is gone, whatever its buffers still hold.
_STALLED_MILLISECONDS: Final = 30_000
_APP_ID: Final = "jarvis-recorder-gateway"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """
    Serve until `stop` is set; while the broker is away, each request waits for it.

    Raises:
        ConfigurationError: A password or secret is missing, or the address is not available.
        BrokerUnavailable: The broker cannot be reached at the start.
    """
    broker = settings.broker
    url, also, tls = broker.url.get_secret_value(), broker.also, broker.tls
    async with RecorderClient(url, also=also, app_id=_APP_ID, tls=tls) as client:
        application = create(client, DeadLetterAdmin(url, also=also, tls=tls), settings.gateway)
        with listening("gateway.listen", settings.gateway.listen) as listener:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MILLISECONDS)
            server = HttpServer(
                application,
                Connection,
                proxy_headers=bool(settings.gateway.trusted_proxies),
                forwarded_allow_ips=settings.gateway.trusted_proxies,
                timeout_graceful_shutdown=_DRAIN_SECONDS,
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
