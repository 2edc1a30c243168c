"""
Times as mail, web servers, databases and ISO 8601's other forms write them, as RFC 3339.

Each spelling here names one instant: it has a day, a time of day and an offset. What has no
offset, or only the name of a zone, is refused.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, timedelta
from typing import Any, Final

A_TIME: Final = "a time must be RFC 3339, such as 2026-01-31T08:00:00Z"
_LONGEST: Final = 128
_MONTHS: Final = (
    "JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER",
    "OCTOBER", "NOVEMBER", "DECEMBER",
)  # fmt: skip
_MONTH_OF: Final = {
    name: number for number, month in enumerate(_MONTHS, 1) for name in (month, month[:3])
}
_BEHIND_HOUR: Final = (
    r":?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2}))?(?:[.,](?P<fraction>[0-9]+))?"
)
_CLOCK: Final = rf"(?P<hour>[0-9]{{2}}){_BEHIND_HOUR}"
_ZONE: Final = r"(?P<zone>[^0-9.,].*)?"
_BEFORE_YEAR: Final = r"[A-Z]+|(?:GMT|UTC)?[+-][0-9]{2}(?::?[0-9]{2})?"
_DAY_NAME: Final = r"(?:(?:MON|TUES?|WED(?:NES)?|THU(?:RS)?|FRI|SAT(?:UR)?|SUN)(?:DAY)?,? )?"
_NAMED_MONTH: Final = r"(?P<name>[A-Z]{3,9})"
_YEAR: Final = r"(?P<year>[0-9]{4})"
_IN_NUMBERS: Final = r"(?P<month>[0-9]{2})(?P=between)(?P<day>[0-9]{2})"
_OF_MONTH: Final = r"(?P<day>[0-9]{1,2})"
_FORMS: Final = tuple(
    re.compile(form, re.DOTALL).fullmatch
    for form in (
        # ISO 8601, extended and basic: days of a month, of a year, of a week.
        rf"{_YEAR}(?P<between>[-/]){_IN_NUMBERS}[T ]{_CLOCK}{_ZONE}",
        rf"{_YEAR}(?P<between>){_IN_NUMBERS}[T ]?{_CLOCK}{_ZONE}",
        # Rust's `time` writes an hour before ten as one digit.
        rf"{_YEAR}(?P<between>-){_IN_NUMBERS} (?P<hour>[0-9])(?=:){_BEHIND_HOUR}{_ZONE}",
        rf"{_YEAR}-?(?P<of_year>[0-9]{{3}})T{_CLOCK}{_ZONE}",
        rf"{_YEAR}-?W(?P<week>[0-9]{{2}})-?(?P<weekday>[1-7])T{_CLOCK}{_ZONE}",
        # RFC 5322 and HTTP; the common log format of web servers.
        rf"{_DAY_NAME}{_OF_MONTH}[ -]{_NAMED_MONTH}[ -]{_YEAR} {_CLOCK}{_ZONE}",
        rf"{_OF_MONTH}/{_NAMED_MONTH}/{_YEAR}:{_CLOCK}{_ZONE}",
        # JavaScript; then C, which has the year last: git's with an offset behind it, date's,
        # Java's and Ruby's with a zone or an offset before it.
        rf"{_DAY_NAME}{_NAMED_MONTH} {_OF_MONTH} {_YEAR} {_CLOCK}{_ZONE}",
        rf"{_DAY_NAME}{_NAMED_MONTH} {_OF_MONTH} {_CLOCK} {_YEAR}{_ZONE}",
        rf"{_DAY_NAME}{_NAMED_MONTH} {_OF_MONTH} {_CLOCK} (?P<zone>{_BEFORE_YEAR}) {_YEAR}",
    )
)
# Java adds the place, Go the zone's name, mail and JavaScript a comment; the offset alone counts
# (RFC 9557, 3.4).
_BESIDES: Final = r"(?:\[[^\[\]]{1,64}\]| \([^()]{1,64}\))?"
_ZULU: Final = re.compile(r" ?(?:Z|UTC?|GMT)" + _BESIDES).fullmatch
_OFFSET: Final = re.compile(
    r" ?(?:UTC|GMT)?([+-])([0-9]{2})(?::?([0-5][0-9])(?::?00)?)?(?: (?:[A-Z]{2,5}|[+-][0-9]{2,4}))?"
    + _BESIDES
).fullmatch
_NAME: Final = re.compile(r" ?(?:\[[^\[\]]+\]|[A-Z][A-Z_]*(?:/[A-Z_+/-]+)?)").fullmatch
# The reading of Go's other clock, behind its times.
_MONOTONIC: Final = re.compile(r" M=[+-][0-9.]+$").sub
_DAY_ALONE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_DOTNET: Final = re.compile(r"\\?/Date\((-?[0-9]{1,15})(?:[+-][0-9]{4})?\)\\?/").fullmatch
_OF_PHP: Final = {"date", "timezone_type", "timezone"}
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}").fullmatch
_SECONDS_AND: Final = (
    ("seconds", "nanos"), ("seconds", "nanoseconds"), ("_seconds", "_nanoseconds"),
)  # fmt: skip
_OF_FIRESTORE: Final = "firestore/timestamp/"


def respelt(text: str) -> str:
    """
    Return a time rewritten as RFC 3339 in capitals; it may still name no real day.

    Raises:
        ValueError: It is no time, or has no offset.
    """
    if len(text) > _LONGEST:
        raise ValueError(A_TIME)
    # U+2212 is the minus sign of ISO 8601.
    text = _MONOTONIC("", " ".join(text.upper().replace("\u2212", "-").split()))
    if _DAY_ALONE(text):
        raise ValueError("a day alone names no instant; add a time, as T08:00:00Z")
    found = next(filter(None, (form(text) for form in _FORMS)), None)
    if found is None:
        raise ValueError(A_TIME)
    parts = found.groupdict()
    if parts["fraction"] and not parts["second"]:
        raise ValueError("a time with a fraction must have seconds")
    clock = f"{parts['hour']:0>2}:{parts['minute']}:{parts['second'] or '00'}"
    fraction = f".{parts['fraction']}" if parts["fraction"] else ""
    return f"{_day(parts)}T{clock}{fraction}{_offset(parts['zone'] or '')}"


def _day(parts: Mapping[str, str | None]) -> str:
    year = int(parts["year"] or 0)
    if "of_year" in parts:
        return _day_of_year(year, int(parts["of_year"] or 0))
    if "week" in parts:
        try:
            day = date.fromisocalendar(year, int(parts["week"] or 0), int(parts["weekday"] or 0))
        except ValueError:
            raise ValueError("a time must name a real day and hour: its week is none") from None
        return day.isoformat()
    month = parts["month"] if "month" in parts else _MONTH_OF.get(parts["name"] or "")
    if month is None:
        raise ValueError(A_TIME)
    return f"{year:04}-{int(month):02}-{int(parts['day'] or 0):02}"


def _day_of_year(year: int, number: int) -> str:
    if year and number:
        # Beyond the last year of all, too.
        with suppress(OverflowError):
            day = date(year, 1, 1) + timedelta(days=number - 1)
            if day.year == year:
                return day.isoformat()
    raise ValueError("a time must name a real day and hour: its day is none")


def _offset(text: str) -> str:
    if not text.strip():
        raise ValueError("a time without an offset names no instant; add Z or +01:00")
    if _ZULU(text):
        return "Z"
    if found := _OFFSET(text):
        return f"{found[1]}{found[2]}:{found[3] or '00'}"
    if _NAME(text):
        raise ValueError("the name of a zone is not the offset of a time; write Z or +01:00")
    raise ValueError("the offset of a time must be as RFC 3339 spells it: Z or +01:00")


def micros_of_dotnet(text: str) -> int | None:
    """Return the microseconds since 1970 of a time as .NET wrote it in JSON, if it is one."""
    found = _DOTNET(text)
    return int(found[1]) * 1_000 if found else None


def unwrapped(value: Mapping[str, Any]) -> int | str | None:
    """
    Return the time in an object that holds nothing else: a text, or microseconds since 1970.

    MongoDB writes `{"$date": …}`, protocol buffers and Firestore seconds and nanoseconds, PHP a
    date, the zone's type and the zone.
    """
    if value.keys() == _OF_PHP:
        date_, zone = value["date"], value["timezone"]
        return f"{date_} {zone}" if isinstance(date_, str) and isinstance(zone, str) else None
    if value.keys() == {"$date"}:
        inner = value["$date"]
        if isinstance(inner, str):
            return inner
        if isinstance(inner, dict) and inner.keys() == {"$numberLong"}:
            inner = inner["$numberLong"]
        millis = _whole(inner)
        return None if millis is None else millis * 1_000
    return _of_seconds(value)


def _of_seconds(value: Mapping[str, Any]) -> int | None:
    match value:
        case {"type": str(type_), **others} if type_.startswith(_OF_FIRESTORE):
            value = others
    # Go writes no `nanos` where there are none.
    if value.keys() == {"seconds"}:
        value = {"seconds": value["seconds"], "nanos": 0}
    for seconds_name, nanos_name in _SECONDS_AND:
        if value.keys() == {seconds_name, nanos_name}:
            seconds, nanos = _whole(value[seconds_name]), _whole(value[nanos_name])
            if seconds is None or nanos is None or not 0 <= nanos < 10**9:
                return None
            return seconds * 1_000_000 + nanos // 1_000
    return None


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and _WHOLE(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
