"""The evidence of incidents: what snapshots show of nodes, guests and storages."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, LargeBinary, Row, Select, select, type_coerce

from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.clusters import clusters_of_snapshots
from jarvis_recorder.storage.queries.present import end_of_present
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.series import SPAN_SECONDS, start_of, values_of
from jarvis_recorder.storage.tables import cluster_snapshots, snapshot_measures
from jarvis_recorder.wire.measures import MEASURES
from jarvis_recorder.wire.times import to_datetime

_ONLINE: Final = MEASURES.index("online")
_stored: Final = cluster_snapshots.c
_measures: Final = snapshot_measures.c
# As much as a step of the incidents reads again of older snapshots; it takes a tenth of a second.
_MOST_SEARCHES: Final = 200
_MOST_BYTES: Final = 4 * 1024 * 1024
_MOST_IN_A_STRETCH: Final = 200


Shown = tuple[str, str]
"""Kind and name of an object, as snapshots show it."""


class ShownObjects(NamedTuple):
    """The objects that a snapshot of a cluster shows, and whether each is up."""

    cluster: str
    at: int
    is_up: Mapping[Shown, bool]


class Sighting(NamedTuple):
    """The newest snapshot of the one cluster that shows an object: under which name, and if up."""

    cluster: str
    at: int
    shown_as: Shown
    is_up: bool


class _Read(NamedTuple):
    """The objects asked for that a snapshot shows."""

    snapshot_id: int
    asked: AbstractSet[Shown]
    shown: ShownObjects


class NewestSnapshots:
    """The newest snapshot of each cluster: what it shows of the objects of incidents, and no more."""

    def __init__(self) -> None:
        self._read: dict[str, _Read] = {}

    def copy(self) -> "NewestSnapshots":
        """Return another that has looked at the same, and may be given up without a trace."""
        other = NewestSnapshots()
        other._read = dict(self._read)
        return other

    def look(
        self, connection: Connection, now: int, asked: AbstractSet[Shown], *, anyway: bool
    ) -> Sequence[ShownObjects] | None:
        """Return what they show of these objects, None if that is known from the last look."""
        is_new = False
        heads = {head.cluster: head for head in _newest_heads(connection, now)}
        for cluster, head in heads.items():
            known = self._read.get(cluster)
            if known is None or known.snapshot_id != head.id or not asked <= known.asked:
                shown = _shown_objects(connection, head, asked)
                self._read[cluster] = _Read(head.id, asked, shown)
                is_new = True
        for gone in self._read.keys() - heads.keys():
            del self._read[gone]
        return [one.shown for one in self._read.values()] if is_new or anyway else None


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

    def first_up(self, cluster: str, shown_as: Shown, after: int, before: int) -> int | None:
        """
        Return the time of the first snapshot between two times that shows an object up.

        None if there is none, or if this step has read as much as it may.
        """
        self._searches_left -= 1
        if self._searches_left < 0:
            return None
        for head in self._heads(cluster, shown_as, after, before):
            if head.id not in self._read:
                self._bytes_left -= head.size_bytes
                if self._bytes_left < 0:
                    return None
                self._read[head.id] = _shown_objects(self._connection, head)
            if self._read[head.id].is_up.get(shown_as):
                return self._read[head.id].at
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


def seen_once(shown: Sequence[ShownObjects], row: Row[Any]) -> Sighting | None:
    """
    Return the newest sighting of the object of an incident.

    None if no cluster shows it, or if more than one does and the incident names none of them. A
    cluster without a name is that of the events that name none.
    """
    named = row.cluster
    if named is None and any(one.cluster == "" for one in shown):
        named = ""
    for name in shown_names(row):
        seen = [
            Sighting(one.cluster, one.at, name, one.is_up[name])
            for one in shown
            if named in (None, one.cluster) and name in one.is_up
        ]
        if seen:
            return seen[0] if len(seen) == 1 else None
    return None


def _heads() -> Select[Any]:
    """Select snapshots without their bodies."""
    at = micros(_stored.timestamp).label("at")
    return select(_stored.id, _stored.cluster, at, _stored.size_bytes)


def _newest_heads(connection: Connection, now: int) -> Sequence[Row[Any]]:
    """Return the newest snapshot of each cluster that is not in the future, without its body."""
    newest = []
    for cluster in clusters_of_snapshots(Reading(connection, 0)):
        head = connection.execute(
            _heads()
            .where(_stored.cluster == cluster, _stored.timestamp < end_of_present(lambda: now))
            .order_by(_stored.timestamp.desc(), _stored.id.desc())
            .limit(1)
        ).first()
        if head is not None:
            newest.append(head)
    return newest


def _shown_objects(
    connection: Connection, head: Row[Any], asked: AbstractSet[Shown] | None = None
) -> ShownObjects:
    packed = connection.execute(
        select(type_coerce(_stored.snapshot, LargeBinary)).where(_stored.id == head.id)
    ).scalar_one()
    is_up: dict[Shown, bool] = {}
    for _, kind, name, _, *values in values_of(head.cluster, head.at, packed, head.size_bytes):
        if values[_ONLINE] is not None and (asked is None or (kind, name) in asked):
            # A shared storage is there once for each node: it is up if it is so on all.
            is_up[kind, name] = values[_ONLINE] > 0 and is_up.get((kind, name), True)
    return ShownObjects(head.cluster, head.at, is_up)
