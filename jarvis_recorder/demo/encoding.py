"""Encoding of AMQP properties, as any publisher may write them."""

from collections.abc import Mapping
from struct import pack
from typing import Final

from jarvis_recorder.wire.amqp.properties import short_string

_SECOND: Final = 1_000_000


def encode(
    *,
    content_type: str | None = None,
    content_encoding: str | None = None,
    headers: Mapping[str, str] | None = None,
    message_id: str | None = None,
    timestamp: int | None = None,
    app_id: str | None = None,
) -> bytes:
    """Return an AMQP 0-9-1 property list (4.2.6.1), persistent; `timestamp` in microseconds."""
    fields = (
        (1 << 15, None if content_type is None else short_string(content_type)),
        (1 << 14, None if content_encoding is None else short_string(content_encoding)),
        (1 << 13, None if headers is None else _table(headers)),
        (1 << 12, b"\x02"),
        (1 << 7, None if message_id is None else short_string(message_id)),
        (1 << 6, None if timestamp is None else pack(">Q", timestamp // _SECOND)),
        (1 << 3, None if app_id is None else short_string(app_id)),
    )
    flags = sum(flag for flag, value in fields if value is not None)
    return pack(">H", flags) + b"".join(value for _, value in fields if value is not None)


def _table(headers: Mapping[str, str]) -> bytes:
    entries = b"".join(
        short_string(name) + b"S" + pack(">I", len(raw := text.encode())) + raw
        for name, text in headers.items()
    )
    return pack(">I", len(entries)) + entries
