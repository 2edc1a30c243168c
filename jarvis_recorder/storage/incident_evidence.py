"""The evidence of incidents: what the newest snapshots show of nodes, guests and storages."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, LargeBinary, Row, select, type_coerce

from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.clusters import clusters_of_snapshots
from jarvis_recorder.storage.queries.present import end_of_present
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.series import values_of
from jarvis_recorder.storage.tables import cluster_snapshots
from jarvis_recorder.wire.measures import MEASURES

_ONLINE: Final = MEASURES.index("online")


class ShownObjects(NamedTuple):
    """The objects that a snapshot of a cluster shows, by kind and name, and whether each is up."""

    cluster: str
    at: int
    is_up: Mapping[tuple[str, str], bool]


class NewestSnapshots:
    """The newest snapshot of each cluster, read once."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[int, ShownObjects]] = {}

    def look(
        self, connection: Connection, now: int, *, anyway: bool
    ) -> Sequence[ShownObjects] | None:
        """Return what they show, None if that is known, and nothing new is to be compared with it."""
        is_new = False
        heads = {head.cluster: head for head in _newest_heads(connection, now)}
        for cluster, head in heads.items():
            if cluster not in self._read or self._read[cluster][0] != head.id:
                self._read[cluster] = (head.id, _shown_objects(connection, head))
                is_new = True
        for gone in self._read.keys() - heads.keys():
            del self._read[gone]
        return [shown for _, shown in self._read.values()] if is_new or anyway else None


def seen_once(shown: Sequence[ShownObjects], row: Row[Any]) -> tuple[int, bool] | None:
    """Return when one cluster shows the object of an incident, and whether it is up."""
    seen = [
        (one.at, one.is_up[row.evidence, row.shown_as])
        for one in shown
        if row.cluster in (None, one.cluster) and (row.evidence, row.shown_as) in one.is_up
    ]
    # Of the same name in two clusters neither is known to be it.
    return seen[0] if len(seen) == 1 else None


def _newest_heads(connection: Connection, now: int) -> Sequence[Row[Any]]:
    """Return the newest snapshot of each cluster that is not in the future, without its body."""
    columns = cluster_snapshots.c
    newest = []
    for cluster in clusters_of_snapshots(Reading(connection, 0)):
        head = connection.execute(
            select(columns.id, columns.cluster, micros(columns.timestamp).label("at"))
            .where(columns.cluster == cluster, columns.timestamp < end_of_present(lambda: now))
            .order_by(columns.timestamp.desc(), columns.id.desc())
            .limit(1)
        ).first()
        if head is not None:
            newest.append(head)
    return newest


def _shown_objects(connection: Connection, head: Row[Any]) -> ShownObjects:
    columns = cluster_snapshots.c
    packed, size = connection.execute(
        select(type_coerce(columns.snapshot, LargeBinary), columns.size_bytes).where(
            columns.id == head.id
        )
    ).one()
    is_up = {
        (kind, name): values[_ONLINE] > 0
        for _, kind, name, _, *values in values_of(head.cluster, head.at, packed, size)
        if values[_ONLINE] is not None
    }
    return ShownObjects(head.cluster, head.at, is_up)
