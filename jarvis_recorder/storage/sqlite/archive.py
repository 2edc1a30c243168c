"""The archive, which executes requests, and the outbox of notifications not yet published."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import delete, select

from jarvis_recorder.errors import ResultTooLarge
from jarvis_recorder.ports import Clock, PendingNotification
from jarvis_recorder.storage.queries import (
    conversations,
    events,
    preferences,
    snapshots,
    timeline,
    usage,
)
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.sqlite import search_turns
from jarvis_recorder.storage.sqlite.command_queue import CommandQueue
from jarvis_recorder.storage.sqlite.commands import CHANGES
from jarvis_recorder.storage.sqlite.readers import Readers
from jarvis_recorder.storage.sqlite.totals import holdings
from jarvis_recorder.storage.sqlite.writer import Writer
from jarvis_recorder.storage.tables import outbox
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.rpc.params import Params

_PATIENCE_SECONDS: Final = 5.0

# The most that the notifications of one read take together, unless the first alone takes more.
_OUTBOX_BYTES: Final = 1024 * 1024

_QUERIES: Final[Queries] = (
    events.QUERIES
    | conversations.QUERIES
    | search_turns.QUERIES
    | usage.QUERIES
    | snapshots.QUERIES
    | timeline.QUERIES
    | preferences.QUERIES
)


class SqliteArchive:
    """Implements `ports.Archive` on one SQLite file."""

    def __init__(self, path: Path, writer: Writer, readers: Readers, clock: Clock) -> None:
        self._readers = readers
        self._queries = {one: query.given(clock) for one, query in _QUERIES.items()}
        self._queries[params.ReadHoldings] = Query(partial(holdings, path))
        self.changed = asyncio.Event()
        """Set after each change: it may have left a notification."""
        self._changes = CommandQueue(path, writer, clock, self.changed)

    async def answer(self, request: Params[Any], until: float, room: int) -> bytes:
        """Execute a request and return its result as JSON; see `ports.Archive`."""
        if type(request) in CHANGES:
            return await self._changes.make(request, until)
        query = self._queries[type(request)]
        is_search = isinstance(request, params.ListEvents) and request.text is not None
        return await self._readers.run(
            lambda reading: _fitting(query.read(reading, request), room),
            until,
            room,
            pace=Pace.SCAN if is_search else query.pace,
        )


def _fitting(answer: bytes, room: int) -> bytes:
    """
    Return the result. Pages end within the room by themselves, and other results are small.

    Raises:
        ResultTooLarge: It does not fit, since other requests have left too little room.
    """
    if len(answer) > room:
        raise ResultTooLarge("there is no room for it")
    return answer


class SqliteOutbox:
    """Implements `ports.Outbox` on the same file."""

    def __init__(self, writer: Writer, readers: Readers, changed: asyncio.Event) -> None:
        self._writer = writer
        self._readers = readers
        self._changed = changed
        # The previous process may have left some.
        self._changed.set()

    async def wait(self) -> None:
        """Return once the outbox may hold a notification; see `ports.Outbox`."""
        await self._changed.wait()
        self._changed.clear()

    async def waiting(self, limit: int) -> Sequence[PendingNotification]:
        """Return the oldest notifications, as many as fit into `_OUTBOX_BYTES`."""
        oldest_first = (
            select(outbox.c.id, outbox.c.routing_key, outbox.c.message_id, outbox.c.body)
            .order_by(outbox.c.id)
            .limit(limit)
        )

        def read(reading: Reading) -> list[PendingNotification]:
            room = _OUTBOX_BYTES
            oldest: list[PendingNotification] = []
            for row in reading.rows(oldest_first):
                room -= len(row.body)
                if oldest and room < 0:
                    break
                oldest.append(PendingNotification(*row))
            return oldest

        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        return await self._readers.run(read, until)

    async def announced(self, announcements: Sequence[PendingNotification]) -> None:
        """Remove these notifications and no others."""
        # The id alone is not enough: after the outbox was empty, SQLite assigns the same ids again.
        forget = delete(outbox).where(
            outbox.c.id.in_([one.id for one in announcements]),
            outbox.c.message_id.in_([one.message_id for one in announcements]),
        )
        await self._writer.run(lambda connection: connection.execute(forget))
