"""Times in params and results: aware datetimes, in JSON RFC 3339 or a number since 1970."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from jarvis_recorder.wire.times import EPOCH_RANGES, format_datetime, parse_instant, to_datetime


def _aware(value: Any) -> datetime:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time without an offset names no instant; make it aware")
        return value.astimezone(UTC)
    return to_datetime(parse_instant(value))


Time = Annotated[
    datetime,
    BeforeValidator(_aware),
    PlainSerializer(format_datetime, when_used="json"),
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
"""The schema of `GivenTime`, without the other spellings of RFC 3339 that it accepts."""

GivenTime = Annotated[Time, WithJsonSchema(GIVEN_SCHEMA)]
"""A `Time` as a parameter, which may also be a number."""
