"""The incidents, folded from the events next to recording: never in its way, and never in its transaction."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from pydantic_core import from_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    case,
    cast,
    false,
    func,
    or_,
    select,
    update,
)

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
from jarvis_recorder.incidents.signals import (
    Effect,
    EventFacts,
    Signal,
    details_read,
    read_event,
)
from jarvis_recorder.ports import Clock
from jarvis_recorder.retention_policy import FUTURE, UNSET
from jarvis_recorder.runtime.process import set_within
from jarvis_recorder.storage.engine import NoRoomForIt, Readers, Writer
from jarvis_recorder.storage.expressions import has_tag, micros
from jarvis_recorder.storage.incident_dates import end_of_known
from jarvis_recorder.storage.incident_evidence import NewestSnapshots
from jarvis_recorder.storage.incident_fold import STALE, Fold, ReadSignal
from jarvis_recorder.storage.incident_pruning import newest_event
from jarvis_recorder.storage.incident_renewal import Renewal
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

# As much as one transaction does; it is some milliseconds. An event is large that has more text than
# it takes to name a condition: those are counted by their characters.
_EVENTS_AT_ONCE: Final = 10_000
_SIGNALS_AT_ONCE: Final = 200
_LARGE: Final = 2_048
_MOST_TEXT: Final = 2 * 1024 * 1024
_PAUSE_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 10.0
# More snapshots than are recorded while one is on its way.
_RECENT: Final = 500
# After each step recording has the writer for so many times as long.
_YIELD: Final = 4.0
# Longer texts are read one by one: a server sends many rows at a time. What is longer than any
# message another program has written.
_LONG: Final = 4_096
_LONGER_THAN_ANY: Final = 8 * 1024 * 1024
# The members as they are written: to make objects of megabytes takes a tenth of a second and more.
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MOST_SUMMARY: Final = 1_000
# A second.
_ORDERED: Final = 1_000_000

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
        progress = connection.execute(select(incident_progress)).one()
        if progress.rules != self._rules.version():
            if self._has_begun:
                # The two would begin again in turn, without end.
                raise ConfigurationError(
                    "another recorder of this database has other rules: give all of them the same "
                    "incidents.rules, incidents.quiet_hours and version, and restart this one"
                )
            if not self._renewal.step(connection, progress.rules, self._rules):
                return _Done(is_behind=True, has_begun=False)
            progress = connection.execute(select(incident_progress)).one()
        horizon = self._horizon(connection)
        begin = _next_event(connection, progress.reached) - 1
        upto = max(progress.reached, min(horizon, begin + _EVENTS_AT_ONCE))
        is_told = progress.reached >= progress.told_after
        if not is_told:
            upto = min(upto, progress.told_after)
        found, upto = _candidates(connection, progress.reached, upto)
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
        fold_now.refold_stale()
        fold_now.show(self._snapshots)
        is_any_stale = fold_now.is_any_stale()
        if is_any_stale and not is_told:
            # Before the first step that tells they are folded, too.
            upto = min(upto, progress.told_after - 1)
        if upto > progress.reached and not fold_now.is_held:
            connection.execute(update(incident_progress).values(reached=upto))
        told = is_told and fold_now.tell()
        if read:
            self._writer.require_bounds(connection)
        is_behind = upto < horizon or is_any_stale or fold_now.has_left
        return _Done(is_behind, told)

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
        found, upto = _candidates(connection, 0, upto, among=ids)
        return [one for candidate in found for one in self._read(candidate)], upto

    def _read(self, candidate: "_Candidate") -> Iterable[ReadSignal]:
        return _signals(candidate, self._rules, self._details_read)

    def _take_each(
        self, connection: Connection, fold_now: Fold, found: Sequence["_Candidate"]
    ) -> None:
        """Fold one event after the other, and leave out those that the database refuses."""
        for candidate in found:
            try:
                with self._writer.attempt(connection):
                    fold_now.take([*self._read(candidate)])
            except RecordRefused:
                log.error("incident_event_refused", event_id=candidate.row.id)


class _Candidate(NamedTuple):
    """An event that may be a signal; `details` and `extra` as JSON."""

    row: Row[Any]
    details: str | None
    extra: str | None


def _next_event(connection: Connection, after: int) -> int:
    """Return the id of the next event: an imported one may have left a gap of any length."""
    following = select(func.min(events.c.id)).where(events.c.id > after)
    return connection.execute(following).scalar() or after + 1


def _may_be_shown(one: ReadSignal) -> bool:
    return one.signal.effect is Effect.PROBLEM and one.condition.evidence is not None


def _candidates(
    connection: Connection, after: int, upto: int, among: Collection[int] | None = None
) -> tuple[list[_Candidate], int]:
    """
    Return the events that may be signals, with what of them decides, and up to which all are read.

    It stops before `upto` where that would be too many, or too much text. With `among` it reads these
    events alone.
    """
    found, text_left, read_upto = [], _MOST_TEXT, upto
    following = _events_between(after, upto)
    if among is not None:
        following = following.where(events.c.id.in_(among))
    with contextlib.closing(Reading(connection, 0)) as reading:
        for row in reading.rows(following):
            if row.may_be_signal:
                found.append(row)
            if row.size > _LARGE:
                text_left -= row.size
            if len(found) == _SIGNALS_AT_ONCE or text_left < 0:
                read_upto = row.id
                break
    return [one for row in found for one in _in_full(connection, row)], read_upto


def _in_full(connection: Connection, row: Row[Any]) -> Iterator[_Candidate]:
    """Yield an event with its details and extra, but none longer than any message."""
    if not row.is_long:
        yield _Candidate(row, row.details, row.extra)
        return
    texts = (cast(column, Text) for column in (events.c.details, events.c.extra))
    readable = (case((func.length(one) <= _LONGER_THAN_ANY, one)) for one in texts)
    # On a server another recorder may have pruned it since.
    for found in connection.execute(select(*readable).where(events.c.id == row.id)).all():
        yield _Candidate(row, found[0], found[1])


def _events_between(after: int, upto: int) -> Select[Any]:
    """Select the events that may be signals, and those that are large; no long text."""
    columns = events.c
    details, extra = cast(columns.details, Text), cast(columns.extra, Text)
    says = (columns.type == "alert", has_tag(columns.summary))
    may_be_signal = or_(
        *says,
        func.coalesce(details.contains('"incident"'), false()),
        func.coalesce(extra.contains('"subject"'), false()),
    )
    is_long = or_(*(func.coalesce(func.length(one) > _LONG, false()) for one in (details, extra)))
    size = (
        func.length(columns.summary)
        + func.coalesce(func.length(details), 0)
        + func.coalesce(func.length(extra), 0)
    )
    return (
        select(
            columns.id, micros(columns.timestamp).label("at"), columns.type, columns.severity,
            columns.node, columns.cluster,
            func.substr(columns.summary, 1, _MOST_SUMMARY).label("summary"),
            _if_short(details).label("details"), _if_short(extra).label("extra"),
            is_long.label("is_long"),
            columns.resolved, columns.resolved_by,
            micros(columns.resolved_at).label("resolved_at"),
            micros(columns.recorded_at).label("recorded_at"),
            may_be_signal.label("may_be_signal"), size.label("size"),
        )
        .where(columns.id > after, columns.id <= upto, columns.type != "metric")
        # In this order: no more long texts are searched than a step reads.
        .where(
            or_(
                *says, func.length(details) > _LARGE, func.length(extra) > _LARGE,
                details.contains('"incident"'), extra.contains('"subject"'),
            )
        )
        .order_by(columns.id)
    )  # fmt: skip


def _if_short(text: ColumnElement[str]) -> ColumnElement[str]:
    return case((func.length(text) <= _LONG, text))


def _signals(candidate: _Candidate, rules: Rules, names: Collection[str]) -> Iterable[ReadSignal]:
    """Yield the signals of an event: what it says, and that a person has resolved it."""
    row = candidate.row
    event = EventFacts(
        row.type, row.severity, row.node, row.cluster, row.summary,
        _members(candidate.details, names), _subject(candidate.extra),
    )  # fmt: skip
    if (found := read_event(event, rules)) is None:
        return
    condition, effect = found
    at = _time_of(row)
    yield ReadSignal(row.id, condition, Signal(at, effect, row.severity))
    if row.resolved and effect is Effect.PROBLEM:
        resolved_at = max(at, row.resolved_at or at)
        resolved = Signal(resolved_at, Effect.RESOLVE, by=row.resolved_by, of=at)
        yield ReadSignal(row.id, condition, resolved)


def _time_of(row: Row[Any]) -> int:
    """
    Return the time of an event, or that of its recording if a wrong clock dated it far ahead.

    Otherwise no other event of its condition would count until then.
    """
    if row.recorded_at < UNSET or row.at <= row.recorded_at + FUTURE:
        return int(row.at)
    # The events of a batch have one such time: so they stay in their order.
    return int(row.recorded_at) + int(row.id) % _ORDERED


def _members(text: str | None, names: Iterable[str]) -> dict[str, Any]:
    """Return the texts and numbers with these names of an object, of anything else none."""
    written = _written(text, names)
    try:
        return {
            name: from_json(one) for name, one in written.items() if not one.startswith(("{", "["))
        }
    except ValueError:  # a number of thousands of digits
        return {}


def _written(text: str | None, names: Iterable[str]) -> dict[str, str]:
    """Return the members with these names of an object as they are written, of anything else none."""
    if text is None:
        return {}
    try:
        members = _OBJECT.decode(text)
    except (ValueError, RecursionError):  # written by another program
        return {}
    return {name: bytes(members[name]).decode() for name in names if name in members}


def _subject(extra: str | None) -> str | None:
    if extra is None or '"subject"' not in extra:
        return None
    event = _written(extra, ["cloudevent"]).get("cloudevent")
    subject = _members(event, ["subject"]).get("subject")
    return subject if isinstance(subject, str) and subject else None
