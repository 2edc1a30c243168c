"""Queries for the measures of snapshots over time."""

from collections.abc import Iterator
from datetime import datetime
from math import ceil
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from sqlalchemy import Double, Select, cast, func, or_, select

from jarvis_recorder.errors import NotFound, ResultTooLarge
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.forecast import Value, forecast
from jarvis_recorder.storage.queries.present import end_of_present
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.queries.snapshots import cluster_of
from jarvis_recorder.storage.series import SPAN_SECONDS, start_of
from jarvis_recorder.storage.tables import snapshot_measures
from jarvis_recorder.wire.measures import LIMITS
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import ForecastMeasure, MeasureSeries
from jarvis_recorder.wire.rpc.results import Forecast
from jarvis_recorder.wire.times import format_rfc3339, to_datetime, to_micros

_columns: Final = snapshot_measures.c
_MICROS: Final = 1_000_000
_FRAME_BYTES: Final = 256
_DAYS: Final = 30


class Stretches(NamedTuple):
    """The beginning of the first stretch, the end of the last one, and the width, in seconds."""

    first: int
    end: int
    width: int


def stretches_of(since: datetime, end: int, points: int) -> Stretches:
    """Return equal stretches from a time to an end in seconds, as many as `points` at most."""
    first = start_of(to_micros(since))
    width = SPAN_SECONDS * max(1, ceil((end - first) / SPAN_SECONDS / points))
    return Stretches(first, end, width)


def measure_series(reading: Reading, params: MeasureSeries) -> bytes:
    """
    Return minimum, mean and maximum of measures in equal stretches of time, oldest first.

    A stretch without values is left out; an object that is unknown has none at all.

    Raises:
        InvalidParameter: There are several clusters, and none is named.
        ResultTooLarge: The points do not fit into the room.
    """
    cluster = cluster_of(reading, params.cluster)
    end = ceil(to_micros(params.until) / _MICROS)
    stretches = stretches_of(params.since, end, params.points)
    room = reading.room - _FRAME_BYTES
    lines = []
    for line in _points(reading, params, cluster, stretches):
        room -= len(line) + 1
        if room < 0:
            raise ResultTooLarge(
                "the points do not fit into a reply", "ask for fewer points, or fewer measures"
            )
        lines.append(line)
    return b'{"points":[%b],"bucket_seconds":%d}' % (b",".join(lines), stretches.width)


def _summed(params: MeasureSeries, cluster: str, stretches: Stretches) -> Select[Any]:
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
    reading: Reading, params: MeasureSeries, cluster: str, stretches: Stretches
) -> Iterator[bytes]:
    for number, *values in reading.rows(_summed(params, cluster, stretches)):
        start = stretches.first + number * stretches.width
        point: dict[str, Any] = {"at": format_rfc3339(start * _MICROS)}
        for place, measure in enumerate(params.measures):
            low, mean, high = values[3 * place : 3 * place + 3]
            if low is not None:
                # A mean of equal values may lie next to them by its rounding.
                mean = min(max(mean, low), high)
                point[measure] = {"min": low, "mean": mean, "max": high}
        if len(point) > 1:
            yield to_json(point)


def forecast_measure(clock: Clock, reading: Reading, params: ForecastMeasure) -> bytes:
    """
    Return when a measure reaches its limit if it grows on as in its last thirty days.

    What a wrong clock has dated in the future counts only where there is nothing else.

    Raises:
        InvalidParameter: There are several clusters, and none is named.
        NotFound: No snapshot has the measure, or none has its limit and none is given.
    """
    cluster = cluster_of(reading, params.cluster)
    total, count = (_columns[f"{params.measure}_{part}"] for part in ("sum", "count"))
    known = [
        _columns.cluster == cluster,
        _columns.kind == params.kind,
        _columns.name == params.name,
        count > 0,
    ]
    limit = params.limit or (1.0 if params.measure == "cpu" else None)
    if params.measure in LIMITS:
        size = _columns[f"{LIMITS[params.measure]}_high"]
        # What is away, or off, is said to hold 0 of 0: that is no value.
        known.append(or_(size.is_(None), size > 0, total > 0))
    rows = select(_columns.start, total, count).where(*known)
    present = _columns.start <= start_of(to_micros(end_of_present(clock)))
    newest = _newest(reading, rows.where(present)) or _newest(reading, rows)
    if newest is None:
        raise NotFound("no snapshot has this measure of it")
    upto = rows.where(_columns.start <= newest.start)
    if limit is None:
        sized = _newest(reading, upto.add_columns(size).where(size > 0))
        if sized is None:
            raise NotFound("no snapshot has its limit: name one")
        limit = sized[3]
    recent = upto.where(_columns.start > newest.start - _DAYS * 86_400).order_by(_columns.start)
    values = [Value(start, total / count) for start, total, count in reading.rows(recent)]
    now = values[-1]
    growth = forecast(values, limit, now.at)
    times = growth.times(now.at) if growth else (None, None, None)
    answer = Forecast(
        growth is not None,
        None if growth is None else growth.per_day,
        now.value,
        limit,
        *(None if at is None else to_datetime(round(at) * _MICROS) for at in (*times, now.at)),
    )
    return adapter(Forecast).dump_json(answer)


def _newest(reading: Reading, rows: Select[Any]) -> Any:
    return reading.connection.execute(rows.order_by(_columns.start.desc()).limit(1)).first()


QUERIES: Final[Queries] = {
    MeasureSeries: Query(measure_series, Pace.SCAN),
    ForecastMeasure: Query(forecast_measure, Pace.SCAN, needs_clock=True),
}
