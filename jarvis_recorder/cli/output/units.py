"""Times, durations and sizes as text for people."""

from collections.abc import Iterable
from datetime import datetime, timedelta, tzinfo
from typing import Final

_UNITS: Final = ((31_536_000, "y"), (86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class TimeFormat:
    """
    A format of times as local time; headings name the zone once.

    If the times have several offsets, as around a clock change, each time names its own zone.
    """

    def __init__(self, moments: Iterable[datetime | None], zone: tzinfo | None = None) -> None:
        """Use the machine's zone if `zone` is None."""
        self._zone = zone
        names = {self._local(moment).tzname() or "" for moment in moments if moment}
        self._name = names.pop() if len(names) == 1 else ""

    def _local(self, moment: datetime) -> datetime:
        try:
            return moment.astimezone(self._zone)
        except OverflowError:  # the first and the last day of the calendar
            return moment

    def heading(self, what: str = "time") -> str:
        """Return the heading of a column of times."""
        return f"{what} ({self._name or 'local'})"

    def text(self, moment: datetime | None, pattern: str = "%Y-%m-%d %H:%M:%S") -> str:
        """Format a time by `pattern`, by default to the second."""
        if moment is None:
            return "-"
        local = self._local(moment)
        # `%Y` of the year 645 is 645 on Linux.
        written = f"{local:{pattern.replace('%Y', f'{local.year:04}')}}"
        return written if self._name else f"{written} {local.tzname()}"

    def named(self, moment: datetime | None, pattern: str = "%Y-%m-%d %H:%M:%S") -> str:
        """Format a time with its zone."""
        written = self.text(moment, pattern)
        return f"{written} {self._name}" if self._name and moment else written


def duration(span: timedelta) -> str:
    """Format a duration in its two largest units: `2 h 5 min`; never negative."""
    seconds = max(0, round(span.total_seconds()))
    for place, (size, unit) in enumerate(_UNITS):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            finer = _UNITS[place + 1 : place + 2]
            parts = [f"{count} {unit}"] + [f"{rest // s} {u}" for s, u in finer if rest // s]
            return " ".join(parts)
    return "0 s"


def ago(moment: datetime, now: datetime) -> str:
    """Format the distance of a time from now: `5 min ago`, `3 s ahead`."""
    if moment > now + timedelta(seconds=1):
        return f"{duration(moment - now)} ahead"
    return f"{duration(now - moment)} ago"


def size(count: int) -> str:
    """Format a number of bytes: `1.4 MiB`."""
    if count < 1_024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1_024
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1_024:,.1f} PiB"


def counted(count: int, one: str, many: str = "") -> str:
    """Format a number of things: `1 event`, `1,204 events`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
