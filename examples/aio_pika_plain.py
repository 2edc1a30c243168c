"""
The same with nothing but aio-pika: what any AMQP client has to do.

    python examples/aio_pika_plain.py [amqp://user:password@host:5672/]
"""

import asyncio
import json
import os
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import aio_pika

TIMEOUT_SECONDS = 5


async def publish_event(channel: aio_pika.abc.AbstractChannel, event: dict[str, Any]) -> str:
    """Publish, and return once the broker has confirmed."""
    now = datetime.now(UTC)
    # By identity and time it is recorded once, however often it is published.
    message_id = str(uuid.uuid4())
    message = aio_pika.Message(
        json.dumps({**event, "timestamp": now.isoformat()}).encode(),
        content_type="application/json",
        message_id=message_id,
        timestamp=now,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
    exchange = await channel.get_exchange("jarvis", ensure=False)
    await exchange.publish(message, f"cluster.event.{event['type']}.{event['severity']}")
    return message_id


async def ask(
    channel: aio_pika.abc.AbstractChannel, method: str, params: dict[str, Any]
) -> dict[str, Any]:
    """Ask one question over direct reply-to, and return its result."""
    correlation_id = str(uuid.uuid4())
    replied: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def on_reply(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        if message.correlation_id == correlation_id and not replied.done():
            replied.set_result(message.body)

    # Before asking, on the same channel, and without acks: RabbitMQ wants it so.
    replies = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
    consumer = await replies.consume(on_reply, no_ack=True)
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    message = aio_pika.Message(
        json.dumps(request).encode(),
        content_type="application/json",
        reply_to="amq.rabbitmq.reply-to",
        correlation_id=correlation_id,
        expiration=TIMEOUT_SECONDS,  # the recorder answers within it, or not at all
    )
    exchange = await channel.get_exchange("jarvis.rpc", ensure=False)
    await exchange.publish(message, "recorder")
    try:
        reply = json.loads(await asyncio.wait_for(replied, TIMEOUT_SECONDS))
    finally:
        await replies.cancel(consumer)
    if "error" in reply:
        raise SystemExit(f"{method}: {reply['error']['message']}")
    result: dict[str, Any] = reply["result"]
    return result


async def main(url: str) -> None:
    connection = await aio_pika.connect(url, timeout=10)
    async with connection:
        # With confirms, and an error for what no queue takes.
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        event = {
            "type": "alert",
            "severity": "warning",
            "source": "monitor",
            "node": "pve1",
            "summary": "cpu of pve1 above 90 %",
        }
        print("published", await publish_event(channel, event))

        page = await ask(channel, "events.list", {"node": "pve1", "limit": 5})
        for found in page["events"]:
            print(found["timestamp"], found["severity"], found["summary"])


default = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/")
asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else default))
