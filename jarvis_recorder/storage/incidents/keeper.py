"""The incidents, folded from the events next to recording: never in its way, and never in its transaction."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from sqlalchemy import Connection, Row, func, select, update

from jarvis_recorder.errors import (
    ConfigurationError,
    DeadlineExceeded,
    OutcomeUnknown,
    RecordRefused,
    StorageDamaged,
    StorageUnavailable,
    StorageUncertain,
    defect,
)
from jarvis_recorder.incidents.rules import Rules
from jarvis_recorder.incidents.signals import Effect, details_read
from jarvis_recorder.ports import Clock
from jarvis_recorder.runtime.process import set_within
from jarvis_recorder.storage.engine import NoRoomForIt, Readers, Writer
from jarvis_recorder.storage.incidents.candidates import Candidate, read_candidates, signals_of
from jarvis_recorder.storage.incidents.dates import end_of_known
from jarvis_recorder.storage.incidents.evidence import NewestSnapshots
from jarvis_recorder.storage.incidents.fold import STALE, Fold, ReadSignal
from jarvis_recorder.storage.incidents.pruning import newest_event
from jarvis_recorder.storage.incidents.renewal import Renewal
from jarvis_recorder.storage.queries.incidents import untold
from jarvis_recorder.storage.queries.reading import Pace, Reading
from jarvis_recorder.storage.tables import (
    cluster_snapshots,
    events,
    incident_progress,
)

log = structlog.get_logger(__name__)

Horizon = Callable[[Connection], int]
"""Returns an id of an event up to which none can be added any more."""
KnownGood = Callable[[Connection], int | None]
"""Returns the last known good time in microseconds; None if nothing is recorded."""

# As many as one transaction reads; it is some milliseconds.
_EVENTS_AT_ONCE: Final = 10_000
_PAUSE_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 10.0
# More snapshots than are recorded while one is on its way.
_RECENT: Final = 500
# After each step recording has the writer for so many times as long.
_YIELD: Final = 4.0

_progress: Final = incident_progress.c
_snapshots: Final = cluster_snapshots.c


class _Look(NamedTuple):
    """The newest of what incidents are made of, and how far they are."""

    newest_event: int
    recent_snapshots: tuple[int | None, ...]
    is_stale: bool
    is_untold: bool
    reached: int


class _Done(NamedTuple):
    """The outcome of a step: whether there may be more, if it left a notification, if events are read."""

    is_behind: bool
    is_told: bool = False
    has_begun: bool = True


def _look(now: int, reading: Reading) -> _Look:
    recent = select(_snapshots.id).order_by(_snapshots.id.desc()).limit(_RECENT).subquery().c.id
    # Not the highest alone: on a server one may be committed behind others with higher ids.
    known_by = select(func.max(recent), func.min(recent), func.count(recent))
    reached = select(_progress.reached)
    return _Look(
        newest_event(reading.connection),
        tuple(reading.connection.execute(known_by).one()),
        reading.connection.execute(STALE).first() is not None,
        reading.connection.execute(untold(now).limit(1)).first() is not None,
        reading.connection.execute(reached).scalar_one(),
    )


class IncidentKeeper:
    """
    A keeper of a database's incidents, on any engine.

    Each step reads events and stores the incidents that follow in one transaction, so that a
    restart loses and repeats nothing. Several recorders share the steps.
    """

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        horizon: Horizon,
        known_good: KnownGood,
        *,
        rules: Rules,
        clock: Clock,
        changed: asyncio.Event,
    ) -> None:
        """`changed` is set after each step that may have left a notification."""
        self._writer = writer
        self._readers = readers
        self._looked_at: _Look | None = None
        self._horizon = horizon
        self._known_good = known_good
        self._rules = rules
        self._details_read = details_read(rules)
        self._clock = clock
        self._changed = changed
        self._snapshots = NewestSnapshots()
        self._are_late = False
        self._renewal = Renewal(self._read_some)
        self._has_begun = False
        self._is_behind = False
        self.failure: str | None = None
        """The reason for which no step is done until something is changed, None if there is none."""

    async def run(self, stop: asyncio.Event) -> None:
        """
        Fold what is recorded until `stop` is set; while the database is unavailable it waits.

        Raises:
            StorageUncertain, StorageDamaged: As `Writer.run`.
        """
        while not stop.is_set():
            try:
                pause = await self._timed_step()
            except (StorageUnavailable, DeadlineExceeded, OutcomeUnknown) as error:
                # Recording goes on without them.
                log.warning("incidents_not_folded", error=str(error))
                pause = _AGAIN_SECONDS
            except (ConfigurationError, RecordRefused) as error:
                log.warning("incidents_not_folded", error=str(error))
                self.failure = str(error)
                pause = _AGAIN_SECONDS
            except (StorageUncertain, StorageDamaged):
                raise
            except Exception as error:  # noqa: BLE001 - a restart would meet it again
                # Not its text, which may repeat what was recorded.
                self.failure = defect(error)
                log.error("incidents_not_folded", error=self.failure)
                pause = _AGAIN_SECONDS
            await set_within(stop, pause)

    async def _timed_step(self) -> float:
        """Do a step, and return how long to leave the writer to others."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        # Whatever stood in the way may be gone without any news.
        if await self._has_news() or self._is_behind or self.failure is not None:
            self._is_behind = await self.step()
            self.failure = None
        took = _YIELD * (loop.time() - began)
        return took if self._is_behind else max(_PAUSE_SECONDS, took)

    async def _has_news(self) -> bool:
        """Return whether a step could change anything: without that it takes no turn of the writer."""
        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        look = await self._readers.run(partial(_look, self._clock()), until, 0, pace=Pace.LOOK_UP)
        before, self._looked_at = self._looked_at, look
        is_left = look.is_stale or look.is_untold
        return look != before or look.reached < look.newest_event or is_left

    async def step(self) -> bool:
        """
        Fold the next events; return whether there may be more. On an error nothing is changed.

        An event that the database refuses in an incident is left out.
        """
        self._writer.require_room()
        # What a step that is rolled back has looked at is to be looked at again.
        looked_at, self._looked_at = self._looked_at, None
        were_wanted = self._snapshots.are_wanted
        self._are_late = False
        unread = were_wanted and await self._read_snapshots()
        try:
            done = await self._run()
        except NoRoomForIt:
            self._writer.crowded.set()
            raise
        self._looked_at = looked_at
        self._snapshots.compared()
        self._renewal.committed()
        self._has_begun |= done.has_begun
        if done.is_told:
            self._changed.set()
        return done.is_behind or unread or (self._snapshots.are_wanted and not were_wanted)

    async def _read_snapshots(self) -> bool:
        """Read some of the newest snapshots, and return whether there may be more."""
        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        try:
            return await self._snapshots.read_some(self._readers, self._clock(), until)
        except DeadlineExceeded:  # others read as well: the evidence comes later
            self._are_late = True
            return True

    async def _run(self) -> _Done:
        try:
            return await self._writer.run(self._work)
        except RecordRefused:
            return await self._writer.run(partial(self._work, one_by_one=True))

    def _work(self, connection: Connection, *, one_by_one: bool = False) -> _Done:
        progress = self._ready(connection)
        if progress is None:
            return _Done(is_behind=True, has_begun=False)
        horizon = self._horizon(connection)
        upto = _upto(connection, progress, horizon)
        found, upto = read_candidates(connection, progress.reached, upto)
        read = [one for candidate in found for one in self._read(candidate)]
        now = self._clock()
        end = end_of_known(now, self._known_good(connection))
        fold_now = Fold(connection, self._rules, now, end)
        is_shown = fold_now.is_any_stale() or any(_may_be_shown(one) for one in read)
        if is_shown and not self._snapshots.is_complete:
            # Whether it has recovered in between is asked with the problem, or never.
            return self._wanting_snapshots()
        if one_by_one:
            self._take_each(connection, fold_now, found)
        else:
            fold_now.take(read)
        done = self._finish(connection, fold_now, progress, upto)
        if read:
            self._writer.require_bounds(connection)
        return done._replace(is_behind=done.is_behind or upto < horizon)

    def _ready(self, connection: Connection) -> Row[Any] | None:
        """
        Return the row of the progress, None while incidents are made again by these rules.

        Raises:
            ConfigurationError: Another recorder of this database has other rules.
        """
        progress = connection.execute(select(incident_progress)).one()
        if progress.rules == self._rules.version():
            return progress
        if self._has_begun:
            # The two would begin again in turn, without end.
            raise ConfigurationError(
                "another recorder of this database has other rules: give all of them the same "
                "incidents.rules, incidents.quiet_hours and version, and restart this one"
            )
        if not self._renewal.step(connection, progress.rules, self._rules):
            return None
        return connection.execute(select(incident_progress)).one()

    def _finish(
        self, connection: Connection, fold_now: Fold, progress: Row[Any], upto: int
    ) -> _Done:
        """Fold what is left of earlier steps, note the progress, and announce what is news."""
        fold_now.refold_stale()
        fold_now.show(self._snapshots)
        is_any_stale = fold_now.is_any_stale()
        is_told = progress.reached >= progress.told_after
        if is_any_stale and not is_told:
            # Before the first step that tells they are folded, too.
            upto = min(upto, progress.told_after - 1)
        if upto > progress.reached and not fold_now.is_held:
            connection.execute(update(incident_progress).values(reached=upto))
        told = is_told and fold_now.tell()
        return _Done(is_any_stale or fold_now.has_left, told)

    def _wanting_snapshots(self) -> _Done:
        """
        Have the newest snapshots read before anything is folded.

        Raises:
            DeadlineExceeded: They were not read in time.
        """
        self._snapshots.are_wanted = True
        if self._are_late:
            raise DeadlineExceeded("the newest snapshots were not read in time")
        return _Done(is_behind=True)

    def _read_some(
        self, connection: Connection, ids: Collection[int], upto: int
    ) -> tuple[Iterable[ReadSignal], int]:
        found, upto = read_candidates(connection, 0, upto, among=ids)
        return [one for candidate in found for one in self._read(candidate)], upto

    def _read(self, candidate: Candidate) -> Iterable[ReadSignal]:
        return signals_of(candidate, self._rules, self._details_read)

    def _take_each(
        self, connection: Connection, fold_now: Fold, found: Sequence[Candidate]
    ) -> None:
        """Fold one event after the other, and leave out those that the database refuses."""
        for candidate in found:
            try:
                with self._writer.attempt(connection):
                    fold_now.take([*self._read(candidate)])
            except RecordRefused:
                log.error("incident_event_refused", event_id=candidate.row.id)


def _upto(connection: Connection, progress: Row[Any], horizon: int) -> int:
    """Return the last id to read in a step: no step reads both what it announces and what it does not."""
    reached: int = progress.reached
    told_after: int = progress.told_after
    begin = _next_event(connection, reached) - 1
    upto = max(reached, min(horizon, begin + _EVENTS_AT_ONCE))
    return upto if reached >= told_after else min(upto, told_after)


def _next_event(connection: Connection, after: int) -> int:
    """Return the id of the next event: an imported one may have left a gap of any length."""
    following = select(func.min(events.c.id)).where(events.c.id > after)
    return connection.execute(following).scalar() or after + 1


def _may_be_shown(one: ReadSignal) -> bool:
    return one.signal.effect is Effect.PROBLEM and one.condition.evidence is not None
