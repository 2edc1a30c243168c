"""Deliveries and frames as a broker would send them."""

from typing import Any

from pamqp import body, commands, frame, header

from jarvis_recorder.wire.delivery import Delivery


def content_header(size: int = 0, **properties: Any) -> bytes:
    """Return the payload of a content header frame."""
    return header.ContentHeader(0, size, commands.Basic.Properties(**properties)).marshal()


def delivery(content: bytes, tag: int = 1, **properties: Any) -> Delivery:
    head = content_header(len(content), **properties)
    return Delivery(tag, False, b"jarvis", b"cluster.event.alert.info", head, content)


def frames(
    content: bytes, tag: int = 1, channel: int = 1, chunk: int = 100, **properties: Any
) -> bytes:
    """Return the frames of one delivery, its body in chunks."""
    method = commands.Basic.Deliver("ctag", tag, False, "jarvis", "some.key")
    head = header.ContentHeader(0, len(content), commands.Basic.Properties(**properties))
    parts = [content[at : at + chunk] for at in range(0, len(content), chunk)]
    return b"".join(
        frame.marshal(part, channel)
        for part in (method, head, *(body.ContentBody(part) for part in parts))
    )
