"""The archive, which executes requests on the writer and the readers of any engine."""

import asyncio
from typing import Any, Final

from jarvis_recorder.errors import ResultTooLarge
from jarvis_recorder.incidents.rules import Rules
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.command_queue import CommandQueue
from jarvis_recorder.storage.commands import CHANGES
from jarvis_recorder.storage.engine import EngineStatements, Readers, Writer
from jarvis_recorder.storage.eraser import Eraser
from jarvis_recorder.storage.queries import (
    conversations,
    dead_letters,
    differences,
    events,
    histogram,
    incidents,
    matrix,
    overview,
    preferences,
    series,
    sessions,
    snapshots,
    timeline,
    usage,
)
from jarvis_recorder.storage.queries.reading import Pace, Queries
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.rpc.params import Params

_QUERIES: Final[Queries] = (
    events.QUERIES
    | histogram.QUERIES
    | matrix.QUERIES
    | conversations.QUERIES
    | sessions.QUERIES
    | usage.QUERIES
    | snapshots.QUERIES
    | differences.QUERIES
    | overview.QUERIES
    | series.QUERIES
    | timeline.QUERIES
    | preferences.QUERIES
    | dead_letters.QUERIES
)


class EngineArchive:
    """The implementation of `ports.Archive` on any engine."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        statements: EngineStatements,
        clock: Clock,
        rules: Rules,
    ) -> None:
        self._readers = readers
        queries = _QUERIES | incidents.queries(rules) | statements.queries
        self._queries = {one: query.given(clock) for one, query in queries.items()}
        self.changed = asyncio.Event()
        """Set after each change: it may have left a notification."""
        self._changes = CommandQueue(writer, statements, clock, self.changed)
        self._eraser = Eraser(writer, readers, statements)

    async def answer(self, request: Params[Any], until: float, room: int) -> bytes:
        """Execute a request and return its result as JSON; see `ports.Archive`."""
        if type(request) in CHANGES:
            return await self._changes.make(request, until)
        if isinstance(request, params.DeleteConversation):
            return await self._eraser.erase(request, until)
        query = self._queries[type(request)]
        is_search = isinstance(request, params.ListEvents) and request.text is not None
        return await self._readers.run(
            lambda reading: _fitting(query.read(reading, request), room),
            until,
            room,
            pace=Pace.SCAN if is_search else query.pace,
        )

    async def aclose(self) -> None:
        """End what outlasts its request, in a state that is committed."""
        await self._eraser.close()


def _fitting(answer: bytes, room: int) -> bytes:
    """
    Return the result. Pages end within the room by themselves, and other results are small.

    Raises:
        ResultTooLarge: It does not fit, since other requests have left too little room.
    """
    if len(answer) > room:
        raise ResultTooLarge("there is no room for it")
    return answer
