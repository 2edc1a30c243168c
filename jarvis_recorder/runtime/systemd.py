"""Notifications to systemd, and its watchdog interval: the protocol of sd_notify(3)."""

import os
import socket
from collections.abc import Mapping

import structlog

log = structlog.get_logger(__name__)


class ServiceManager:
    """The service manager that started this process; without one nothing is sent."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._heard = True
        self.watchdog_seconds = _watchdog_seconds(environ)
        """The longest interval between two `WATCHDOG=1`; None if the watchdog is off."""

    @property
    def listens(self) -> bool:
        return bool(self._address)

    def tell(self, **facts: object) -> bool:
        """
        Send facts such as `READY=1` in one datagram; return whether it was sent.

        Never raises and never waits: an unreachable manager must not stop the recorder.
        """
        if not self._address:
            return False
        text = "\n".join(f"{name}={_printable(str(fact))}" for name, fact in facts.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(text.encode("utf-8", "replace"), self._address)
        except OSError as error:
            if self._heard:
                log.warning("service_manager_unreachable", error=error.strerror)
            self._heard = False
            return False
        self._heard = True
        return True


def _address(name: str) -> str:
    """Return the socket's address; `@` stands for the NUL of the abstract namespace."""
    return f"\0{name[1:]}" if name.startswith("@") else name


def _printable(text: str) -> str:
    """Return one line without control characters: it may quote a reply of the broker."""
    return "".join(character if character.isprintable() else " " for character in text)


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
