"""Backups beside a recorder, one a second or as often as they are done."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench.contenders import environment

_EVERY_SECONDS: Final = 1.0
_KEPT: Final = 3


class Made(NamedTuple):
    """One backup: how long the command took, how large it is, how many events it holds."""

    seconds: float
    size_bytes: int
    events: int


class Backups(NamedTuple):
    """
    Events a second without backups and with them, a pair a round, and what was made meanwhile.

    `slower` is the median of what each pair lost.
    """

    without: list[float]
    beside: list[float]
    slower: float
    made: list[Made]
    most_wal_bytes: int


@contextlib.contextmanager
def backing_up(database: Path, made: list[Made], wal_bytes: list[int]) -> Iterator[None]:
    """Make backups until the end, each by the command that an operator's timer runs."""
    to = database.with_name(f"{database.stem}-backups")
    done = threading.Event()
    failed: list[str] = []

    def run() -> None:
        while not done.is_set() and not failed:
            began = time.monotonic()
            try:
                made.append(_back_up(database, to))
            except subprocess.CalledProcessError as error:
                failed.append(error.stderr.strip())
            done.wait(began + _EVERY_SECONDS - time.monotonic())

    def watch() -> None:
        wal = database.with_name(f"{database.name}-wal")
        while not done.wait(0.05):
            if wal.exists():
                wal_bytes.append(wal.stat().st_size)

    threads = [threading.Thread(target=run), threading.Thread(target=watch)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
        shutil.rmtree(to, ignore_errors=True)
    if failed:
        raise RuntimeError(f"a backup failed: {failed[0]}")


def _back_up(database: Path, to: Path) -> Made:
    executable = Path(sys.executable).with_name("jarvis-recorder")
    began = time.monotonic()
    output = subprocess.run(
        [
            *(str(executable), "db", "backup", "--to", str(to), "--keep", str(_KEPT), "--json"),
            f"--set=store.url=sqlite:///{database}",
        ],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    facts = json.loads(output)
    return Made(time.monotonic() - began, facts["size_bytes"], facts["rows"]["events"])
