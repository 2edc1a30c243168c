"""The number of events in buckets of time."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import pairwise
from math import ceil
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, func, literal_column, select

from jarvis_recorder.errors import ResultTooLarge
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.events import conditions
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.queries.zones import DAY_SECONDS, Zone, require_zone, zone_between
from jarvis_recorder.storage.tables import events
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import EventHistogram
from jarvis_recorder.wire.rpc.results import Bucket, Histogram
from jarvis_recorder.wire.times import to_micros

_WIDTHS: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200,
    86_400, 172_800, 604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000,
)  # fmt: skip
_BUCKETS_BY_DEFAULT: Final = 60
# Each takes a statement, even where its bucket is empty.
_MOST_ALONE: Final = 128
# The bytes of a bucket in a result, and those of each count next to its value.
_BUCKET_BYTES: Final = 80
_COUNT_BYTES: Final = 24

_columns: Final = events.c
_TIME: Final = micros(_columns.timestamp)


def histogram(reading: Reading, params: EventHistogram) -> bytes:
    """
    Return the number of events in each bucket of time, including empty buckets.

    Raises:
        InvalidParameter: There is no such time zone.
        ResultTooLarge: There are more distinct values than the room holds.
    """
    width = params.bucket_seconds or _usual_width(params)
    span = width * 1_000_000
    since, until = to_micros(params.since), to_micros(params.until)
    # Only buckets of whole days depend on the time zone and its clock changes; a name that is none
    # is refused for all.
    if params.time_zone is not None:
        require_zone(params.time_zone)
    named = None if width % DAY_SECONDS else params.time_zone
    zone = reading.aside(partial(zone_between, named, since, until))
    first = zone.local(since) // span
    last = -(-zone.local(until) // span)
    # The first may begin before the first year of a datetime.
    starts = [zone.start_of_day(number * span) for number in range(first, last)]
    counts = [0] * len(starts)
    by: list[dict[str, int]] = [{} for _ in starts]
    room = reading.room - _BUCKET_BYTES * len(starts)
    # Where clocks go back over midnight a day is no one stretch.
    if reading.groups_by_sorting and len(starts) <= _MOST_ALONE and not zone.changes:
        found = _counted_alone(reading, params, starts)
    else:
        found = _counted_together(reading, params, span, zone, first)
    for number, value, count in found:
        # When clocks go back over midnight, an event may fall into the day before the first.
        place = min(max(number, 0), len(starts) - 1)
        counts[place] += count
        if params.by is not None:
            room -= _COUNT_BYTES + len((value or "").encode())
            by[place][value or ""] = by[place].get(value or "", 0) + count
        if room < 0:
            raise ResultTooLarge(
                "the counts do not fit into a reply", "ask for fewer buckets, or without `by`"
            )
    buckets = [Bucket(*bucket) for bucket in zip(starts, counts, by, strict=True)]
    return adapter(Histogram).dump_json(Histogram(width, buckets))


def _usual_width(params: EventHistogram) -> int:
    """Return the smallest round width that makes at most about sixty buckets."""
    seconds = (params.until - params.since).total_seconds()
    wanted = seconds / _BUCKETS_BY_DEFAULT
    return next((width for width in _WIDTHS if width >= wanted), ceil(wanted))


_Found = Iterator[tuple[int, str | None, int]]
"""Number of a bucket, value, count."""


def _counted_together(
    reading: Reading, params: EventHistogram, span: int, zone: Zone, first: int
) -> _Found:
    """Yield the buckets that are not empty, counted by one statement."""
    # Floor division, also before 1970; SQLite's own rounds towards zero.
    time = zone.shifted(_TIME)
    bucket = ((time - (time % span + span) % span) // span).label("bucket")
    counted = select(bucket, _value(params).label("value"), func.count())
    statement = _between(reading, params, counted).group_by("bucket", "value")
    limits = {"begin": params.since, "end": params.until}
    for number, named, count in reading.rows(statement, limits):
        yield number - first, named, count


def _counted_alone(reading: Reading, params: EventHistogram, starts: Sequence[datetime]) -> _Found:
    """Yield the buckets, each counted by a statement of its own, which sorts its rows alone."""
    value = _value(params)
    statement = _between(reading, params, select(value, func.count()))
    if params.by is not None:
        statement = statement.group_by(value)
    edges = [params.since, *starts[1:], params.until]
    for number, (begin, end) in enumerate(pairwise(edges)):
        for named, count in reading.rows(statement, {"begin": begin, "end": end}):
            yield number, named, count


def _value(params: EventHistogram) -> ColumnElement[Any]:
    return literal_column("''") if params.by is None else _columns[params.by]


def _between(reading: Reading, params: EventHistogram, counted: Select[Any]) -> Select[Any]:
    return counted.where(
        _columns.timestamp >= bindparam("begin", type_=_columns.timestamp.type),
        _columns.timestamp < bindparam("end", type_=_columns.timestamp.type),
        *conditions(reading, params).together(),
    )


QUERIES: Final[Queries] = {EventHistogram: Query(histogram, Pace.SCAN)}
