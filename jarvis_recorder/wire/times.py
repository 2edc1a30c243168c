"""Instants as integers: microseconds since the Unix epoch, UTC."""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from jarvis_recorder.wire import spellings

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_IN_UTC: Final = EPOCH.replace(tzinfo=None)
EARLIEST: Final = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
LATEST: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z

# RFC 3339, section 5.6; `datetime.fromisoformat` alone also accepts much of ISO 8601.
_DATE_TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_WITH_OFFSET: Final = re.compile(
    _DATE_TIME + r"(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-5][0-9])"
).fullmatch
# In UTC, with milliseconds or microseconds. The end of a day has no fraction.
_USUAL: Final = re.compile(
    r"(?!.{11}24)" + _DATE_TIME + r"\.(?:[0-9]{3}){1,2}(?:Z|\+00:00)"
).fullmatch
_END_OF_DAY: Final = re.compile(r"T24:00:00(?:\.0+)?(?=[Z+-])").search
_NUMBER: Final = re.compile(r"[0-9]{9,19}(?:\.[0-9]{1,9})?").fullmatch
EPOCH_RANGES: Final = (
    (10**8, 10**10), (10**12, 10**13), (10**15, 10**16), (10**18, 10**19),
)  # fmt: skip
"""The numbers read as seconds, milliseconds, microseconds, nanoseconds since 1970."""
_ONE_SECOND: Final = 1_000_000
_ONE_DAY: Final = 86_400 * _ONE_SECOND


def is_unset(text: str) -> bool:
    """
    Return whether Go and .NET write this for a time that was never set, with any offset or none.

    As a message's own time it is none.
    """
    return text[:10] == "0001-01-01" and text[11:19] == "00:00:00"


def parse_rfc3339(text: str) -> int:
    """
    Return the instant in microseconds; digits beyond the sixth are cut off.

    Other spellings are read too: see `spellings`. 24:00 is the end of the day, and a leap second
    counts as the second that follows it, as POSIX time has it.

    Raises:
        ValueError: It is no time, names no real day or has no offset; the text says which.
    """
    return parse_strictly(text if _WITH_OFFSET(text) else spellings.respelt(text))


def parse_strictly(text: str) -> int:
    """
    Return the instant of a time that is written as RFC 3339 requires.

    Raises:
        ValueError: It is written otherwise, or names no instant.
    """
    if _WITH_OFFSET(text) is None:
        text = text.upper().replace(" ", "T", 1)
        if _WITH_OFFSET(text) is None:
            raise ValueError(spellings.A_TIME)
    try:
        micros = to_micros(datetime.fromisoformat(text))
    except ValueError:
        micros = _beyond_the_clock(text)
    return _in_range(micros)


def _in_range(micros: int) -> int:
    if not EARLIEST <= micros <= LATEST:
        raise ValueError("a time must lie within the years 1 to 9999 of UTC")
    return micros


def parse_usual(text: str) -> int:
    """
    Do as `parse_strictly` does, and soon where it is one of many times within a second.

    Raises:
        ValueError: As `parse_strictly`; or it is unset.
    """
    try:
        return _SECONDS[text[:20]] + _MILLISECONDS[text[20:23]] + _ENDS[text[23:]]
    except KeyError:
        return _learnt(text)


# The microseconds that the parts of a usual time stand for. Slices are looked up in a third of
# the time in which they would be checked and converted.
_SECONDS: Final[dict[str, int]] = {}
_MILLISECONDS: Final = {f"{number:03}": number * 1_000 for number in range(1_000)}
_ENDS: Final[dict[str, int]] = {}
_MOST_SECONDS: Final = 1_024


def _learnt(text: str) -> int:
    """Return the instant of a time, and remember its parts if it is a usual one."""
    if is_unset(text):
        raise ValueError("no time was set")
    micros = parse_strictly(text)
    if _USUAL(text):
        if len(_SECONDS) >= _MOST_SECONDS:
            _SECONDS.clear()
        _SECONDS[text[:20]] = micros - micros % _ONE_SECOND
        _ENDS[text[23:]] = micros % 1_000
    return micros


