"""
Deliveries that differ in nothing but the delivery tag, the identity, the time and the body.

Nearly every delivery of a stretch is like the one before: it is compared and cut, not decoded.
"""

from collections.abc import Callable, Generator
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

from jarvis_recorder.wire.amqp.delivery import Outline, Stretch
from jarvis_recorder.wire.amqp.frames import FRAME_OVERHEAD
from jarvis_recorder.wire.amqp.header_templates import Template
from jarvis_recorder.wire.amqp.properties import FLAGS_AT, instant

# A method frame's type, channel and size; class and method; the length of the consumer tag.
_HEAD: Final = 12
# Delivery tag and redelivered.
_TAG: Final = 9
_FRAME_BEGIN: Final = 7
_CLASS_AND_WEIGHT: Final = 4
_NUL: Final = 0

Envelope = tuple[bytes, str | None, int | None, bytes]
"""The route of a delivery, the identity and the time in its properties, and its body."""


class Layout(NamedTuple):
    """
    The bytes in which such deliveries are the same, and the places of the others.

    `cut` returns seven parts: the delivery's head; exchange, routing key and class; the
    properties before the identity; the identity; the time or nothing; the properties after it;
    the size of the body. The body begins at `body_at`.
    """

    outline: Outline
    route: bytes
    head: bytes
    middle: bytes
    before: bytes
    rest: bytes
    body_at: int
    cut: Callable[[bytes, int], tuple[Any, ...]]

    def alike(self, stretch: Stretch, number: int, most: int) -> Generator[Envelope, None, int]:
        """
        Yield the deliveries from `number` on that are like this; return the number of the next.

        Each has a body of at most `most` bytes, and an identity without NUL or none.
        """
        outline, route, head, middle, before, rest, body_at, cut = self
        data, starts, outlines = stretch.data, stretch.starts, stretch.outlines
        for at in range(number, len(starts)):
            # Of another one's frames other parts would be compared.
            if outlines[at] is not outline:
                return at
            start = starts[at]
            its_head, its_middle, its_before, raw, moment, its_rest, size = cut(data, start)
            if (
                its_middle != middle
                or its_before != before
                or its_rest != rest
                or its_head != head
                or size > most
                or _NUL in raw
            ):
                return at
            body = start + body_at
            time = instant(moment) if moment else None
            yield route, raw.decode() or None, time, data[body : body + size]
        return len(starts)


def layout_of(stretch: Stretch, number: int, template: Template) -> Layout:
    """Return the layout of a delivery whose header is like a template."""
    start, outline = stretch.starts[number], stretch.outlines[number]
    head = stretch.data[start : start + _HEAD]
    header_at = start + outline.method + FRAME_OVERHEAD + _FRAME_BEGIN
    middle = stretch.data[start + _HEAD + head[-1] + _TAG : header_at + _CLASS_AND_WEIGHT]
    return _layout(outline, stretch.route(number), head, middle, template)


@lru_cache(maxsize=256)
def _layout(
    outline: Outline, route: bytes, head: bytes, middle: bytes, template: Template
) -> Layout:
    before, id_at, id_end, rest_at, rest = template
    parts = Struct(
        f">{_HEAD}s{head[-1] + _TAG}x{len(middle)}s{FLAGS_AT - _CLASS_AND_WEIGHT}x"
        f"{id_at - FLAGS_AT}s{id_end - id_at}s{rest_at - id_end}s{len(rest)}s4xI"
    )
    return Layout(outline, route, head, middle, before, rest, parts.size, parts.unpack_from)
