"""Times as people type them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import typer

_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII).fullmatch
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
HELP: Final = "RFC 3339, a local time such as 2026-11-23T08:00, `now`, or how long ago: 30m, 2h, 7d"


def moment(text: str, now: datetime) -> datetime:
    """
    Return the moment that a text means; a time without an offset is one of this machine's zone.

    Raises:
        typer.BadParameter: It means none.
    """
    if text == "now":
        return now
    try:
        if ago := _AGO(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time: {HELP}") from None
