"""The archive, which executes requests on the writer and the readers of any engine."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from jarvis_recorder.errors import ResultTooLarge
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.command_queue import CommandQueue
from jarvis_recorder.storage.commands import CHANGES
from jarvis_recorder.storage.engine import Pace, Readers, Speech, Writer
from jarvis_recorder.storage.queries import conversations, events, preferences, snapshots, usage
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.queries.timeline import timeline_around
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.rpc.params import Params

READS: Final[dict[type, Callable[[Reading, Any], bytes]]] = {
    params.UnresolvedEvents: events.unresolved_events,
    params.GetEvent: events.get_event,
    params.EventHistogram: events.histogram,
    params.ListTurns: conversations.list_turns,
    params.GetTurn: conversations.get_turn,
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


class EngineArchive:
    """Implements `ports.Archive` on one engine."""

    def __init__(self, writer: Writer, readers: Readers, speech: Speech, clock: Clock) -> None:
        self._readers = readers
        self._reads = READS | {
            params.ReadHoldings: speech.holdings,
            params.SearchTurns: speech.search,
            params.ListEvents: partial(events.list_events, clock),
            params.ListSessions: partial(conversations.list_sessions, clock),
            params.ReportUsage: partial(usage.report_usage, clock),
            params.ListSnapshots: partial(snapshots.list_snapshots, clock),
            params.LatestSnapshot: partial(snapshots.latest_snapshot, clock),
        }
        self.changed = asyncio.Event()
        """Set after each change: it may have left a notification."""
        self._changes = CommandQueue(writer, speech, clock, self.changed)

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
