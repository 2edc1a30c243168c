"""Queries for snapshots."""

import zlib
from datetime import datetime
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from sqlalchemy import (
    LargeBinary,
    Row,
    Select,
    bindparam,
    func,
    select,
    type_coerce,
)

from jarvis_recorder.errors import MoreRoomNeeded, NotFound, ResultTooLarge
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.expressions import micros, octets
from jarvis_recorder.storage.queries.clusters import (
    chosen_cluster,
    clusters_of_snapshots,
    known_clusters,
)
from jarvis_recorder.storage.queries.cursors import Beyond, read_cursor
from jarvis_recorder.storage.queries.json_rows import Line, named, write_page
from jarvis_recorder.storage.queries.present import end_of_present
from jarvis_recorder.storage.queries.reading import Queries, Query, Reading
from jarvis_recorder.storage.tables import cluster_snapshots
from jarvis_recorder.wire.rpc.params import LatestSnapshot, ListSnapshots, SnapshotAt
from jarvis_recorder.wire.times import format_rfc3339

_columns: Final = cluster_snapshots.c
_NEWEST_FIRST: Final = (_columns.timestamp.desc(), _columns.id.desc())
_TIME: Final = micros(_columns.timestamp)
_EXTRA: Final = octets(_columns.extra)
# The fields of a snapshot without its body, which may be large.
_HEADS: Final = select(
    _columns.id,
    _columns.message_id,
    _columns.cluster,
    _TIME.label("timestamp"),
    _columns.stamped,
    _columns.size_bytes,
    micros(_columns.recorded_at).label("recorded_at"),
    func.length(_EXTRA).label("extra_bytes"),
)
_BODY: Final = select(type_coerce(_columns.snapshot, LargeBinary), _EXTRA).where(
    _columns.id == bindparam("id")
)
# At most what the other fields take.
_FRAME_BYTES: Final = 4_096


class SnapshotText(NamedTuple):
    """A snapshot as it is recorded, and as a list names it; both are JSON."""

    head: bytes
    text: bytes


def latest_snapshot(clock: Clock, reading: Reading, params: LatestSnapshot) -> bytes:
    """
    Return the newest snapshot of a cluster that is not in the future.

    If all are, return the one received last, as this clock is more likely wrong.

    Raises:
        InvalidParameter: There are several clusters, and none is named.
        NotFound: The cluster has no snapshot.
        MoreRoomNeeded: It is larger than the room.
    """
    return _one(reading, _newest(clock, reading, cluster_of(reading, params.cluster)))


def _newest(clock: Clock, reading: Reading, cluster: str) -> Select[Any]:
    newest = _of_cluster(cluster)
    present = newest.where(_columns.timestamp < end_of_present(clock))
    if reading.connection.execute(present.with_only_columns(_columns.id)).first() is not None:
        return present
    return newest.order_by(None).order_by(_columns.id.desc())


def newest_snapshot(clock: Clock, reading: Reading, cluster: str, room: int) -> bytes | None:
    """
    Return the snapshot that `latest_snapshot` does.

    If it is larger than `room`, its body is left out and named in `omitted`.
    """
    head = reading.connection.execute(_newest(clock, reading, cluster)).first()
    return None if head is None else _written(reading, head, room)


def snapshot_at(reading: Reading, params: SnapshotAt) -> bytes:
    """
    Return the newest snapshot of a cluster at or before a time.

    Raises:
        InvalidParameter: There are several clusters, and none is named.
        NotFound: The cluster has none so old.
        MoreRoomNeeded: It is larger than the room.
    """
    before = _columns.timestamp <= params.timestamp
    return _one(reading, _of_cluster(cluster_of(reading, params.cluster)).where(before))


def cluster_of(reading: Reading, named: str | None) -> str:
    """
    Return the cluster that a request for snapshots names, or else the only one.

    Raises:
        InvalidParameter: There are several clusters.
    """
    if named is not None:
        return named
    # A cluster named only by events has no snapshots, so it is no candidate.
    return chosen_cluster(None, clusters_of_snapshots(reading) or known_clusters(reading))


