"""Times in params and results: aware datetimes, in JSON RFC 3339 or a number since 1970."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from jarvis_recorder.wire.times import EPOCH_RANGES, parse_instant, to_datetime


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time without an offset names no instant; make it aware")
        return value.astimezone(UTC)
    return to_datetime(parse_instant(value))


def format_moment(moment: datetime) -> str:
    """Return a time as RFC 3339 in UTC with microseconds."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    PlainSerializer(format_moment, when_used="json"),
    Field(description="RFC 3339, with an offset", json_schema_extra={"format": "date-time"}),
]
"""An aware time with microseconds; it is always written in UTC."""

GIVEN_SCHEMA: Final = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {
            "type": "number",
            "anyOf": [
                {"minimum": least, "exclusiveMaximum": beyond} for least, beyond in EPOCH_RANGES
            ],
        },
    ],
    "description": "RFC 3339, with an offset; or seconds, ms, µs or ns since 1970, by magnitude",
}
"""The schema of `GivenMoment`, without the other spellings of RFC 3339 that it accepts."""

GivenMoment = Annotated[Moment, WithJsonSchema(GIVEN_SCHEMA)]
"""A `Moment` as a parameter, which may also be a number."""
