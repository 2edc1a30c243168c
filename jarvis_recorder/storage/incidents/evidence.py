"""The evidence of incidents: what snapshots show of nodes, guests and storages."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, LargeBinary, Row, Select, select, type_coerce

from jarvis_recorder.retention_policy import UNSET
from jarvis_recorder.storage.engine import Readers
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.clusters import clusters_behind
from jarvis_recorder.storage.queries.present import end_of_present
from jarvis_recorder.storage.queries.reading import Pace, Reading
from jarvis_recorder.storage.series import MOST_BYTES, SPAN_SECONDS, start_of, values_of
from jarvis_recorder.storage.tables import cluster_snapshots, snapshot_measures
from jarvis_recorder.wire.measures import MEASURES
from jarvis_recorder.wire.times import EARLIEST, LATEST, to_datetime

_ONLINE: Final = MEASURES.index("online")
_stored: Final = cluster_snapshots.c
_measures: Final = snapshot_measures.c
# As much as a step of the incidents reads again of older snapshots, and one of them at least; it
# takes a tenth of a second.
_MOST_SEARCHES: Final = 200
_MOST_BYTES: Final = 4 * 1024 * 1024
_MOST_IN_A_STRETCH: Final = 200
# As much as is read of the newest ones at once: one of them, at least.
_CLUSTERS_AT_ONCE: Final = 100
_MOST_BYTES_OF_NEWEST: Final = 1024 * 1024
# Some 20 MB.
_MOST_OBJECTS: Final = 100_000


Shown = tuple[str, str]
"""Kind and name of an object, as snapshots show it."""


class ShownObjects(NamedTuple):
    """The objects that a snapshot of a cluster shows, and whether each is up."""

    cluster: str
    at: int
    recorded_at: int
    is_up: Mapping[Shown, bool]


class Sighting(NamedTuple):
    """The newest snapshot of the one cluster that shows an object: under which name, and if up."""

    cluster: str
    at: int
    recorded_at: int
    shown_as: Shown
    is_up: bool


class ProblemTime(NamedTuple):
    """A problem: its time, and how far that was ahead of the clock of the recorder."""

    at: int
    ahead: int

    def shown_at(self, at: int, recorded_at: int) -> int | None:
        """
        Return when a snapshot showed its object, None if it was taken before the problem came.

        What a snapshot shows was so before it was recorded, whatever its own clock says; by the
        clock of the problem, as both may be of one publisher, that is later.
        """
        if recorded_at >= UNSET:
            at = min(at, recorded_at + self.ahead)
        return at if at > self.at else None


class SearchRange(NamedTuple):
    """
    The part of a condition that is yet to be compared with snapshots.

    Its problems from one time on, and that before them, with what was shown after another time.
    """

    problems: int = LATEST
    snapshots: int = EARLIEST

    def with_problem(self, at: int) -> "SearchRange":
        """Return a look at one more problem, and at all that follows it."""
        return self if at >= self.problems else SearchRange(at)


class Up(NamedTuple):
    """The time at which an object was shown up, and that at which this was recorded."""

    at: int
    recorded_at: int


class SearchedEnough(Exception):
    """As much was searched as a step may; `upto` a time the search is done."""

    def __init__(self, upto: int) -> None:
        super().__init__(upto)
        self.upto = upto


class _Compared(NamedTuple):
    """
    The objects compared: all that were asked for, as they were shown by then, but for what is left.

    `events` are those of which something may be left.
    """

    changes: int = 0
    asked: AbstractSet[Shown] = frozenset()
    left: Mapping[str, SearchRange] = {}
    events: AbstractSet[int] = frozenset()


class _Read(NamedTuple):
    """A snapshot by its id, and what it shows; without its objects if they were too many to keep."""

    snapshot_id: int
    shown: ShownObjects
    is_kept: bool = True


class _Piece(NamedTuple):
    """The next clusters, what is new of them, and whether there may be others behind them."""

    clusters: Sequence[str]
    new: Mapping[str, _Read]
    has_more: bool


class NewestSnapshots:
    """
    The newest snapshot of each cluster, as far as it was read: all that it shows.

    They are read cluster by cluster, in pieces, next to the writer, and only while incidents ask.
    An incident of another object has none of them read again.
    """

    def __init__(self) -> None:
        self._read: dict[str, _Read] = {}
        self._reached: list[str] = []
        self._changes = 0
        self._compared = self._looked_at = _Compared()
        self.are_wanted = False
        """True if the last step had incidents of whose objects snapshots may show something."""
        self.is_complete = False
        """True once each cluster was read since the recorder has begun."""

    async def read_some(self, readers: Readers, now: int, until: float) -> bool:
        """Read the next clusters, and return whether there may be more; raises as `readers.run`."""
        after = self._reached[-1] if self._reached else None
        known = {cluster: read.snapshot_id for cluster, read in self._read.items()}
        read = partial(_next_piece, after, known, now)
        # Small enough not to wait for those who search: events wait for the first of them.
        piece = await readers.run(read, until, 0, pace=Pace.QUICK)
        self._reached += piece.clusters
        for cluster, new in piece.new.items():
            self._read.pop(cluster, None)
            self._read[cluster] = self._kept(new)
            self._changes += 1
        if not piece.has_more:
            for gone in self._read.keys() - {*self._reached}:
                del self._read[gone]
                self._changes += 1
            self._reached = []
            self.is_complete = True
        return piece.has_more

    def _kept(self, new: _Read) -> _Read:
        objects = sum(len(one.shown.is_up) for one in self._read.values())
        if objects + len(new.shown.is_up) <= _MOST_OBJECTS:
            return new
        return new._replace(shown=new.shown._replace(is_up={}), is_kept=False)

    @property
    def left(self) -> Mapping[str, SearchRange]:
        """Return what the steps before have left to be looked at, by the key of its condition."""
        return self._compared.left

    @property
    def events_left(self) -> AbstractSet[int]:
        """Return the events of whose conditions something may be left."""
        return self._compared.events

    def has_news(self, asked: AbstractSet[Shown]) -> bool:
        """Return whether one of these objects, or what is shown by now, was not compared."""
        return self._compared.changes != self._changes or not asked <= self._compared.asked

    def look(
        self, asked: AbstractSet[Shown], *, anyway: bool
    ) -> Mapping[Shown, Sequence[Sighting]] | None:
        """
        Return who shows these objects; None if that was compared, or not each cluster is read yet.

        They count as compared once `compared` is called, but for what is left by `leave`.
        """
        self.are_wanted = bool(asked)
        # What a step that was rolled back has looked at is to be looked at again.
        self._looked_at = self._compared._replace(left={}, events=frozenset())
        if not self.is_complete or not asked or not (anyway or self.has_news(asked)):
            return None
        self._looked_at = _Compared(self._changes, asked)
        found: dict[Shown, list[Sighting]] = defaultdict(list)
        for cluster, read in self._read.items():
            for each in asked & read.shown.is_up.keys():
                _, at, recorded_at, is_up = read.shown
                found[each].append(Sighting(cluster, at, recorded_at, each, is_up[each]))
        return found

    def leave(self, left: Mapping[str, SearchRange], events: AbstractSet[int]) -> None:
        """Have the next step look at this, of the conditions of some events among others."""
        self._looked_at = self._looked_at._replace(left=left, events=events)

    def compared(self) -> None:
        """Note that what the last look has led to is stored."""
        self._compared = self._looked_at

    def seen_once(
        self, shown: Mapping[Shown, Sequence[Sighting]], row: Row[Any]
    ) -> Sighting | None:
        """
        Return the newest sighting of the object of an incident.

        None if no cluster shows it, or if more than one does, or might, and the incident names none
        of them. A cluster without a name is that of the events that name none.
        """
        named = "" if row.cluster is None and "" in self._read else row.cluster
        if named is None and not all(read.is_kept for read in self._read.values()):
            return None
        for name in shown_names(row):
            seen = [one for one in shown.get(name, ()) if named in (None, one.cluster)]
            if seen:
                return seen[0] if len(seen) == 1 else None
        return None


class OlderSnapshots:
    """
    The older snapshots that one step reads: each once, and not too many.

    So an incident recovers when it did, and not when the recorder got round to it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._read: dict[int, ShownObjects] = {}
        self._between: dict[tuple[str, int, int], bool] = {}
        self._searches_left = _MOST_SEARCHES
        self._bytes_left = _MOST_BYTES

    def has_any(self, cluster: str, after: int, before: int) -> bool:
        """Return whether there is a snapshot between two times; many objects ask the same."""
        asked = cluster, after, before
        if asked not in self._between:
            between = select(_stored.id).where(
                _stored.cluster == cluster,
                _stored.timestamp > to_datetime(after),
                _stored.timestamp < to_datetime(before),
            )
            found = self._connection.execute(between.limit(1)).first()
            self._between[asked] = found is not None
        return self._between[asked]

    def first_up(self, problem: ProblemTime, seen: Sighting, after: int, before: int) -> Up | None:
        """
        Return when a snapshot between two times first showed an object up that had a problem.

        None if there is none.

        Raises:
            SearchedEnough: This step has read as much as it may; the next one goes on behind that.
        """
        if after + 1 >= before:
            return None
        self._searches_left -= 1
        if self._searches_left < 0:
            raise SearchedEnough(after)
        upto = after
        for head in self._heads(seen.cluster, seen.shown_as, after, before):
            shown_at = problem.shown_at(head.at, head.recorded_at)
            if shown_at is None:
                continue
            if head.id not in self._read:
                if self._bytes_left <= 0:
                    raise SearchedEnough(upto)
                self._bytes_left -= head.size_bytes
                self._read[head.id] = _shown_objects(self._connection, head)
            upto = head.at
            if self._read[head.id].is_up.get(seen.shown_as):
                return Up(shown_at, head.recorded_at)
        return None

    def _heads(self, cluster: str, shown_as: Shown, after: int, before: int) -> Iterator[Row[Any]]:
        """Yield the snapshots of the stretches in which the object was up, oldest first."""
        kind, name = shown_as
        starts = (
            select(_measures.start)
            .where(
                _measures.cluster == cluster,
                _measures.kind == kind,
                _measures.name == name,
                _measures.start >= start_of(after),
                _measures.start <= start_of(before),
                _measures.online_high > 0,
            )
            .order_by(_measures.start)
            # In the first the object may have been up only before that time.
            .limit(2)
        )
        for start in self._connection.execute(starts).scalars().all():
            first = max(after + 1, start * 1_000_000)
            end = min(before, (start + SPAN_SECONDS) * 1_000_000)
            if first >= end:
                continue
            yield from self._connection.execute(
                _heads()
                .where(
                    _stored.cluster == cluster,
                    _stored.timestamp >= to_datetime(first),
                    _stored.timestamp < to_datetime(end),
                )
                .order_by(_stored.timestamp, _stored.id)
                .limit(_MOST_IN_A_STRETCH)
            ).all()


