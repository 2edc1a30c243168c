"""
Content headers that differ in nothing but the identity and the time.

A publisher sends the same properties with every message. So where they stand is remembered for
each length of a header, and the next one is compared and cut instead of decoded.
"""

from typing import Final, NamedTuple

from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.properties import FLAGS_AT, Properties

_LONGEST: Final = 512


class Template(NamedTuple):
    """
    The bytes of a header around identity and time, and where these are.

    Between `id_end` and `rest_at` is the time, or nothing.
    """

    before: bytes
    id_at: int
    id_end: int
    rest_at: int
    rest: bytes


Templates = dict[int, Template]
"""By the length of the header; there are never more of them than lengths."""


def learn(templates: Templates, header: bytes, decoded: Properties) -> None:
    """Remember a header that was decoded, instead of an earlier one of its length."""
    if len(header) > _LONGEST:
        return
    id_at, id_end = properties.span(header, "message_id")
    time_at, time_end = properties.span(header, "timestamp")
    # An identity begins with its length, which is the same in all headers that match.
    id_at = id_at + 1 if id_end > id_at else time_at
    id_end = max(id_at, id_end)
    templates[len(header)] = Template(
        header[FLAGS_AT:id_at], id_at, id_end, time_end, header[time_end:]
    )


def read(templates: Templates, header: bytes) -> tuple[str | None, int | None] | None:
    """
    Return the identity and the time of a header like one that was learnt, None for any other.

    Raises:
        UnicodeDecodeError: The identity is not UTF-8.
    """
    template = templates.get(len(header))
    if template is None:
        return None
    before, id_at, id_end, rest_at, rest = template
    if header[FLAGS_AT:id_at] != before or header[rest_at:] != rest:
        return None
    time = properties.instant(header[id_end:rest_at]) if rest_at > id_end else None
    return header[id_at:id_end].decode() or None, time
