"""Moments, durations and sizes as people read them."""

from collections.abc import Iterable
from datetime import datetime, timedelta, tzinfo
from typing import Final

_UNITS: Final = ((31_536_000, "y"), (86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class TimeFormat:
    """
    Writes moments in local time, and says once which zone that is.

    Where the moments lie on both sides of a change of the clocks, each says it by itself.
    """

    def __init__(self, moments: Iterable[datetime | None], zone: tzinfo | None = None) -> None:
        """Without a `zone` it is that of the machine."""
        self._zone = zone
        names = {self._local(moment).tzname() or "" for moment in moments if moment}
        self._name = names.pop() if len(names) == 1 else ""

    def _local(self, moment: datetime) -> datetime:
        try:
            return moment.astimezone(self._zone)
        except OverflowError:  # the first and the last day of the calendar
            return moment

    def heading(self, what: str = "time") -> str:
        """Return what stands above a column of moments."""
        return f"{what} ({self._name or 'local'})"

    def text(self, moment: datetime | None, pattern: str = "%Y-%m-%d %H:%M:%S") -> str:
        """Return a moment to the second, or as `pattern` has it."""
        if moment is None:
            return "-"
        local = self._local(moment)
        # `%Y` of the year 645 is 645 on Linux.
        written = f"{local:{pattern.replace('%Y', f'{local.year:04}')}}"
        return written if self._name else f"{written} {local.tzname()}"

    def named(self, moment: datetime | None, pattern: str = "%Y-%m-%d %H:%M:%S") -> str:
        """Return a moment with its zone."""
        written = self.text(moment, pattern)
        return f"{written} {self._name}" if self._name and moment else written


def duration(span: timedelta) -> str:
    """Return a duration in its two largest units: `2 h 5 min`; never negative."""
    seconds = max(0, round(span.total_seconds()))
    for place, (size, unit) in enumerate(_UNITS):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            finer = _UNITS[place + 1 : place + 2]
            parts = [f"{count} {unit}"] + [f"{rest // s} {u}" for s, u in finer if rest // s]
            return " ".join(parts)
    return "0 s"


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago a moment was, or how far ahead it lies."""
    if moment > now + timedelta(seconds=1):
        return f"{duration(moment - now)} ahead"
    return f"{duration(now - moment)} ago"


def size(count: int) -> str:
    """Return a number of bytes in the unit that suits it: `1.4 MiB`."""
    if count < 1_024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1_024
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1_024:,.1f} PiB"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number of things: `1 event`, `1,204 events`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
