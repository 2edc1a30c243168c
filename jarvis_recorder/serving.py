"""What every HTTP server of ours is: a socket of its own, and no say in signals or logs."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from jarvis_recorder.endpoint import host_and_port
from jarvis_recorder.errors import ConfigurationError


class Server(uvicorn.Server):
    """A server that leaves the signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def listening(
    setting: str, address: str, hint: str = "name another HOST:PORT"
) -> Iterator[socket.socket]:
    """
    Give a socket that listens on the address that a setting names.

    Raises:
        ConfigurationError: It cannot be had; the message ends with the hint.
    """
    host, port = host_and_port(address)
    try:
        family, *_, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(found, family=family)
    except OSError as error:
        raise ConfigurationError(
            f"{setting}: cannot listen on {address}: {error.strerror or error}: {hint}"
        ) from None
    with listener:
        yield listener
