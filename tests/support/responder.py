"""A responder that replies as a recorder does, with results set by a test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from jarvis_recorder.broker.rpc_session import RpcSession, open_rpc_session
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.amqp.properties import RequestProperties, decode_request, encode_reply
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.params import Params

Answer = Callable[[Params[Any]], Any]


class SteeredResponder:
    """
    Replies to each request with the result of `answer`, or with the `RpcError` that it raises.

    `held` keeps replies back until it is set, `packs` has them compressed; `asked` are the requests
    that arrived, and `properties` their properties.
    """

    def __init__(self, answering: RpcSession, answer: Answer) -> None:
        self._answering = answering
        self._answer = answer
        self.held = asyncio.Event()
        self.held.set()
        self.packs = False
        self.asked: list[Params[Any]] = []
        self.properties: list[RequestProperties] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._take(delivery)

    def _take(self, delivery: Delivery) -> None:
        properties = decode_request(delivery.header)
        (call,) = jsonrpc.parse_calls(delivery.body).calls
        question = jsonrpc.read_params(call.method, call.params)
        self.asked.append(question)
        self.properties.append(properties)
        task = asyncio.create_task(self._reply(delivery.tag, properties, call, question))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(
        self, tag: int, properties: RequestProperties, call: jsonrpc.Call, question: Params[Any]
    ) -> None:
        await self.held.wait()
        try:
            result = jsonrpc.write_answer(call.method, self._answer(question))
            body = (jsonrpc.gzip_response if self.packs else jsonrpc.response)(call.id, result)
        except jsonrpc.RpcError as error:
            body = jsonrpc.error_response(call.id, error)
        encoding = "gzip" if self.packs else None
        reply = encode_reply(properties.correlation_id, 5_000, content_encoding=encoding)
        await self._answering.requests.reply(properties.reply_to, reply, body)
        await self._answering.requests.ack(tag)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def steered_responder(url: str, answer: Answer) -> AsyncIterator[SteeredResponder]:
    """Reply on a broker, with the topology declared as by a recorder."""
    async with open_rpc_session(Addresses(url), "declare") as answering:
        responder = SteeredResponder(answering, answer)
        await answering.requests.start(responder.take)
        try:
            yield responder
        finally:
            await responder.stop()
