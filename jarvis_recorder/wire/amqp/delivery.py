"""Messages as the broker delivered them, undecoded."""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

from jarvis_recorder.wire.amqp.frames import BODY, FRAME_OVERHEAD, HEADER, METHOD

_DELIVER: Final = b"\x00\x3c\x00\x3c"  # class 60 (basic), method 60 (deliver)
# Type, channel and size of a frame; then the method, or class, weight and body size.
_METHOD_HEAD: Final = Struct(">BHI4s")
_CONTENT_HEAD: Final = Struct(">BHIHHQ")
_FRAME_HEAD: Final = Struct(">BHI")
_TAG: Final = Struct(">Q")
_FRAME_BEGIN: Final = 7
_CONSUMER_AT: Final = _METHOD_HEAD.size
# The class, the weight and the body's size.
_LEAST_HEADER: Final = _CONTENT_HEAD.size - _FRAME_BEGIN


class Delivery(NamedTuple):
    """
    A message that is not settled yet.

    `header` is the payload of its AMQP content header frame, undecoded: one
    malformed property must cost this message and not the connection.
    """

    tag: int
    redelivered: bool
    exchange: bytes
    routing_key: bytes
    header: bytes
    body: bytes

    @property
    def held_bytes(self) -> int:
        """The bytes that it keeps in memory: a header may be as large as many bodies."""
        return len(self.header) + len(self.body)


class Outline(NamedTuple):
    """
    The sizes of a delivery's method and header, from which follows where its body begins.

    `heads` reads what must be the same in the frames of two such deliveries, in their order, and
    both sizes of the body. It takes `size` bytes, up to the body.
    """

    method: int
    header: int
    size: int
    heads: Callable[[bytes, int], tuple[Any, ...]]


@lru_cache(maxsize=256)
def outline(method: int, header: int) -> Outline:
    """Return the outline of deliveries whose method and header have these sizes."""
    fields = max(0, header - _LEAST_HEADER)
    heads = Struct(f">11s{method - 3}x7s4xQ{fields}x1x3sI")
    return Outline(method, header, heads.size, heads.unpack_from)


class Stretch:
    """
    Deliveries that came in a row: the bytes of their frames, and where each of them begins.

    A delivery is cut out when it is asked for; most never are.
    """

    __slots__ = ("data", "outlines", "starts")

    def __init__(self, data: bytes, starts: list[int], outlines: list[Outline]) -> None:
        self.data = data
        self.starts = starts
        self.outlines = outlines

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Delivery]:
        return map(self.at, range(len(self.starts)))

    def tag(self, number: int) -> int:
        """Return the delivery tag of one of them."""
        tag: int = _TAG.unpack_from(self.data, self._tag_at(number))[0]
        return tag

    def route(self, number: int) -> bytes:
        """Return exchange and routing key of one of them, each behind its length."""
        # Delivery tag and redelivered take nine bytes.
        return self.data[self._tag_at(number) + 9 : self._header_at(number) - 8]

    def header(self, number: int) -> bytes:
        """Return the payload of the content header of one of them."""
        begin = self._header_at(number)
        return self.data[begin : begin + self.outlines[number].header]

    def body(self, number: int) -> bytes:
        """Return the body of one of them."""
        head = self._header_at(number) + self.outlines[number].header + 1
        begin = head + _FRAME_BEGIN
        return self.data[begin : begin + _FRAME_HEAD.unpack_from(self.data, head)[2]]

    def at(self, number: int) -> Delivery:
        """Return one of the deliveries."""
        return Delivery(
            self.tag(number),
            self.data[self._tag_at(number) + 8] == 1,
            *parted(self.route(number)),
            self.header(number),
            self.body(number),
        )

    def _tag_at(self, number: int) -> int:
        consumer_at = self.starts[number] + _CONSUMER_AT
        return consumer_at + 1 + self.data[consumer_at]

    def _header_at(self, number: int) -> int:
        """Return where the payload of a header begins, behind the method's and its frame's head."""
        method = self.outlines[number].method
        return self.starts[number] + method + FRAME_OVERHEAD + _FRAME_BEGIN


Deliveries = Iterable[Delivery]
"""Deliveries of one channel in their order; often a `Stretch`."""


def parted(route: bytes) -> tuple[bytes, bytes]:
    """Return the exchange and the routing key."""
    key_at = 1 + route[0]
    return route[1:key_at], route[key_at + 1 : key_at + 1 + route[key_at]]


class Found(NamedTuple):
    """
    The whole deliveries at a position.

    `end` is where they end. There the next delivery `is_cut` off if the bytes end within it.
    """

    starts: list[int]
    outlines: list[Outline]
    end: int
    is_cut: bool


def whole_deliveries(data: bytes, position: int, limit: int, channel: int, most: int) -> Found:
    """
    Find the deliveries that stand in a row, none of them begun beyond `limit`.

    They are of one channel, and each has its body of 1 to `most` bytes in one frame.
    """
    starts: list[int] = []
    outlines: list[Outline] = []
    begun = position
    size = len(data)
    # The frames of one message come in a row, unless others are between them.
    while position < limit:
        if size - position < _METHOD_HEAD.size:
            break
        kind, of, method_size, method = _METHOD_HEAD.unpack_from(data, position)
        if kind != METHOD or of != channel or method != _DELIVER:
            break
        header = position + method_size + FRAME_OVERHEAD
        if size - header < _CONTENT_HEAD.size:
            is_cut = _may_be(data, header, HEADER, channel)
            return Found(starts, outlines, position, is_cut)
        kind, of, header_size, _, _, content = _CONTENT_HEAD.unpack_from(data, header)
        if kind != HEADER or of != channel or not 0 < content <= most:
            break
        body = header + header_size + FRAME_OVERHEAD
        if size - body < _FRAME_BEGIN:
            return Found(starts, outlines, position, True)
        kind, of, length = _FRAME_HEAD.unpack_from(data, body)
        if kind != BODY or of != channel or length != content:
            break
        end = body + content + FRAME_OVERHEAD
        if end > size:
            return Found(starts, outlines, position, True)
        its = outline(method_size, header_size)
        starts.append(position - begun)
        if header_size >= _LEAST_HEADER:
            end = _add_alike(starts, data, end, its=its, begun=begun, limit=limit, most=most)
        outlines += [its] * (len(starts) - len(outlines))
        position = end
    return Found(starts, outlines, position, False)


def _add_alike(
    starts: list[int],
    data: bytes,
    position: int,
    *,
    its: Outline,
    begun: int,
    limit: int,
    most: int,
) -> int:
    """Add the deliveries from `position` on that have frames like the last one; return their end."""
    heads, size = its.heads, its.size
    method_head, header_head, _, body_head, _ = heads(data, begun + starts[-1])
    # Nearly all are alike, and nothing else of them is looked at.
    last = min(limit - 1, len(data) - size)
    while position <= last:
        one, two, content, three, length = heads(data, position)
        end = position + size + content + 1
        if (
            one != method_head
            or two != header_head
            or three != body_head
            or not 0 < content <= most
            or content != length
            or end > len(data)
        ):
            break
        starts.append(position - begun)
        position = end
    return position


def _may_be(data: bytes, position: int, kind: int, channel: int) -> bool:
    """Return whether a frame of this type and channel begins there, as far as can be seen."""
    if len(data) - position < _FRAME_BEGIN:
        return True
    return _FRAME_HEAD.unpack_from(data, position)[:2] == (kind, channel)
