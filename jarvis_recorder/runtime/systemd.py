"""What systemd is told, and what it wants to hear: the protocol of sd_notify(3)."""

import os
import socket
from collections.abc import Mapping

import structlog

log = structlog.get_logger(__name__)


class ServiceManager:
    """Whoever started this process and listens to it; where nobody does, nothing is said."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._heard = True
        self.watchdog_seconds = _watchdog_seconds(environ)
        """How often it wants to hear `WATCHDOG=1` at least; None where it does not."""

    @property
    def listens(self) -> bool:
        return bool(self._address)

    def tell(self, **facts: object) -> bool:
        """
        Send facts such as `READY=1` together; return whether they were taken.

        Never raises and never waits: a manager that does not listen must not stop the recorder.
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
    """Return what a socket can send to; `@` stands for the NUL of the abstract namespace."""
    return f"\0{name[1:]}" if name.startswith("@") else name


def _printable(text: str) -> str:
    """Return one line that no terminal acts on: it may quote what some broker answered."""
    return "".join(character if character.isprintable() else " " for character in text)


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
