"""
What an open database needs beside those who use it: its files in place, and its log short.

SQLite empties the write-ahead log only in a moment without readers. While questions overlap there
is none, and the log grows without end.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Final

import structlog
from sqlalchemy import Engine, event

from jarvis_recorder.storage.sqlite.writer import Writer

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 0.5
# The longest question that was let in before; and the longest that one has to wait here.
_LONGEST_QUESTION_SECONDS: Final = 6.0
# A commit that hangs is no reason to keep the questions waiting with it.
_LONGEST_TURN_SECONDS: Final = 2.0
# Another program reads, such as a backup: waiting for it would be at the cost of the questions.
_AGAIN_SECONDS: Final = 30.0


async def any_of(*events: asyncio.Event) -> None:
    """Return once one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


class Gate:
    """Where the threads that read pass before and after; closed for the length of a checkpoint."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._closed = False
        self._inside = 0

    def guard(self, engine: Engine) -> None:
        """Have every reading of an engine's pass here, in its own thread."""

        @event.listens_for(engine, "checkout")
        def enter(*_: Any) -> None:
            with self._changed:
                self._changed.wait_for(lambda: not self._closed)
                self._inside += 1

        @event.listens_for(engine, "checkin")
        def leave(*_: Any) -> None:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Let no more in while entered."""
        self._set_closed(closed=True)
        try:
            yield
        finally:
            self._set_closed(closed=False)

    def wait_until_empty(self, seconds: float) -> bool:
        """Return whether all who were inside have left by then."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._inside, seconds)

    def _set_closed(self, *, closed: bool) -> None:
        with self._changed:
            self._closed = closed
            self._changed.notify_all()


class Upkeep:
    """Looks after one open database until told to stop."""

    def __init__(self, writer: Writer, gate: Gate) -> None:
        self._writer = writer
        self._gate = gate

    async def run(self, stop: asyncio.Event) -> None:
        """
        Look after the database until told to stop, also while nothing is recorded.

        Raises:
            StorageMoved: One of its files is not where it was.
            StorageUncertain, StorageDamaged: As `Writer.run`.
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
