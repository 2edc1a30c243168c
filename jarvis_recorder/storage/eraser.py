"""The erasure of conversations, in small transactions next to recording."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

import structlog

from jarvis_recorder.errors import (
    DeadlineExceeded,
    OutcomeUnknown,
    RecorderError,
    StorageUnavailable,
)
from jarvis_recorder.runtime.process import read_error
from jarvis_recorder.storage.engine import EngineStatements, Readers, Writer
from jarvis_recorder.storage.erasure import Erasure
from jarvis_recorder.storage.expired_rows import BEGINNING
from jarvis_recorder.storage.pauses import followed_by_pause
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import DeleteConversation
from jarvis_recorder.wire.rpc.results import Deleted

log = structlog.get_logger(__name__)

_ROOM_BYTES: Final = 1_024


@dataclass(eq=False, slots=True)
class _Progress:
    """The state of an erasure, which may outlast the request."""

    has_begun: bool = False
    deleted: int = 0
    overwritten: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Note that turns are about to be deleted."""
        self.has_begun = True


class Eraser:
    """
    The erasure of conversations in small transactions with pauses, one step of all at a time.

    An erasure that has begun goes on after its request's deadline. If the process ends before, or
    the database becomes unavailable, the turns of the steps before are gone and the others are
    left; the next request for the same conversation erases those.
    """

    def __init__(self, writer: Writer, readers: Readers, statements: EngineStatements) -> None:
        self._writer = writer
        self._readers = readers
        self._statements = statements
        self._turn = asyncio.Lock()
        # A lock lives as long as an erasure of its conversation holds it, or waits for it.
        self._conversations: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._erasing: set[asyncio.Task[None]] = set()
        self._overwriting = _Overwriting(writer)

    async def erase(self, params: DeleteConversation, until: float) -> bytes:
        """
        Erase the turns of a conversation that are recorded now, and return how many there were.

        Turns recorded meanwhile are kept. If there is time until `until`, this returns once the
        erased words are overwritten.

        Raises:
            DeadlineExceeded: It had not begun by `until`: nothing is erased.
            OutcomeUnknown: It was under way at `until`, and goes on; or it has ended before all
                turns were gone.
            RecorderError: Nothing is erased.
        """
        loop = asyncio.get_running_loop()
        progress = _Progress()
        task = asyncio.create_task(self._erase(params.session_id, progress, until))
        self._erasing.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait([task], timeout=max(0.0, until - loop.time()))
        finally:
            if not progress.has_begun:
                task.cancel()
        if not task.done():
            if not progress.has_begun:
                raise DeadlineExceeded("others were writing until it was too late")
            task.add_done_callback(_report)
            raise OutcomeUnknown(
                "turns were still being erased when the time was over: ask again for the others"
            )
        task.result()
        if progress.overwritten is not None:
            timeout = max(0.0, until - loop.time())
            await asyncio.wait([progress.overwritten], timeout=timeout)
        return adapter(Deleted).dump_json(Deleted(progress.deleted))

    async def close(self) -> None:
        """End the erasures, each after the step it is at, and the overwriting of words."""
        for task in self._erasing:
            task.cancel()
        await asyncio.gather(*self._erasing, return_exceptions=True)
        await self._overwriting.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._erasing.discard(task)
        read_error(task)

    async def _erase(self, session_id: str, progress: _Progress, until: float) -> None:
        async with self._alone(session_id):
            last = await self._readers.run(
                lambda reading: self._statements.newest_turn(reading.connection, session_id),
                until,
                _ROOM_BYTES,
            )
            # A server's standbys are waited for even if nothing is left to erase.
            to_go: Erasure | None = Erasure(session_id, last or BEGINNING)
            try:
                while to_go is not None:
                    to_go = await self._step(to_go, progress)
            except StorageUnavailable as error:
                if not progress.deleted:
                    raise
                raise OutcomeUnknown(
                    f"{progress.deleted} turns are erased, others may be left: ask again: {error}"
                ) from error
            finally:
                if progress.deleted:
                    progress.overwritten = self._overwriting.ask()

    async def _step(self, to_go: Erasure, progress: _Progress) -> Erasure | None:
        """Delete the next turns, then leave the writer to others; return what is left."""
        # The others have the writer for as long as the step took: someone waits for the end.
        async with self._turn, followed_by_pause(1.0):
            part = await self._writer.run_with_room(
                lambda connection: self._statements.erase_turns(connection, to_go), progress.begin
            )
            progress.deleted += part.deleted
        return None if part.reached is None else to_go._replace(reached=part.reached)

    @contextlib.asynccontextmanager
    async def _alone(self, session_id: str) -> AsyncIterator[None]:
        """Hold the right to erase a conversation."""
        lock = self._conversations.setdefault(session_id, asyncio.Lock())
        async with lock:
            yield


def _report(erasure: asyncio.Task[None]) -> None:
    """Log how an erasure has failed that no caller waits for."""
    if not erasure.cancelled() and (error := erasure.exception()) is not None:
        log.warning("conversation_not_erased", error=str(error))


class _Overwriting:
    """The overwriting of what was deleted, in one task; what is deleted meanwhile is its next round."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._working: asyncio.Task[None] | None = None
        self._again: asyncio.Future[None] | None = None

    def ask(self) -> asyncio.Future[None]:
        """Return a future that is done once all that is deleted now is overwritten."""
        if self._again is None:
            self._again = asyncio.get_running_loop().create_future()
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return self._again

    async def close(self) -> None:
        """End it, after the step it is at."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)

    async def _work(self) -> None:
        while (asked := self._again) is not None:
            self._again = None
            try:
                await self._writer.forget_deleted()
            except RecorderError as error:
                log.warning("deleted_not_overwritten", error=str(error))
            finally:
                asked.set_result(None)
