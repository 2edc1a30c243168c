"""Code that the Python peers share: their job, and one message as one row."""

import json
import sqlite3
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Job:
    """The job of a peer, as `bench.contenders` writes it."""

    url: str
    queue: str
    count: int
    database: str
    batch: int
    prefetch: int
    pragmas: list[str]
    insert: str


def job() -> Job:
    """Read the job from the command line."""
    return Job(**json.loads(sys.argv[1]))


def connect(work: Job) -> sqlite3.Connection:
    """Open the database to write, with the recorder's durability."""
    connection = sqlite3.connect(work.database, isolation_level=None)
    for pragma in work.pragmas:
        connection.execute(pragma)
    return connection


def row(message_id: str | None, event: dict[str, Any]) -> Row:
    """Return an event's row, in the order of the INSERT."""
    moment = datetime.fromisoformat(event["timestamp"])
    details = event.get("details")
    return (
        message_id,
        int(moment.timestamp() * 1_000_000),
        False,
        event["type"],
        event["severity"],
        event["source"],
        event.get("node"),
        event["summary"],
        None if details is None else json.dumps(details, separators=(",", ":")),
        event.get("cluster") or None,
        None,
        time.time_ns() // 1_000,
    )
