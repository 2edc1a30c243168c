"""Questions about snapshots."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Integer, Row, Select, literal, select, tuple_

from jarvis_recorder.errors import NotFound
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.cursors import read_cursor, write_cursor
from jarvis_recorder.storage.present import end_of_present
from jarvis_recorder.storage.rows import parsed
from jarvis_recorder.storage.tables import Instant, cluster_snapshots
from jarvis_recorder.wire.answers import OneSnapshot, SnapshotHead, SnapshotPage, StoredSnapshot
from jarvis_recorder.wire.questions import LatestSnapshot, ListSnapshots, SnapshotAt
from jarvis_recorder.wire.times import to_datetime, to_micros

_columns: Final = cluster_snapshots.c
_NEWEST_FIRST: Final = (_columns.timestamp.desc(), _columns.id.desc())


def latest_snapshot(clock: Clock, connection: Connection, question: LatestSnapshot) -> OneSnapshot:
    """
    Return the newest snapshot of a cluster that is not of the future.

    Where all are, the one received last: then it is rather the clock that is wrong.

    Raises:
        NotFound: There is none of this cluster.
    """
    newest = _of_cluster(question.cluster)
    present = newest.where(_columns.timestamp < end_of_present(clock))
    if connection.execute(present.with_only_columns(_columns.id)).first() is not None:
        return _one(connection, present)
    return _one(connection, newest.order_by(None).order_by(_columns.id.desc()))


def snapshot_at(connection: Connection, question: SnapshotAt) -> OneSnapshot:
    """
    Return the newest snapshot of a cluster at or before a moment.

    Raises:
        NotFound: There is none so old.
    """
    before = _columns.timestamp <= question.timestamp
    return _one(connection, _of_cluster(question.cluster).where(before))


def snapshot_in_force(connection: Connection, moment: datetime) -> StoredSnapshot | None:
    """Return the newest snapshot of any cluster at or before a moment."""
    newest = (
        select(cluster_snapshots)
        .where(_columns.timestamp <= moment)
        .order_by(*_NEWEST_FIRST)
        .limit(1)
    )
    row = connection.execute(newest).first()
    return None if row is None else _stored(row)


def list_snapshots(clock: Clock, connection: Connection, question: ListSnapshots) -> SnapshotPage:
    """Return a page of snapshots without their bodies, newest first; see `end_of_present`."""
    heads = select(_columns.id, _columns.cluster, _columns.timestamp, _columns.size_bytes)
    if question.cluster is not None:
        heads = heads.where(_columns.cluster == question.cluster)
    if question.since is not None:
        heads = heads.where(_columns.timestamp >= question.since)
    heads = heads.where(_columns.timestamp < (question.until or end_of_present(clock)))
    if (position := read_cursor(question, int, int)) is not None:
        micros, snapshot_id = position
        end = tuple_(literal(to_datetime(int(micros)), Instant()), literal(snapshot_id, Integer()))
        heads = heads.where(tuple_(_columns.timestamp, _columns.id) < end)
    newest_first = heads.order_by(*_NEWEST_FIRST).limit(question.limit + 1)
    found = [SnapshotHead(*row) for row in connection.execute(newest_first)]
    page = found[: question.limit]
    if len(found) == len(page):
        return SnapshotPage(page, None)
    last = page[-1]
    return SnapshotPage(page, write_cursor(question, to_micros(last.timestamp), last.id))


def _of_cluster(cluster: str) -> Select[Any]:
    return (
        select(cluster_snapshots)
        .where(_columns.cluster == cluster)
        .order_by(*_NEWEST_FIRST)
        .limit(1)
    )


def _one(connection: Connection, newest: Select[Any]) -> OneSnapshot:
    row = connection.execute(newest).first()
    if row is None:
        raise NotFound("there is no such snapshot: snapshots.list tells which there are")
    return OneSnapshot(_stored(row))


def _stored(row: Row[Any]) -> StoredSnapshot:
    fields = row._asdict()
    return StoredSnapshot(
        **fields | {"snapshot": parsed(fields["snapshot"]), "extra": parsed(fields["extra"])}
    )
