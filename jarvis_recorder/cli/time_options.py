"""Times as options of commands: a span from now, a local day or time, or RFC 3339."""

import os
import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from os.path import realpath
from typing import Annotated, Final

import typer

from jarvis_recorder.wire.times import EARLIEST, format_datetime, parse_instant, to_datetime
from jarvis_recorder.wire.zones import find_zone

HOW_TO_WRITE: Final = (
    "TIME is `30m`, `7d` or `2h30m` (that long ago; also `s` and `w`), `now`, a local day or time "
    "such as `yesterday`, `'today 03:00'`, `2026-11-23` or `'2026-11-23 08:00'`, RFC 3339 such "
    "as `2026-11-23T08:00:00Z`, or seconds since 1970 (milliseconds and finer by magnitude)."
)
HOW_TO_WRITE_COMING: Final = (
    "TIME is `30m`, `7d` or `2h30m` (from now on; also `s` and `w`), `22:00` (the next one), `now`, "
    "a local day or time to come such as `tomorrow`, `'tomorrow 06:00'` or `'2026-11-23 08:00'`, "
    "RFC 3339 such as `2026-11-23T08:00:00Z`, or seconds since 1970."
)
_UNITS: Final = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
# Each unit at most once, the largest first.
_SPAN: Final = re.compile(
    "(?=.)" + "".join(f"(?:(?P<{unit}>[0-9]{{1,9}}){unit})?" for unit in _UNITS)
).fullmatch
_CLOCK: Final = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?"
_NEXT_CLOCK: Final = re.compile(_CLOCK).fullmatch
_DAYS: Final = {"yesterday": -1, "today": 0, "tomorrow": 1}
_NAMED_DAY: Final = re.compile(rf"(today|yesterday)(?:[ T]({_CLOCK}))?", re.IGNORECASE).fullmatch
_COMING_DAY: Final = re.compile(rf"(today|tomorrow)(?:[ T]({_CLOCK}))?", re.IGNORECASE).fullmatch
_LOCAL: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?"
).fullmatch