def parse_instant(value: Any) -> int:
    """
    Return the instant of a text, of a number since 1970 by its magnitude, or of an object that
    holds one alone, as databases write it.

    Raises:
        ValueError: It names no instant; the text says which part is wrong.
    """
    if isinstance(value, dict) and (inner := spellings.unwrapped(value)) is not None:
        return parse_rfc3339(inner) if isinstance(inner, str) else _in_range(inner)
    if isinstance(value, str):
        if not _NUMBER(value):
            micros = spellings.micros_of_dotnet(value)
            return parse_rfc3339(value) if micros is None else _in_range(micros)
        value = Decimal(value)
    elif isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("a time must be a text, such as 2026-01-31T08:00:00Z, or a number")  # noqa: TRY004
    micros = from_epoch(value)
    if micros is None:
        raise ValueError(
            "a time as a number must be seconds, milliseconds, microseconds or nanoseconds "
            "since 1970, of 9 to 10, 13, 16 or 19 digits"
        )
    return micros


def own_instant(value: Any) -> int | None:
    """
    Return the instant that a publisher names as its message's own, None if it was never set.

    Raises:
        ValueError: As `parse_instant`.
    """
    if isinstance(value, str) and is_unset(value):
        return None
    micros = parse_instant(value)
    return None if micros == EARLIEST else micros


def from_epoch(number: float | Decimal) -> int | None:
    """
    Return the instant of a number, its unit implied by its magnitude, None if it implies none.

    Each unit reaches to 2286. A number between two units is no time since 1970: 20260131 and
    202601310800 are a day and a minute in digits, a small one counts from a program's start.
    """
    # A double is not quite the fraction that was written; a decimal is, and digits are cut off.
    whole = round if isinstance(number, float) else int
    (seconds, millis, micros, nanos) = EPOCH_RANGES
    if seconds[0] <= number < seconds[1]:
        return whole(number * 1_000_000)
    if millis[0] <= number < millis[1]:
        return whole(number * 1_000)
    if micros[0] <= number < micros[1]:
        return int(number)
    if nanos[0] <= number < nanos[1]:
        return int(number // 1_000)
    return None


def _beyond_the_clock(text: str) -> int:
    """Return the instant of a leap second, or of the end of a day."""
    if text[17:19] == "60":
        return parse_strictly(f"{text[:17]}59{text[19:]}") + _ONE_SECOND
    if _END_OF_DAY(text):
        return parse_strictly(f"{text[:11]}00{text[13:]}") + _ONE_DAY
    raise ValueError(f"a time must name a real day and hour: its {_wrong_part(text)} is none")


def _wrong_part(text: str) -> str:
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
    if not year:
        return "year"
    if not 1 <= month <= 12:
        return "month"
    if not 1 <= day <= monthrange(year, month)[1]:
        return "day"
    for part, at, most in (("hour", 11, 23), ("minute", 14, 59), ("second", 17, 59)):
        if int(text[at : at + 2]) > most:
            return part
    return "offset"


def to_micros(time: datetime) -> int:
    """Return an aware datetime as microseconds since the epoch, exactly."""
    since = time - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def to_datetime(micros: int) -> datetime:
    """Return the aware datetime in UTC; the inverse of `to_micros`."""
    return EPOCH + timedelta(microseconds=micros)


def to_datetime_or_none(micros: int | None) -> datetime | None:
    """Return the aware datetime in UTC, None for none."""
    return None if micros is None else to_datetime(micros)


def format_rfc3339(micros: int) -> str:
    """Return the instant as RFC 3339 in UTC with microseconds."""
    # Without a zone to convert: pages have a time or two in each row.
    return (_EPOCH_IN_UTC + timedelta(microseconds=micros)).isoformat(timespec="microseconds") + "Z"


def format_datetime(time: datetime) -> str:
    """Return an aware datetime as RFC 3339 in UTC with microseconds."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
