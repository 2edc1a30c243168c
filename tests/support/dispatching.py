"""Calls to a dispatcher as the responder makes them."""

import gzip

from jarvis_recorder.rpc.dispatcher import Dispatcher

LATER = 10.0**9


async def dispatched(desk: Dispatcher, body: bytes, user: str | None = None) -> bytes | None:
    """Return the reply to a body, decompressed if it was compressed."""
    async with desk.lane() as lane:
        reply = await desk.dispatch(await desk.read(body, LATER, lane), user, LATER, lane)
    if reply is None:
        return None
    return gzip.decompress(reply.body) if reply.content_encoding == "gzip" else reply.body
