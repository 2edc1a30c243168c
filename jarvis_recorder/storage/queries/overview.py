"""The query for the newest state of every cluster."""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby, pairwise
from statistics import median
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from sqlalchemy import Double, Select, cast, func, select

from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.queries.clusters import clusters_of_snapshots
from jarvis_recorder.storage.queries.present import end_of_present
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.queries.series import Stretches, stretches_of
from jarvis_recorder.storage.queries.snapshots import newest_snapshot
from jarvis_recorder.storage.tables import cluster_snapshots, snapshot_measures
from jarvis_recorder.wire.rpc.params import GetClusterOverview
from jarvis_recorder.wire.times import format_rfc3339, to_micros

_columns: Final = snapshot_measures.c
_MICROS: Final = 1_000_000
_MEASURES: Final = ("cpu", "mem", "maxmem", "disk", "maxdisk")
_MOST_CLUSTERS: Final = 50
_MOST_NODES: Final = 100
_GAPS: Final = 50
# Larger bodies are fetched by `snapshots.at`, once each.
_MOST_BODY: Final = 64 * 1024
_FRAME_BYTES: Final = 256


class _Asked(NamedTuple):
    """The parts of a question that concern each cluster."""

    clock: Clock
    reading: Reading
    since: datetime
    stretches: Stretches


def cluster_overview(clock: Clock, reading: Reading, params: GetClusterOverview) -> bytes:
    """
    Return the newest snapshot of each cluster, and the means of its nodes' measures since a time.

    What does not fit is left out: bodies first, then lines, then clusters.
    """
    stretches = stretches_of(params.since, clock() // _MICROS + 1, params.points)
    asked = _Asked(clock, reading, params.since, stretches)
    names = clusters_of_snapshots(reading)
    room = reading.room - _FRAME_BYTES
    shown: list[bytes] = []
    for place, name in enumerate(names[:_MOST_CLUSTERS]):
        share = room // (min(len(names), _MOST_CLUSTERS) - place)
        cluster = _cluster(asked, name, share)
        if cluster is None or len(cluster) > share:
            continue
        shown.append(cluster)
        room -= len(cluster) + 1
    is_whole = len(shown) == len(names)
    frame = to_json({"bucket_seconds": stretches.width, "truncated": not is_whole})
    return b'{"clusters":[%b],%b' % (b",".join(shown), frame[1:])


def _cluster(asked: _Asked, name: str, room: int) -> bytes | None:
    snapshot = newest_snapshot(asked.clock, asked.reading, name, min(_MOST_BODY, room // 2))
    if snapshot is None:  # removed since the names were read
        return None
    known = {"cluster": name, "usual_gap_seconds": _usual_gap(asked, name)}
    head = to_json(known | {"first_at": _first_at(asked, name)})[:-1]
    room -= len(head) + len(snapshot) + _FRAME_BYTES
    lines: list[bytes] = []
    for line in _lines(asked.reading, name, asked.stretches):
        room -= len(line) + 1
        if room < 0:
            break
        lines.append(line)
    return b'%b,"snapshot":%b,"lines":[%b]}' % (head, snapshot, b",".join(lines))


def _usual_gap(asked: _Asked, name: str) -> float | None:
    """Return the median of the times between the newest snapshots, None if there is one only."""
    newest = _times(asked, name).order_by(cluster_snapshots.c.timestamp.desc()).limit(_GAPS)
    times = [row.timestamp for row in asked.reading.rows(newest)]
    gaps = [(later - earlier).total_seconds() for later, earlier in pairwise(times)]
    return median(gaps) if gaps else None


def _first_at(asked: _Asked, name: str) -> str | None:
    """Return the time of the first snapshot that is not before the time asked for."""
    timestamp = cluster_snapshots.c.timestamp
    first = _times(asked, name).where(timestamp >= asked.since).order_by(timestamp).limit(1)
    moment: Any = asked.reading.connection.execute(first).scalar()
    return None if moment is None else format_rfc3339(to_micros(moment))


def _times(asked: _Asked, name: str) -> Select[tuple[datetime]]:
    snapshots = cluster_snapshots.c
    return select(snapshots.timestamp).where(
        snapshots.cluster == name, snapshots.timestamp < end_of_present(asked.clock)
    )


def _lines(reading: Reading, cluster: str, stretches: Stretches) -> Iterator[bytes]:
    """Yield the line of each node that has values, by name."""
    names = [row.name for row in reading.rows(_nodes(cluster))]
    for name, rows in groupby(reading.rows(_means(cluster, names, stretches)), lambda row: row[0]):
        points = [_point(stretches, *row[1:]) for row in rows]
        if points := [point for point in points if len(point) > 1]:
            yield to_json({"node": name, "points": points})


def _point(stretches: Stretches, number: int, *values: float | None) -> dict[str, Any]:
    at = format_rfc3339((stretches.first + number * stretches.width) * _MICROS)
    known = zip(_MEASURES, values, strict=True)
    return {"at": at} | {measure: value for measure, value in known if value is not None}


def _means(cluster: str, names: list[str], stretches: Stretches) -> Select[Any]:
    """Select the means of each node and stretch: one range of the table's index for each node."""
    number = ((_columns.start - stretches.first) // stretches.width).label("number")
    means = (
        func.sum(_columns[f"{measure}_sum"])
        / func.nullif(cast(func.sum(_columns[f"{measure}_count"]), Double), 0)
        for measure in _MEASURES
    )
    return (
        select(_columns.name, number, *means)
        .where(
            _columns.cluster == cluster,
            _columns.kind == "node",
            _columns.name.in_(names),
            _columns.start >= stretches.first,
            _columns.start < stretches.end,
        )
        .group_by(_columns.name, "number")
        .order_by(_columns.name, "number")
    )


def _nodes(cluster: str) -> Select[Any]:
    """Select the nodes that have measures, each found by one look-up in the index."""
    of_nodes = select(func.min(_columns.name).label("name")).where(
        _columns.cluster == cluster, _columns.kind == "node"
    )
    found = of_nodes.cte("found", recursive=True)
    following = of_nodes.where(_columns.name > found.c.name).correlate(found).scalar_subquery()
    found = found.union_all(select(following).where(found.c.name.is_not(None)))
    return select(found.c.name).where(found.c.name.is_not(None)).limit(_MOST_NODES)


QUERIES: Final[Queries] = {
    GetClusterOverview: Query(cluster_overview, Pace.SCAN, needs_clock=True),
}
