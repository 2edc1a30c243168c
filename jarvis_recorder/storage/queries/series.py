"""Queries for the measures of snapshots over time."""

from collections.abc import Iterator
from math import ceil
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from sqlalchemy import Double, Select, cast, func, select

from jarvis_recorder.errors import ResultTooLarge
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.queries.snapshots import cluster_of
from jarvis_recorder.storage.series import SPAN_SECONDS, start_of
from jarvis_recorder.storage.tables import snapshot_measures
from jarvis_recorder.wire.rpc.params import MeasureSeries
from jarvis_recorder.wire.times import format_rfc3339, to_micros

_columns: Final = snapshot_measures.c
_MICROS: Final = 1_000_000
_FRAME_BYTES: Final = 256


class _Stretches(NamedTuple):
    """The beginning of the first stretch, the end of the last one, and the width, in seconds."""

    first: int
    end: int
    width: int


def _stretches(params: MeasureSeries) -> _Stretches:
    first, end = start_of(to_micros(params.since)), ceil(to_micros(params.until) / _MICROS)
    width = SPAN_SECONDS * ceil((end - first) / SPAN_SECONDS / params.points)
    return _Stretches(first, end, width)


def measure_series(reading: Reading, params: MeasureSeries) -> bytes:
    """
    Return minimum, mean and maximum of measures in equal stretches of time, oldest first.

    A stretch without values is left out; an object that is unknown has none at all.

    Raises:
        InvalidParameter: There are several clusters, and none is named.
        ResultTooLarge: The points do not fit into the room.
    """
    cluster = cluster_of(reading, params.cluster)
    stretches = _stretches(params)
    room = reading.room - _FRAME_BYTES
    lines = []
    for line in _points(reading, params, cluster, stretches):
        room -= len(line) + 1
        if room < 0:
            raise ResultTooLarge("ask for fewer points, or fewer measures")
        lines.append(line)
    return b'{"points":[%b],"bucket_seconds":%d}' % (b",".join(lines), stretches.width)


def _summed(params: MeasureSeries, cluster: str, stretches: _Stretches) -> Select[Any]:
    """Select the points, counted from the first stretch: one range of the table's own index."""
    first, end, width = stretches
    number = ((_columns.start - first) // width).label("number")
    selected: list[Any] = [number]
    for measure in params.measures:
        low, total, high, count = (
            _columns[f"{measure}_{part}"] for part in ("low", "sum", "high", "count")
        )
        mean = func.sum(total) / func.nullif(cast(func.sum(count), Double), 0)
        selected += func.min(low), mean, func.max(high)
    return (
        select(*selected)
        .where(
            _columns.cluster == cluster,
            _columns.kind == params.kind,
            _columns.name == params.name,
            _columns.start >= first,
            _columns.start < end,
        )
        .group_by("number")
        .order_by("number")
    )


def _points(
    reading: Reading, params: MeasureSeries, cluster: str, stretches: _Stretches
) -> Iterator[bytes]:
    for number, *values in reading.rows(_summed(params, cluster, stretches)):
        start = stretches.first + number * stretches.width
        point: dict[str, Any] = {"at": format_rfc3339(start * _MICROS)}
        for place, measure in enumerate(params.measures):
            low, mean, high = values[3 * place : 3 * place + 3]
            if low is not None:
                # A mean of equal values may lie beside them by its rounding.
                mean = min(max(mean, low), high)
                point[measure] = {"min": low, "mean": mean, "max": high}
        if len(point) > 1:
            yield to_json(point)


QUERIES: Final[Queries] = {MeasureSeries: Query(measure_series, Pace.SCAN)}
