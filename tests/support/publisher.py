"""A publisher that logs the broker's confirms: the oracle of the fault tests."""

import asyncio
import contextlib
import json
import uuid
from typing import Any

import aio_pika
import aiormq

EXCHANGE = "jarvis"
EVENT_KEY = "cluster.event.alert.warning"


def event(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the body of an event; a change to None leaves the field out."""
    body = {
        "type": "alert",
        "severity": "warning",
        "source": "monitor",
        "node": f"pve{number % 5}",
        "summary": f"[Monitor] THRESHOLD: cpu of pve{number % 5} above 90 % ({number})",
        "details": {"metric": "cpu", "value": 0.93},
        "timestamp": f"2026-11-23T05:{number // 60 % 60:02}:{number % 60:02}.{number % 10**6:06}Z",
    }
    return {key: value for key, value in (body | changes).items() if value is not None}


async def publish(
    url: str,
    *messages: tuple[str, dict[str, Any] | list[Any] | bytes, dict[str, Any]],
) -> None:
    """Publish (routing key, body, properties) with confirms."""
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(EXCHANGE, ensure=False)
        for routing_key, body, properties in messages:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            await exchange.publish(aio_pika.Message(raw, **properties), routing_key)


async def dead_letters(url: str, expected: int) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """Return the dead letters once there are so many."""
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue("jarvis.recorder.dead", ensure=False)
        letters = []
        async with queue.iterator(timeout=60) as iterator:
            while len(letters) < expected:
                letters.append(message := await anext(iterator))
                await message.ack()
        return letters


class Oracle:
    """A publisher of events without pause, through broker failures, that logs every confirm."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.attempted: set[str] = set()
        self.confirmed: set[str] = set()
        self._stopping = asyncio.Event()

    async def run(self, *, window: int = 100) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(
                aiormq.exceptions.AMQPError, ConnectionError, RuntimeError, TimeoutError
            ):
                await self._publish_until_lost(window)
            if not self._stopping.is_set():
                await asyncio.sleep(0.1)

    async def _publish_until_lost(self, window: int) -> None:
        connection = await aiormq.connect(self.url)
        try:
            channel = await connection.channel()
            while not self._stopping.is_set():
                await asyncio.gather(*(self._publish_one(channel) for _ in range(window)))
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.close(), 2)

    async def _publish_one(self, channel: aiormq.abc.AbstractChannel) -> None:
        identity = str(uuid.uuid4())
        number = len(self.attempted)
        self.attempted.add(identity)
        answer = await channel.basic_publish(
            json.dumps(event(number)).encode(),
            exchange=EXCHANGE,
            routing_key=EVENT_KEY,
            properties=aiormq.spec.Basic.Properties(message_id=identity, delivery_mode=2),
            mandatory=True,
            timeout=10,
        )
        if isinstance(answer, aiormq.spec.Basic.Ack):
            self.confirmed.add(identity)

    def stop(self) -> None:
        self._stopping.set()
