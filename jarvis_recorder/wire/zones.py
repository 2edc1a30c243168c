"""Time zones as requests name them."""

import re
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

_OFFSET: Final = re.compile(r"([+-])([0-9]{1,2})(?::?([0-5][0-9]))?").fullmatch


def find_zone(name: str) -> tzinfo | None:
    """Return the time zone of a name or an offset, None if there is none here."""
    if name in ("UTC", "Z"):
        return UTC
    if found := _OFFSET(name):
        sign, hours, minutes = found.groups(default="0")
        ahead = timedelta(hours=int(hours), minutes=int(minutes))
        if ahead < timedelta(days=1):
            return timezone(-ahead if sign == "-" else ahead)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None
