"""Deliveries and frames as a broker would send them."""

from collections.abc import Sequence
from struct import pack
from typing import Any

from pamqp import body, commands, frame, header

from jarvis_recorder.wire.amqp.delivery import Delivery, Stretch, whole_deliveries


def content_header(size: int = 0, **properties: Any) -> bytes:
    """Return the payload of a content header frame."""
    return header.ContentHeader(0, size, commands.Basic.Properties(**properties)).marshal()


def delivery(content: bytes, tag: int = 1, **properties: Any) -> Delivery:
    head = content_header(len(content), **properties)
    return Delivery(tag, False, b"jarvis", b"cluster.event.alert.info", head, content)


def frames(
    content: bytes,
    tag: int = 1,
    channel: int = 1,
    chunk: int = 100,
    *,
    redelivered: bool = False,
    **properties: Any,
) -> bytes:
    """Return the frames of one delivery, its body in chunks."""
    method = commands.Basic.Deliver("ctag", tag, redelivered, "jarvis", "some.key")
    return frame.marshal(method, channel) + _content(content, channel, chunk, properties)


def stretch(deliveries: Sequence[Delivery], channel: int = 1) -> Stretch:
    """Return deliveries as they come in a row, each with a body and a header that tells its size."""
    data = b"".join(_whole_frames(one, channel) for one in deliveries)
    found = whole_deliveries(data, 0, len(data), channel, len(data))
    assert found.end == len(data)
    return Stretch(data, found.starts, found.outlines)


def _whole_frames(one: Delivery, channel: int) -> bytes:
    method = commands.Basic.Deliver("ctag", one.tag, one.redelivered, "", "")
    route = b"".join(bytes([len(part)]) + part for part in (one.exchange, one.routing_key))
    parts = (frame.marshal(method, channel)[7:-3] + route, one.header, one.body)
    return b"".join(
        pack(">BHI", kind, channel, len(part)) + part + b"\xce"
        for kind, part in enumerate(parts, 1)
    )


def returned(content: bytes, channel: int = 1, chunk: int = 100) -> bytes:
    """Return the frames of a message that was returned as unroutable."""
    method = commands.Basic.Return(312, "NO_ROUTE", "jarvis.dead", "q")
    return frame.marshal(method, channel) + _content(content, channel, chunk, {})


def got(content: bytes, tag: int, channel: int = 1, *, redelivered: bool = False) -> bytes:
    """Return the frames of the reply to `basic.get`."""
    method = commands.Basic.GetOk(tag, redelivered, "jarvis", "some.key", 4)
    return frame.marshal(method, channel) + _content(content, channel, 100, {})


def _content(content: bytes, channel: int, chunk: int, properties: dict[str, Any]) -> bytes:
    head = header.ContentHeader(0, len(content), commands.Basic.Properties(**properties))
    parts = [content[at : at + chunk] for at in range(0, len(content), chunk)]
    return b"".join(
        frame.marshal(part, channel) for part in (head, *(body.ContentBody(part) for part in parts))
    )
