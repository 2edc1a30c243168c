"""
The frames of a publication and of an ack, as bytes.

One by one through pamqp's classes they would take longer than the look-up that most replies need.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final

_BASIC: Final = 60
_PUBLISH, _ACK = 40, 80
METHOD, HEADER, BODY = 1, 2, 3
"""The types of frames."""
_END: Final = b"\xce"
# The frame's type, channel and size; then class, method and its first fields.
_FRAME: Final = Struct(">BHI")
_PUBLISH_FRAME: Final = Struct(">BHIHHH")
_HEADER_FRAME: Final = Struct(">BHIHHQ")
_ACK_FRAME: Final = Struct(">BHIHHQB")
_ACK_BYTES: Final = 13
# Besides exchange and routing key: class, method, a reserved field, the flags.
_PUBLISH_BYTES: Final = 7
# Besides the properties: class, weight, size.
_HEADER_BYTES: Final = 12
_NO_FLAGS: Final = b"\x00\xce"
_MANDATORY: Final = b"\x01\xce"
FRAME_OVERHEAD: Final = 8
"""The header of a frame, and the octet at its end."""


def publication(
    channel: int,
    routing_key: bytes,
    properties: bytes,
    body: bytes,
    frame_max: int,
    *,
    exchange: bytes = b"",
    mandatory: bool = False,
) -> Sequence[bytes | memoryview]:
    """Return the frames that publish a message: one part, or many that do not copy a large body."""
    to = b"%c%b%c%b" % (len(exchange), exchange, len(routing_key), routing_key)
    parts: list[bytes | memoryview] = [
        _PUBLISH_FRAME.pack(METHOD, channel, _PUBLISH_BYTES + len(to), _BASIC, _PUBLISH, 0),
        to,
        _MANDATORY if mandatory else _NO_FLAGS,
        _HEADER_FRAME.pack(HEADER, channel, _HEADER_BYTES + len(properties), _BASIC, 0, len(body)),
        properties,
        _END,
    ]
    most = frame_max - FRAME_OVERHEAD
    if len(body) <= most:
        if body:
            parts += _FRAME.pack(BODY, channel, len(body)), body, _END
        return (b"".join(parts),)
    view = memoryview(body)
    for at in range(0, len(body), most):
        piece = view[at : at + most]
        parts += _FRAME.pack(BODY, channel, len(piece)), piece, _END
    return parts


def ack(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """Return the frame that acks one delivery, or all up to it."""
    return _ACK_FRAME.pack(METHOD, channel, _ACK_BYTES, _BASIC, _ACK, tag, multiple) + _END
