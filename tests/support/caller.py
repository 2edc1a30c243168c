"""A caller that knows nothing of the recorder's own client."""

import asyncio
import json
import uuid
from typing import Any

import aio_pika


class Asker:
    """A plain aio-pika caller with its own reply queue, and a future for each reply."""

    def __init__(self, connection: aio_pika.abc.AbstractConnection) -> None:
        self._connection = connection
        self._waiting: dict[str | None, asyncio.Future[aio_pika.abc.AbstractIncomingMessage]] = {}

    async def open(self) -> None:
        channel = await self._connection.channel()
        self._exchange = await channel.get_exchange("jarvis.rpc", ensure=False)
        self._queue = await channel.declare_queue(exclusive=True)
        await self._queue.consume(self._take, no_ack=True)

    async def _take(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self._waiting.pop(message.correlation_id).set_result(message)

    async def ask(self, body: bytes, **properties: Any) -> bytes:
        """Return the body of the reply."""
        correlation_id = uuid.uuid4().hex
        future = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = future
        message = aio_pika.Message(
            body, reply_to=self._queue.name, correlation_id=correlation_id, **properties
        )
        await self._exchange.publish(message, "recorder")
        return (await asyncio.wait_for(future, 60)).body

    async def call(self, method: str, params: Any = None, **properties: Any) -> Any:
        """Return the whole response as a document."""
        request = {"jsonrpc": "2.0", "method": method, "params": params or {}, "id": 1}
        return json.loads(await self.ask(json.dumps(request).encode(), **properties))
