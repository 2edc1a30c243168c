"""
The upkeep of an open database: watching its files, and keeping its write-ahead log short.

SQLite can reuse the write-ahead log only when there are no readers. While reads overlap
there always are, and the log grows without bound.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Final

import structlog

from jarvis_recorder.runtime.process import any_of
from jarvis_recorder.storage.sqlite.writer import SqliteWriter

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 0.5
# The longest that a read takes, and so the longest that a new one waits at the gate.
_LONGEST_QUESTION_SECONDS: Final = 6.0
# Reads must not wait for a commit that hangs.
_LONGEST_TURN_SECONDS: Final = 2.0
# If another program reads, such as a backup, waiting for it would hold up the reads.
_AGAIN_SECONDS: Final = 30.0


class Gate:
    """A gate that reading threads pass on their way in and out; closed during a checkpoint."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._closed = False
        self._inside = 0

    @contextlib.contextmanager
    def passed(self) -> Iterator[None]:
        """Enter once the gate is open, and leave at the end; for a reading thread."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Keep new readers waiting inside this context."""
        self._set_closed(closed=True)
        try:
            yield
        finally:
            self._set_closed(closed=False)

    def wait_until_empty(self, seconds: float) -> bool:
        """Wait at most `seconds` for the readers inside; return whether all have left."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._inside, seconds)

    def _set_closed(self, *, closed: bool) -> None:
        with self._changed:
            self._closed = closed
            self._changed.notify_all()


class Upkeep:
    """A watch over the files of one open database, which also keeps its log short."""

    def __init__(self, writer: SqliteWriter, gate: Gate) -> None:
        self._writer = writer
        self._gate = gate

    async def run(self, stop: asyncio.Event) -> None:
        """
        Look after the database until `stop` is set, also while nothing is recorded.

        Raises:
            StorageMoved: One of its files is not where it was.
            StorageUncertain, StorageDamaged: As `SqliteWriter.run`.
        """
        loop = asyncio.get_running_loop()
        due = loop.time()
        wanted = self._writer.log_wanted_short
        while not stop.is_set():
            await self._writer.require_files()
            is_long = wanted.is_set() or self._writer.log_bytes > self._writer.longest_log
            wanted.clear()
            if is_long and loop.time() >= due:
                emptied = await self._empty_log()
                due = loop.time() + (0.0 if emptied else _AGAIN_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await any_of(stop, wanted)

    async def _empty_log(self) -> bool:
        """Empty the log while new readers wait; return whether it is empty."""
        before = self._writer.log_bytes
        with self._gate.closed():
            await asyncio.to_thread(self._gate.wait_until_empty, _LONGEST_QUESTION_SECONDS)
            until = asyncio.get_running_loop().time() + _LONGEST_TURN_SECONDS
            emptied = await self._writer.empty_log(until=until)
        if not emptied:
            log.warning("log_not_emptied", bytes=before, so="another program reads the database")
        return emptied