def shown_names(row: Row[Any]) -> tuple[Shown, ...]:
    """
    Return the names under which a snapshot may show the object of an incident, the first that it has.

    An event says on which node a storage failed, and not whether it is shared.
    """
    name = row.shown_as or ""
    if row.evidence != "storage" or not row.node or not name.startswith(f"{row.node}/"):
        return ((row.evidence, name),)
    return (row.evidence, name), (row.evidence, name.removeprefix(f"{row.node}/"))


def _heads() -> Select[Any]:
    """Select snapshots without their bodies."""
    at = micros(_stored.timestamp).label("at")
    recorded_at = micros(_stored.recorded_at).label("recorded_at")
    return select(_stored.id, _stored.cluster, at, recorded_at, _stored.size_bytes)


def _next_piece(after: str | None, known: Mapping[str, int], now: int, reading: Reading) -> _Piece:
    """Read the newest snapshots of the clusters behind one, but for those that are known by id."""
    clusters: list[str] = []
    new: dict[str, _Read] = {}
    bytes_left = _MOST_BYTES_OF_NEWEST
    for cluster in islice(clusters_behind(reading, after), _CLUSTERS_AT_ONCE):
        head = _newest_head(reading.connection, cluster, now)
        if head is not None and known.get(cluster) != head.id:
            if bytes_left <= 0:
                return _Piece(clusters, new, has_more=True)
            bytes_left -= head.size_bytes
            new[cluster] = _Read(head.id, _shown_objects(reading.connection, head))
        clusters.append(cluster)
    return _Piece(clusters, new, has_more=len(clusters) == _CLUSTERS_AT_ONCE)


def _newest_head(connection: Connection, cluster: str, now: int) -> Row[Any] | None:
    """Return the newest snapshot of a cluster that is not in the future, without its body."""
    newest_first = _heads().order_by(_stored.timestamp.desc(), _stored.id.desc())
    is_present = _stored.timestamp < end_of_present(lambda: now)
    return connection.execute(
        newest_first.where(_stored.cluster == cluster, is_present).limit(1)
    ).first()


def _shown_objects(connection: Connection, head: Row[Any]) -> ShownObjects:
    packed = connection.execute(
        select(type_coerce(_stored.snapshot, LargeBinary)).where(
            _stored.id == head.id, _stored.size_bytes <= MOST_BYTES
        )
    ).scalar()
    is_up: dict[Shown, bool] = {}
    shown = ShownObjects(head.cluster, head.at, head.recorded_at, is_up)
    if packed is None:
        return shown
    for _, kind, name, _, *values in values_of(head.cluster, head.at, packed, head.size_bytes):
        if values[_ONLINE] is not None:
            # A shared storage is there once for each node: it is up if it is so on all.
            is_up[kind, name] = values[_ONLINE] > 0 and is_up.get((kind, name), True)
    return shown
