"""Backups while a recorder runs, one a second or as fast as they complete."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench.contenders import environment
from jarvis_recorder.storage.sqlite.admin.backup import backup

_EVERY_SECONDS: Final = 1.0
_KEPT: Final = 3
# The same as `db backup`.
_NICENESS: Final = 19


class Made(NamedTuple):
    """One backup: its duration, its size, its number of events."""

    seconds: float
    size_bytes: int
    events: int


class Backups(NamedTuple):
    """
    Events a second without backups and with them, a pair for each round, and the backups made.

    `slower` is the median loss of the pairs, as a share.
    """

    without: list[float]
    alongside: list[float]
    slower: float
    made: list[Made]
    most_wal_bytes: int


@contextlib.contextmanager
def backing_up(database: Path, made: list[Made], wal_bytes: list[int]) -> Iterator[None]:
    """Make backups while entered, in one process, so that process starts are not measured."""
    done = threading.Event()

    def watch() -> None:
        wal = database.with_name(f"{database.name}-wal")
        while not done.wait(0.05):
            if wal.exists():
                wal_bytes.append(wal.stat().st_size)

    watching = threading.Thread(target=watch)
    with (
        tempfile.TemporaryDirectory(dir=database.parent) as to,
        subprocess.Popen(
            [sys.executable, "-m", "bench.backups", database, to],
            stdout=subprocess.PIPE,
            env=environment(),
        ) as process,
    ):
        watching.start()
        try:
            yield
        finally:
            done.set()
            watching.join()
            failed = process.poll()
            process.terminate()
            output, _ = process.communicate()
            made += (Made(*json.loads(line)) for line in output.splitlines())
    if failed:
        raise RuntimeError("a backup failed")


def _back_up_for_ever(database: Path, to: Path) -> None:
    os.nice(_NICENESS)
    while True:
        began = time.monotonic()
        made = backup(database, to, _KEPT, lambda *_: None)
        print(json.dumps(Made(made.seconds, made.size_bytes, made.rows["events"])), flush=True)
        time.sleep(max(0.0, began + _EVERY_SECONDS - time.monotonic()))


if __name__ == "__main__":
    _back_up_for_ever(Path(sys.argv[1]), Path(sys.argv[2]))
