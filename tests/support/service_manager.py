"""A stand-in for systemd: the socket that receives a service's notifications."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple
from uuid import uuid4

from tests.support.recorder import wait_until


class Heard(NamedTuple):
    """One notification, and its time on the monotonic clock."""

    at: float
    facts: dict[str, str]


class NotifySocket:
    """Receives notifications in the abstract namespace, where no path can be too long."""

    def __init__(self, **environment: str) -> None:
        name = f"jarvis-test-{uuid4()}"
        self.environment = {"NOTIFY_SOCKET": f"@{name}"} | environment
        self.heard: list[Heard] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}")
        self._name = name
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._socket.recv(65_536):
            facts = dict(line.split("=", 1) for line in data.decode().splitlines())
            self.heard.append(Heard(time.monotonic(), facts))

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", f"\0{self._name}")
        self._thread.join()
        self._socket.close()

    def all(self, name: str) -> list[str]:
        return [heard.facts[name] for heard in list(self.heard) if name in heard.facts]

    def since(self, moment: float, name: str) -> list[str]:
        """Return the values received under that name after a time."""
        return [h.facts[name] for h in list(self.heard) if name in h.facts and h.at > moment]

    def wait_for(self, name: str, part: str = "", *, after: float = 0.0) -> None:
        """Wait for a notification of this name after a time, whose value contains this text."""
        wait_until(
            lambda: any(part in value for value in self.since(after, name)),
            f"{name}={part} in {self.heard[-3:]}",
        )


@contextlib.contextmanager
def notify_socket(**environment: str) -> Iterator[NotifySocket]:
    """Yield a listening socket, with the environment for the service."""
    listener = NotifySocket(**environment)
    try:
        yield listener
    finally:
        listener.close()
