"""Messages as the broker delivered them, undecoded."""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final, NamedTuple

from jarvis_recorder.wire.amqp.frames import BODY, FRAME_OVERHEAD, HEADER, METHOD

_DELIVER: Final = b"\x00\x3c\x00\x3c"  # class 60 (basic), method 60 (deliver)
# Type, channel and size of a frame; then the method, or class, weight and body size.
_METHOD_HEAD: Final = Struct(">BHI4s")
_CONTENT_HEAD: Final = Struct(">BHIHHQ")
_FRAME_HEAD: Final = Struct(">BHI")
_TAG: Final = Struct(">Q")
_FRAME_BEGIN: Final = 7
_CONSUMER_AT: Final = _METHOD_HEAD.size


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


Place = tuple[int, int, int, int]
"""The positions at which the frames of a delivery begin (method, header, body), and its end."""


class Stretch:
    """
    Deliveries that came in a row: the bytes of their frames, and where each of them stands.

    A delivery is cut out when it is asked for; most never are.
    """

    __slots__ = ("data", "places")

    def __init__(self, data: bytes, places: list[Place]) -> None:
        self.data = data
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Delivery]:
        return map(self.at, range(len(self.places)))

    def tag(self, number: int) -> int:
        """Return the delivery tag of one of them."""
        tag: int = _TAG.unpack_from(self.data, self._tag_at(number))[0]
        return tag

    def route(self, number: int) -> bytes:
        """Return exchange and routing key of one of them, each behind its length."""
        # Delivery tag and redelivered take nine bytes.
        return self.data[self._tag_at(number) + 9 : self.places[number][1] - 1]

    def at(self, number: int) -> Delivery:
        """Return one of the deliveries."""
        data = self.data
        _, header, body, end = self.places[number]
        tag_at = self._tag_at(number)
        return Delivery(
            _TAG.unpack_from(data, tag_at)[0],
            data[tag_at + 8] == 1,
            *parted(self.route(number)),
            data[header + _FRAME_BEGIN : body - 1],
            data[body + _FRAME_BEGIN : end - 1],
        )

    def _tag_at(self, number: int) -> int:
        consumer_at = self.places[number][0] + _CONSUMER_AT
        return consumer_at + 1 + self.data[consumer_at]


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

    places: list[Place]
    end: int
    is_cut: bool


def whole_deliveries(data: bytes, position: int, limit: int, channel: int, most: int) -> Found:
    """
    Find the deliveries that stand in a row, none of them begun beyond `limit`.

    They are of one channel, and each has its body of 1 to `most` bytes in one frame.
    """
    places: list[Place] = []
    add = places.append
    begun = position
    size = len(data)
    # The frames of one message come in a row, unless others are between them.
    while position < limit:
        if size - position < _METHOD_HEAD.size:
            return Found(places, position, False)
        kind, of, length, method = _METHOD_HEAD.unpack_from(data, position)
        if kind != METHOD or of != channel or method != _DELIVER:
            break
        header = position + length + FRAME_OVERHEAD
        if size - header < _CONTENT_HEAD.size:
            return Found(places, position, _may_be(data, header, HEADER, channel))
        kind, of, length, _, _, content = _CONTENT_HEAD.unpack_from(data, header)
        if kind != HEADER or of != channel or not 0 < content <= most:
            break
        body = header + length + FRAME_OVERHEAD
        if size - body < _FRAME_BEGIN:
            return Found(places, position, True)
        kind, of, length = _FRAME_HEAD.unpack_from(data, body)
        if kind != BODY or of != channel or length != content:
            break
        end = body + content + FRAME_OVERHEAD
        if end > size:
            return Found(places, position, True)
        add((position - begun, header - begun, body - begun, end - begun))
        position = end
    return Found(places, position, False)


def _may_be(data: bytes, position: int, kind: int, channel: int) -> bool:
    """Return whether a frame of this type and channel begins there, as far as can be seen."""
    if len(data) - position < _FRAME_BEGIN:
        return True
    return _FRAME_HEAD.unpack_from(data, position)[:2] == (kind, channel)
