"""The recorder as its users run it: a process with a database file and log lines."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psycopg

from tests.support.engines import Database, File

DEADLINE_SECONDS = 90.0


def wait_until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """Return the first true result of `condition`; fail with `what` after the deadline."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return answer


class RecorderProcess:
    """One `jarvis-recorder run`; its log is read as JSON lines."""

    def __init__(
        self, url: str, path: Path, *settings: str, database: Database | None = None
    ) -> None:
        """Start it on the file `path`, or on another `database`; its log is next to the path."""
        self.path = path
        self.database = database or File(path)
        self._log_path = path.with_name(f"{path.stem}-{time.monotonic_ns()}.log")
        options = [
            f"broker.url={url}",
            f"store.url={self.database.url}",
            "log.format=json",
            "http.listen=127.0.0.1:0",
            *settings,
        ]
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jarvis_recorder",
                    "run",
                    *(part for option in options for part in ("--set", option)),
                ],
                stderr=log,
                stdout=log,
                env=os.environ | {"COVERAGE_PROCESS_START": ""},
            )

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines logged so far."""
        for line in self._log_path.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                yield {"event": "text", "text": line}

    def last_words(self) -> str:
        """Its exit code, the number of its events and the end of its log, as far as they are there."""
        said = f"exit code {self.process.poll()}"
        try:
            return f"{said}, {self.count()} events\n{self._log_path.read_text()[-4000:]}"
        except (OSError, sqlite3.Error, psycopg.Error) as error:
            # Its disk may have been taken away or damaged by the test.
            return f"{said}; {error}"

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("event") == event]

    def wait_for(self, event: str, seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """Return the newest line of an event once there is one; fail if the process has ended."""

        def found() -> Any:
            if lines := self.logged(event):
                return lines[-1]
            assert self.process.poll() is None, self._log_path.read_text()[-2000:]
            return None

        return wait_until(found, f"log line {event}", seconds)

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body from its monitoring server."""
        served = self.wait_for("health_served")
        connection = HTTPConnection(served["host"], served["port"], timeout=60)
        with closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def readiness(self) -> dict[str, Any]:
        """Return the document of `/readyz`, with the names of failed checks as `failed`."""
        status, body = self.get("/readyz")
        found: dict[str, Any] = json.loads(body)
        assert (status == 200) is found["ready"]
        failed = {check["name"] for check in found["checks"] if not check["ok"]}
        return found | {"failed": failed}

    def stop(self, seconds: float = 10.0) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Read the database from outside; see `engines.Database`."""
        return self.database.rows(query, *parameters)

    def unserved(self) -> int:
        """
        Return how often the broker could not serve a queue.

        RabbitMQ 4.0 may be unable to serve a quorum queue after a kill ("timed out consuming from
        quorum queue"): each consumer gets INTERNAL_ERROR, until the node is started again.
        """
        errors = [line["error"] for line in self.logged("broker_unavailable")]
        return sum("INTERNAL_ERROR" in error for error in errors)

    def count(self, table: str = "events") -> int:
        found = self.rows(f"SELECT count(*) FROM {table}")
        return int(found[0][0]) if found else 0
