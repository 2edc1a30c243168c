"""The archive, which executes requests, and the outbox of notifications not yet published."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import delete, select

from jarvis_recorder.errors import ResultTooLarge
from jarvis_recorder.ports import Clock, PendingNotification
from jarvis_recorder.storage.queries import conversations, events, preferences, snapshots, usage
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.queries.timeline import timeline_around
from jarvis_recorder.storage.sqlite import search_turns
from jarvis_recorder.storage.sqlite.command_queue import CommandQueue
from jarvis_recorder.storage.sqlite.commands import CHANGES
from jarvis_recorder.storage.sqlite.readers import Pace, Readers
from jarvis_recorder.storage.sqlite.totals import holdings
from jarvis_recorder.storage.sqlite.writer import Writer
from jarvis_recorder.storage.tables import outbox
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.rpc.params import Params

_PATIENCE_SECONDS: Final = 5.0

# The most that the notifications of one read take together, unless the first alone takes more.
_OUTBOX_BYTES: Final = 1024 * 1024

READS: Final[dict[type, Callable[[Reading, Any], bytes]]] = {
    params.UnresolvedEvents: events.unresolved_events,
    params.GetEvent: events.get_event,
    params.EventHistogram: events.histogram,
    params.ListTurns: conversations.list_turns,
    params.GetTurn: conversations.get_turn,
    params.SearchTurns: search_turns.search_turns,
    params.SnapshotAt: snapshots.snapshot_at,
    params.TimelineAround: timeline_around,
    params.GetPreference: preferences.get_preference,
    params.ListPreferences: preferences.list_preferences,
}


_LOOK_UPS: Final = (params.GetPreference, params.GetEvent, params.GetTurn)
_SCANS: Final = (
    params.EventHistogram,
    params.ListSessions,
    params.ReportUsage,
    params.SearchTurns,
)


class SqliteArchive:
    """Implements `ports.Archive` on one SQLite file."""

    def __init__(self, path: Path, writer: Writer, readers: Readers, clock: Clock) -> None:
        self._readers = readers
        self._reads = READS | {
            params.ReadHoldings: partial(holdings, path),
            params.ListEvents: partial(events.list_events, clock),
            params.ListSessions: partial(conversations.list_sessions, clock),
            params.ReportUsage: partial(usage.report_usage, clock),
            params.ListSnapshots: partial(snapshots.list_snapshots, clock),
            params.LatestSnapshot: partial(snapshots.latest_snapshot, clock),
        }
        self.changed = asyncio.Event()
        """Set after each change: it may have left a notification."""
        self._changes = CommandQueue(path, writer, clock, self.changed)

    async def answer(self, request: Params[Any], until: float, room: int) -> bytes:
        """Execute a request and return its result as JSON; see `ports.Archive`."""
        if type(request) in CHANGES:
            return await self._changes.make(request, until)
        read = self._reads[type(request)]
        return await self._readers.run(
            lambda reading: _fitting(read(reading, request), room),
            until,
            room,
            pace=_pace(request),
        )


def _pace(request: Params[Any]) -> Pace:
    """Return how much a request reads; a scan may read many rows for each row of its result."""
    if isinstance(request, params.ListEvents):
        return Pace.QUICK if request.text is None else Pace.SCAN
    if isinstance(request, _LOOK_UPS):
        return Pace.LOOK_UP
    return Pace.SCAN if isinstance(request, _SCANS) else Pace.QUICK


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
