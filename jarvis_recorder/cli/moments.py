"""Times as they are typed: how long ago, a local day or time, or RFC 3339."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Final

import typer

from jarvis_recorder.wire.times import parse_rfc3339, to_datetime

HOW_TO_WRITE: Final = (
    "TIME is `30m`, `2h` or `7d` (that long ago; also `s` and `w`), `now`, a local day or time "
    "such as `2026-11-23` or `'2026-11-23 08:00'`, or RFC 3339 such as `2026-11-23T08:00:00Z`."
)
_AGO: Final = re.compile(r"([0-9]{1,9})([smhdw])").fullmatch
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LOCAL: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?"
).fullmatch


def parse_moment(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """
    Return the moment; local times are of `zone`, of the machine where there is none.

    Raises:
        ValueError: It is none; the message says how to write one.
    """
    text = text.strip()
    if text == "now":
        return now
    try:
        if ago := _AGO(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if _LOCAL(text):
            naive = datetime.fromisoformat(text)
            return (naive.replace(tzinfo=zone) if zone else naive).astimezone(UTC)
        return to_datetime(parse_rfc3339(text))
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time. {HOW_TO_WRITE}") from None


def parse_duration(text: str) -> timedelta:
    """
    Return how long `90`, `90s`, `10m`, `2h`, `1d` is.

    Raises:
        ValueError: It is none.
    """
    found = _AGO(text) or _AGO(f"{text}s")
    if found is None:
        raise ValueError(f"{text!r} is no duration such as 90s, 10m, 2h or 1d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _moment(text: str) -> datetime:
    try:
        return parse_moment(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error).replace("`", "")) from None


def _seconds(text: str) -> int:
    try:
        return round(parse_duration(text).total_seconds())
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error)) from None


Since = Annotated[
    datetime | None,
    typer.Option("--since", metavar="TIME", parser=_moment, help="From this time on."),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", metavar="TIME", parser=_moment, help="Before this time."),
]
At = Annotated[
    datetime | None,
    typer.Option("--at", metavar="TIME", parser=_moment, help="The one in force at this time."),
]
Moment = Annotated[datetime, typer.Argument(metavar="TIME", parser=_moment, help="When it was.")]
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
        help="How much time one bar stands for: `30s`, `5m`, `1d`. By default about sixty bars.",
    ),
]
