"""
Requests out and replies in, many in flight together, on one channel.

Replies come by direct reply-to: the caller declares no queue, and leaves none behind.
They are read straight from the stream, as the recorder reads its deliveries.
"""

import asyncio
import math
import time
import zlib
from functools import partial
from typing import Final, Self

import aiormq

from jarvis_recorder.broker.connection import Link, refusals
from jarvis_recorder.broker.consumer import unreachable
from jarvis_recorder.broker.frame_writer import FrameWriter
from jarvis_recorder.broker.renewable import RenewableChannel
from jarvis_recorder.client.errors import NO_RECORDER, lost, unsent
from jarvis_recorder.errors import BrokerUnavailable, ProtocolError, RecorderUnavailable
from jarvis_recorder.wire.amqp import frames
from jarvis_recorder.wire.amqp.delivery import Deliveries, Delivery
from jarvis_recorder.wire.amqp.properties import decode_request, encode_request
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.topics import RPC_EXCHANGE, RPC_KEY

_GZIP: Final = zlib.MAX_WBITS | 16
# More than any record that can be stored takes.
_MOST_UNPACKED_BYTES: Final = 128 * 1024 * 1024
_REPLY_TO: Final = "amq.rabbitmq.reply-to"


class RpcChannel:
    """
    A channel for requests, as long as its connection lasts.

    A reply is matched to its request by the correlation id. One that comes too late, when its
    caller no longer waits, is dropped. Where no reply at all comes for
    as long as a request waits, the channel is renewed.
    """

    def __init__(self, link: Link, app_id: str, user_id: str | None) -> None:
        self._link = link
        self._channel = RenewableChannel(link, self._open_one)
        self._app_id = app_id
        self._user_id = user_id
        self._writer: FrameWriter
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._asked = 0
        self._heard_at = -math.inf
        link.lost.add_done_callback(self._fail_all)

    async def open(self) -> Self:
        """
        Open the channel and receive replies from now on.

        Raises:
            BrokerUnavailable: The connection went away.
        """
        await self._channel.open()
        return self

    async def _open_one(self) -> aiormq.abc.AbstractChannel:
        channel = await self._link.channel()
        self._writer = FrameWriter(self._link, channel)
        self._link.reader.deliver_to(channel.number, self._take_all)
        self._link.reader.return_to(channel.number, self._came_back)
        with refusals("replies cannot be received"):
            # The broker refuses requests on a channel that does not consume this.
            await channel.basic_consume(_REPLY_TO, unreachable, no_ack=True)
        return channel

    async def ask(self, request: bytes, until: float) -> bytes:
        """
        Return the reply to a request; `until` is a time of the event loop's clock.

        Raises:
            TimeoutError: No reply came until then.
            RecorderUnavailable: There is no queue for the request.
            BrokerUnavailable: The connection is gone, and the reply with it; as `NotSent` if
                it was gone before the request went out.
            ConfigurationError: The broker does not let this user send requests.
        """
        if self._link.lost.done():
            raise unsent(self._channel.current)
        self._asked += 1
        correlation_id = str(self._asked)
        properties = encode_request(
            reply_to=_REPLY_TO,
            correlation_id=correlation_id,
            expiration_ms=max(1, round((until - self._loop.time()) * 1_000)),
            app_id=self._app_id,
            user_id=self._user_id,
            timestamp=int(time.time()),
        )
        reply: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[correlation_id] = reply
        began = self._loop.time()
        try:
            async with asyncio.timeout_at(until), self._channel.used() as channel:
                try:
                    self._publish(channel, request, properties)
                    return await reply
                except asyncio.CancelledError:
                    if self._loop.time() >= until and self._heard_at < began:
                        self._channel.renew(channel)
                    raise
        finally:
            del self._waiting[correlation_id]
            # A caller that gave up never reads the outcome of its request.
            reply.cancel()

    def _take_all(self, deliveries: Deliveries) -> None:
        for delivery in deliveries:
            self._take(delivery)

    def _publish(
        self, channel: aiormq.abc.AbstractChannel, request: bytes, properties: bytes
    ) -> None:
        number, most = channel.number, self._link.frame_max
        try:
            self._writer.send(
                *frames.publication(
                    number,
                    RPC_KEY.encode(),
                    properties,
                    request,
                    most,
                    exchange=RPC_EXCHANGE.encode(),
                    mandatory=True,
                )
            )
        except BrokerUnavailable as error:
            raise unsent(channel) from error

    def _take(self, delivery: Delivery) -> None:
        self._heard_at = self._loop.time()
        reply = self._of(delivery.header)
        if reply is None:
            return
        if decode_request(delivery.header).content_encoding == "gzip":
            self._unpack(delivery.body, reply)
        else:
            reply.set_result(delivery.body)

    def _unpack(self, body: bytes, reply: asyncio.Future[bytes]) -> None:
        """Decompress in a thread a reply that was too large for the broker uncompressed."""
        unpacking = self._loop.run_in_executor(None, partial(_unpacked, body))

        def unpacked(done: asyncio.Future[bytes]) -> None:
            if reply.done():
                return
            if done.exception():
                reply.set_exception(ProtocolError("the reply cannot be unpacked"))
            else:
                reply.set_result(done.result())

        unpacking.add_done_callback(unpacked)

    def _came_back(self, header: bytes) -> None:
        if (reply := self._of(header)) is not None:
            reply.set_exception(RecorderUnavailable(NO_RECORDER))

    def _of(self, header: bytes) -> asyncio.Future[bytes] | None:
        """Return the future that waits for the message with this header."""
        try:
            field = decode_request(header).correlation_id or b""
        except Refused:
            return None
        reply = self._waiting.get(field[1:].decode("ascii", "replace"))
        return None if reply is None or reply.done() else reply

    def _fail_all(self, _: asyncio.Future[None]) -> None:
        self._writer.stop()
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(lost(self._channel.current))


def _unpacked(body: bytes) -> bytes:
    """
    Return a compressed body decompressed.

    Raises:
        zlib.error, EOFError: It is damaged, cut short, or larger than any result.
    """
    packed = zlib.decompressobj(_GZIP)
    whole = packed.decompress(body, _MOST_UNPACKED_BYTES)
    if not packed.eof:
        raise EOFError
    return whole


async def open_rpc_channel(link: Link, app_id: str, user_id: str | None) -> RpcChannel:
    """
    Open a channel to send requests on.

    Raises:
        BrokerUnavailable: The connection went away.
    """
    return await RpcChannel(link, app_id, user_id).open()
