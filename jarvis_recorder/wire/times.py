"""Instants as integers: microseconds since the Unix epoch, UTC."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST: Final = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
LATEST: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z

# RFC 3339, section 5.6; `datetime.fromisoformat` alone takes much of ISO 8601 besides.
_DATE_TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
_WITH_OFFSET: Final = re.compile(_DATE_TIME + r"(?:Z|[+-][0-9]{2}:[0-5][0-9])").fullmatch
_WITHOUT_OFFSET: Final = re.compile(_DATE_TIME).fullmatch
_ONE_SECOND: Final = 1_000_000


def parse_rfc3339(text: str) -> int:
    """
    Return the instant in microseconds; digits beyond the sixth are cut off.

    A leap second counts as the second that follows it, as POSIX time has it.

    Raises:
        ValueError: Not RFC 3339, no such day, or no offset: it names no instant.
    """
    if _WITH_OFFSET(text) is None:
        text = _usual_spelling(text)
    try:
        micros = to_micros(datetime.fromisoformat(text))
    except ValueError:
        micros = _leap_second(text)
    if not EARLIEST <= micros <= LATEST:
        raise ValueError("a time must lie within the years 1 to 9999 of UTC")
    return micros


def _usual_spelling(text: str) -> str:
    """Return a time with T and Z as capitals; RFC 3339 allows small ones and a space for T."""
    usual = text.upper().replace(" ", "T", 1)
    if _WITH_OFFSET(usual):
        return usual
    if _WITHOUT_OFFSET(usual):
        raise ValueError("a time without an offset names no instant; add Z or +01:00")
    raise ValueError("a time must be RFC 3339, such as 2026-01-31T08:00:00Z")


def _leap_second(text: str) -> int:
    if text[17:19] == "60":
        return parse_rfc3339(f"{text[:17]}59{text[19:]}") + _ONE_SECOND
    raise ValueError("a time must name a real day and hour")


def to_micros(moment: datetime) -> int:
    """Return an aware moment as microseconds since the epoch, exactly."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def to_datetime(micros: int) -> datetime:
    """Return the aware UTC moment that `to_micros` came from."""
    return EPOCH + timedelta(microseconds=micros)


def format_rfc3339(micros: int) -> str:
    """Return the instant as RFC 3339 in UTC with microseconds."""
    return to_datetime(micros).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