def parse_time(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """
    Parse a time; local times are of `zone`, or of the machine if it is None.

    Raises:
        ValueError: The text is no time; the message says how to write one.
    """
    text = text.strip()
    if text == "now":
        return now
    try:
        if (span := _span(text)) is not None:
            return now - span
        if named := _NAMED_DAY(text):
            return _local(_on_named_day(named, now, zone), zone)
        if _LOCAL(text):
            return _local(datetime.fromisoformat(text), zone)
        return to_datetime(parse_instant(text))
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time. {HOW_TO_WRITE}") from None


def parse_coming_time(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """
    Parse a time that is now or later; local times are of `zone`, or of the machine if it is None.

    A time of day is the next such one, and of a local time that occurs twice the first to come.

    Raises:
        ValueError: The text is no time, or that time has passed; the message says how to write one.
    """
    text = text.strip()
    if text == "now":
        return now
    try:
        if (span := _span(text)) is not None:
            return now + span
        coming = _coming(text, now, zone)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time. {HOW_TO_WRITE_COMING}") from None
    if coming is None:
        raise ValueError(f"{text!r} has passed. {HOW_TO_WRITE_COMING}")
    return coming


def _coming(text: str, now: datetime, zone: tzinfo | None) -> datetime | None:
    """Return the time to come that a text names; None if it has passed."""
    if _NEXT_CLOCK(text):
        today = now.astimezone(zone).date()
        days = [_at(today, text), _at(today + timedelta(days=1), text)]
    elif named := _COMING_DAY(text):
        days = [_on_named_day(named, now, zone)]
    elif _LOCAL(text):
        days = [datetime.fromisoformat(text)]
    else:
        moment = to_datetime(parse_instant(text))
        return moment if moment >= now else None
    moments = (_local(day.replace(fold=fold), zone) for day in days for fold in (0, 1))
    return next((moment for moment in moments if moment >= now), None)


def _on_named_day(named: re.Match[str], now: datetime, zone: tzinfo | None) -> datetime:
    """Return the local time of a match of a day's name and perhaps a time of day."""
    day = now.astimezone(zone).date() + timedelta(days=_DAYS[named[1].lower()])
    return _at(day, named[2] or "00:00")


def _span(text: str) -> timedelta | None:
    """Parse a span such as `2h30m`; None if the text is not one."""
    found = _SPAN(text)
    if found is None:
        return None
    return timedelta(
        **{name: int(found[unit]) for unit, name in _UNITS.items() if found[unit] is not None}
    )


def _at(day: date, clock: str) -> datetime:
    return datetime.fromisoformat(f"{day.isoformat()}T{clock:0>{5 if len(clock) < 6 else 8}}")


def _local(naive: datetime, zone: tzinfo | None) -> datetime:
    """
    Convert a local time to UTC.

    A time that occurs twice, when clocks go back, is the first; one that is skipped, when they go
    forward, becomes later by the length of the gap.
    """
    return (naive.replace(tzinfo=zone) if zone else naive).astimezone(UTC)


def require_order(since: datetime | None, until: datetime | None) -> None:
    """
    Check that a time range does not end before it begins.

    Raises:
        typer.BadParameter: It does.
    """
    if since is not None and until is not None and since > until:
        raise typer.BadParameter(
            f"--since ({format_datetime(since)}) is later than --until ({format_datetime(until)})"
        )


def before(until: datetime, span: timedelta) -> datetime:
    """Return the time so long before another one, or the first of the calendar."""
    return until - min(span, until - to_datetime(EARLIEST))


def parse_duration(text: str) -> timedelta:
    """
    Parse a duration such as `90` (seconds), `90s`, `10m`, `2h30m` or `1d`.

    Raises:
        ValueError: The text is no duration.
    """
    span = _span(f"{text}s" if text.isdecimal() else text)
    if span is None:
        raise ValueError(f"{text!r} is no duration such as 90s, 10m, 2h30m or 1d")
    return span


def local_zone() -> str | None:
    """Return the name of this machine's time zone, else its current offset; None for UTC."""
    name = _local_name()
    if name in ("UTC", "Etc/UTC", "GMT"):
        return None
    if name and find_zone(name):
        return name
    offset = time.strftime("%z")
    return None if offset == "+0000" else offset


def _local_name() -> str:
    """Return what TZ, or else /etc/localtime, names: a time zone, a rule, or nothing."""
    name = os.environ.get("TZ", "/etc/localtime").removeprefix(":") or "UTC"
    if name.startswith("/"):
        _, _, name = realpath(name).partition("/zoneinfo/")
    return name.removeprefix("posix/")


def read_time(text: str) -> datetime:
    """Parse a time given on the command line; an invalid one is a usage error."""
    return _read(parse_time, text)


def read_coming_time(text: str) -> datetime:
    """Parse a time to come given on the command line; an invalid one is a usage error."""
    return _read(parse_coming_time, text)


def _read(parse: Callable[[str, datetime], datetime], text: str) -> datetime:
    try:
        return parse(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error).replace("`", "")) from None


def _seconds(text: str) -> int:
    try:
        return round(parse_duration(text).total_seconds())
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error)) from None


Since = Annotated[
    datetime | None,
    typer.Option("--since", metavar="TIME", parser=read_time, help="From this time on."),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", metavar="TIME", parser=read_time, help="Before this time."),
]
At = Annotated[
    datetime | None,
    typer.Option("--at", metavar="TIME", parser=read_time, help="The one in force at this time."),
]
Time = Annotated[datetime, typer.Argument(metavar="TIME", parser=read_time, help="When it was.")]
Window = Annotated[
    int | None,
    typer.Option(
        "--window",
        metavar="DURATION",
        parser=_seconds,
        help="How long, before and after together: `90s`, `10m`, `2h`. By default 10m.",
    ),
]
Bucket = Annotated[
    int | None,
    typer.Option(
        "--bucket",
        metavar="DURATION",
        parser=_seconds,
        help="How much time one bar covers: `30s`, `5m`, `1d`. By default about sixty bars.",
    ),
]
TimeZone = Annotated[
    str | None,
    typer.Option(
        "--time-zone",
        metavar="ZONE",
        help="Whose days: `Europe/Berlin`, `+02:00`, `UTC`. By default this machine's, with --json UTC.",
    ),
]