def snapshot_in_force(reading: Reading, cluster: str, moment: datetime, room: int) -> bytes | None:
    """
    Return the newest snapshot of a cluster at or before a time.

    If it is larger than `room`, its body is left out and named in `omitted`.
    """
    newest = _of_cluster(cluster).where(_columns.timestamp <= moment)
    head = reading.connection.execute(newest).first()
    return None if head is None else _written(reading, head, room)


def snapshot_text(
    reading: Reading, cluster: str, moment: datetime, most: int
) -> SnapshotText | None:
    """
    Return the newest snapshot of a cluster at or before a time as text.

    Raises:
        ResultTooLarge: It has more than `most` bytes.
    """
    newest = _of_cluster(cluster).where(_columns.timestamp <= moment)
    head = reading.connection.execute(newest).first()
    if head is None:
        return None
    if head.size_bytes > most:
        raise too_large_to_compare()
    packed, _ = reading.connection.execute(_BODY, {"id": head.id}).one()
    return SnapshotText(_line(head).text, zlib.decompress(packed, bufsize=head.size_bytes + 1))


def too_large_to_compare() -> ResultTooLarge:
    """Return the error for snapshots of which one, or both together, are too large to be compared."""
    return ResultTooLarge(
        "the snapshots are too large to be compared", "get both by `snapshots.at` and compare them"
    )


def list_snapshots(clock: Clock, reading: Reading, params: ListSnapshots) -> bytes:
    """Return a page of snapshots without their bodies, newest first; see `end_of_present`."""
    heads = select(_columns.id, _columns.cluster, _TIME.label("timestamp"), _columns.size_bytes)
    if params.cluster is not None:
        heads = heads.where(_columns.cluster == params.cluster)
    if params.since is not None:
        heads = heads.where(_columns.timestamp >= params.since)
    heads = heads.where(_columns.timestamp < (params.until or end_of_present(clock)))
    heads = heads.where(
        *Beyond(read_cursor(params, int, int)).only(_columns.timestamp, _columns.id)
    )
    newest_first = heads.order_by(*_NEWEST_FIRST).limit(params.limit + 1)
    lines = (_line(row) for row in reading.rows(newest_first))
    return write_page(reading, params, "snapshots", lines)


def _line(row: Row[Any]) -> Line:
    head = {
        "id": row.id,
        "cluster": row.cluster,
        "timestamp": format_rfc3339(row.timestamp),
        "size_bytes": row.size_bytes,
    }
    return Line(to_json(head), (row.timestamp, row.id))


def _of_cluster(cluster: str) -> Select[Any]:
    return _HEADS.where(_columns.cluster == cluster).order_by(*_NEWEST_FIRST).limit(1)


def _one(reading: Reading, newest: Select[Any]) -> bytes:
    head = reading.connection.execute(newest).first()
    if head is None:
        raise NotFound("there is no such snapshot: snapshots.list tells which there are")
    if _size(head) > reading.room:
        raise MoreRoomNeeded("the snapshot does not fit")
    return b'{"snapshot":%b}' % _written(reading, head, reading.room)


def _size(head: Row[Any]) -> int:
    return int(_FRAME_BYTES + head.size_bytes + (head.extra_bytes or 0))


def _written(reading: Reading, head: Row[Any], room: int) -> bytes:
    """Return a snapshot, without its large fields if they do not fit."""
    parts = [b"{}", b"null"]
    omitted = []
    if _size(head) <= room:
        packed, extra = reading.connection.execute(_BODY, {"id": head.id}).one()
        # One buffer of the right size; otherwise it would grow by copying.
        parts = [zlib.decompress(packed, bufsize=head.size_bytes + 1), extra or b"null"]
    else:
        omitted = ["snapshot", *(["extra"] if head.extra_bytes else [])]
    fields = named(head) | {
        "timestamp": format_rfc3339(head.timestamp),
        "stamped": bool(head.stamped),
        "recorded_at": format_rfc3339(head.recorded_at),
        "omitted": omitted,
    }
    del fields["extra_bytes"]
    return b"".join((to_json(fields)[:-1], b',"snapshot":', parts[0], b',"extra":', parts[1], b"}"))


QUERIES: Final[Queries] = {
    LatestSnapshot: Query(latest_snapshot, needs_clock=True),
    SnapshotAt: Query(snapshot_at),
    ListSnapshots: Query(list_snapshots, needs_clock=True),
}
