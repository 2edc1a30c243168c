"""Moments as people and JSON spell them: aware datetimes, RFC 3339 on the wire."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from jarvis_recorder.wire.times import parse_rfc3339, to_datetime


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time without an offset names no instant; make it aware")
        return value.astimezone(UTC)
    if not isinstance(value, str):
        raise ValueError("a time must be a text, such as 2026-01-31T08:00:00Z")  # noqa: TRY004
    return to_datetime(parse_rfc3339(value))


def format_moment(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC with microseconds."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    PlainSerializer(format_moment, when_used="json"),
    Field(description="RFC 3339, with an offset", json_schema_extra={"format": "date-time"}),
]
"""A moment in time; microseconds count, and it always goes out in UTC."""
