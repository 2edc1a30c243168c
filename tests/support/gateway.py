"""The gateway as its users run it: a process that serves HTTP."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
from argon2 import PasswordHasher

from tests.support.recorder import wait_until

PASSWORD = "correct horse"
READER_PASSWORD = "battery staple"
SECRET = "a secret of the tests, long enough for HS256"


@cache
def _hashed(password: str) -> str:
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


class Gateway:
    """One `jarvis-recorder gateway`."""

    def __init__(self, broker_url: str, directory: Path, *settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / f"gateway-{self.port}.log"
        options = [
            f"broker.url={broker_url}",
            f"gateway.listen=127.0.0.1:{self.port}",
            f"gateway.password_hash={_hashed(PASSWORD)}",
            f"gateway.reader_password_hash={_hashed(READER_PASSWORD)}",
            f"gateway.token_secret={SECRET}",
            "log.format=json",
            *settings,
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jarvis_recorder", "gateway"]
                + [part for option in options for part in ("--set", option)],
                stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self._serves, "the gateway serves")

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    @contextmanager
    def client(self, password: str | None = PASSWORD) -> Iterator[httpx.Client]:
        """Yield a client that is logged in if there is a password."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            if password is not None:
                answer = client.post("/api/auth/login", json={"password": password})
                client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
            yield client

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(15)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port
