"""Local days of a time zone, whose clocks go forward and back."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Integer, case, literal_column

from jarvis_recorder.errors import InvalidParameter
from jarvis_recorder.wire.times import EARLIEST, EPOCH, LATEST, to_datetime, to_micros
from jarvis_recorder.wire.zones import find_zone

DAY_SECONDS: Final = 86_400
_SECOND: Final = 1_000_000
# Outside these years a zone has one constant offset: records are of today, and the time of a
# wrong clock is not worth computing ten thousand clock changes.
_YEARS: Final = range(1900, 2100)


class OffsetChange(NamedTuple):
    """A time, and the lead of local time over UTC from then on; both in microseconds."""

    since: int
    offset: int


class Zone(NamedTuple):
    """A time zone within a span of time: its offset at the beginning, and its changes."""

    zone: tzinfo
    first: int
    changes: tuple[OffsetChange, ...]

    def shifted(self, time: ColumnElement[Any]) -> ColumnElement[Any]:
        """Convert a column to local time, in microseconds as if it were UTC."""
        if not self.changes and not self.first:
            return time
        return time + _offset(time, self.first, self.changes)

    def local(self, micros: int) -> int:
        """Convert a time within the span to local time, as `shifted` does."""
        passed = [step.offset for step in self.changes if step.since <= micros]
        return micros + (passed[-1] if passed else self.first)

    def start_of_day(self, micros: int) -> datetime:
        """Return the UTC time of a local midnight; a day that the zone skips is empty."""
        try:
            naive = to_datetime(min(max(micros, EARLIEST), LATEST)).replace(tzinfo=self.zone)
            return naive.astimezone(UTC)
        except OverflowError:
            return to_datetime(EARLIEST if micros < 0 else LATEST)


def zone_between(name: str | None, since: int, until: int) -> Zone:
    """
    Return a time zone, UTC by default, for the times between `since` and `until`.

    Raises:
        InvalidParameter: There is no time zone of this name.
    """
    if name is None:
        return Zone(UTC, 0, ())
    zone = require_zone(name)
    first = max(since, to_micros(datetime(_YEARS[0], 1, 1, tzinfo=UTC)))
    return Zone(zone, _offset_at(zone, first), tuple(_changes_between(zone, first, until)))


def require_zone(name: str) -> tzinfo:
    """
    Return the time zone of a name or an offset.

    Raises:
        InvalidParameter: There is none.
    """
    if (zone := find_zone(name)) is None:
        raise InvalidParameter(
            "time_zone",
            "no such time zone is known here: name one as Europe/Berlin, or give an offset as +02:00",
        )
    return zone


def _changes_between(zone: tzinfo, since: int, until: int) -> Iterator[OffsetChange]:
    if not isinstance(zone, ZoneInfo):
        return
    years = range(to_datetime(since).year, to_datetime(until).year + 1)
    for year in years[: max(_YEARS.stop - years.start, 0)]:
        for step in _changes(zone, year):
            if since < step.since < until:
                yield step


@lru_cache(maxsize=4_096)
def _changes(zone: ZoneInfo, year: int) -> Sequence[OffsetChange]:
    """Return the changes of a zone's offset in a year, found by comparing each day."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    days = (datetime(year + 1, 1, 1, tzinfo=UTC) - start).days
    marks = [to_micros(start) + day * DAY_SECONDS * _SECOND for day in range(days + 1)]
    offsets = [_offset_at(zone, mark) for mark in marks]
    steps = []
    for day in range(days):
        if offsets[day] != offsets[day + 1]:
            change = _change_in(zone, marks[day], marks[day + 1])
            steps.append(OffsetChange(change, offsets[day + 1]))
    return steps


def _change_in(zone: ZoneInfo, before: int, after: int) -> int:
    """Return the first second with the new offset, by bisection."""
    old = _offset_at(zone, before)
    while after - before > _SECOND:
        middle = (before + after) // 2 // _SECOND * _SECOND
        if _offset_at(zone, middle) == old:
            before = middle
        else:
            after = middle
    return after


def _offset_at(zone: tzinfo, micros: int) -> int:
    try:
        ahead = to_datetime(micros).astimezone(zone).utcoffset() or timedelta()
    except OverflowError:
        return 0
    return to_micros(EPOCH + ahead)


def _offset(
    time: ColumnElement[Any], first: int, changes: Sequence[OffsetChange]
) -> ColumnElement[Any]:
    """Return the offset as a balanced CASE, so that each row takes a few comparisons at most."""
    if not changes:
        return literal_column(str(first), Integer())
    middle = len(changes) // 2
    change = changes[middle]
    earlier = _offset(time, first, changes[:middle])
    later = _offset(time, change.offset, changes[middle + 1 :])
    return case((time < literal_column(str(change.since), Integer()), earlier), else_=later)
