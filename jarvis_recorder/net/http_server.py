"""The common part of the HTTP servers: listening sockets and bounds; signals are not handled."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from jarvis_recorder.errors import AddressUnavailable, ConfigurationError
from jarvis_recorder.net.connection_limits import Bounded
from jarvis_recorder.net.listen_address import host_and_port

_NOT_THERE_YET: Final = (errno.EADDRNOTAVAIL, socket.EAI_AGAIN)


class HttpServer(uvicorn.Server):
    """A server that leaves signals to the process, and closes connections that take too long."""

    def __init__(self, application: Any, protocol: type[Bounded], **options: Any) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                **options,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        # uvicorn's `callback_notify` uses the wall clock, and pauses after that is set back.
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Bounded):
                    connection.close_if_late(now)
        return await super().on_tick(counter)


@contextlib.contextmanager
def listening(
    setting: str, address: str, hint: str = "name another HOST:PORT"
) -> Iterator[socket.socket]:
    """
    Yield a socket that listens on the address in a setting.

    Raises:
        AddressUnavailable: No interface has the address, or the name cannot be looked up now.
        ConfigurationError: The address cannot be used; the message ends with the hint.
    """
    host, port = host_and_port(address)
    try:
        family, *_, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(found, family=family)
    except OSError as error:
        # Only these two come right by themselves: the network is still being set up.
        kind = AddressUnavailable if error.errno in _NOT_THERE_YET else ConfigurationError
        raise kind(
            f"{setting}: cannot listen on {address}: {error.strerror or error}: {hint}"
        ) from None
    with listener:
        yield listener
