"""Recorder database files, and ways to damage them."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from jarvis_recorder.storage.sqlite.admin.vacuum import make_or_upgrade

PAGE = 4096


def nothing(doing: str, done: int, total: int) -> None:
    """Ignore the progress."""


def make(path: Path, events: int = 0, first: int = 0) -> Path:
    """Create a database at the newest schema with events numbered from `first`."""
    asyncio.run(make_or_upgrade(path))
    add(path, events, first)
    return path


def add(path: Path, events: int, first: int = 0) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO events (message_id, timestamp, stamped, type, severity, source, summary,"
            " recorded_at) VALUES (?, ?, 0, 'metric', 'info', 'monitor', ?, 0)",
            (
                (f"m{number}", number, f"event {number} " + "x" * 100)
                for number in range(first, first + events)
            ),
        )


def ids(path: Path) -> set[str]:
    """Return the identities of the events in a file, which must be sound."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {name for (name,) in connection.execute("SELECT message_id FROM events")}


def overwrite(path: Path, at: int, length: int) -> None:
    """Overwrite a part of a file with garbage, synced to the disk."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * length)
        os.fsync(file.fileno())


def overwrite_pages(path: Path, first: int) -> None:
    """Overwrite all pages of a file from this one on with garbage."""
    overwrite(path, first * PAGE, path.stat().st_size - first * PAGE)


def leave_log(path: Path, events: int, first: int) -> None:
    """Add events in a commit each, and leave them in the write-ahead log, as a kill would."""
    subprocess.run([sys.executable, "-c", _KILLED, path, str(events), str(first)], check=True)


_KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint = 0")
for number in range(int(sys.argv[3]), int(sys.argv[3]) + int(sys.argv[2])):
    connection.execute(
        "INSERT INTO events (message_id, timestamp, stamped, type, severity, source, summary,"
        " recorded_at) VALUES (?, ?, 0, 'metric', 'info', 'monitor', 'x', 0)",
        (f"m{number}", number),
    )
os._exit(0)
"""
