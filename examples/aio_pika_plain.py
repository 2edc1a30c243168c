"""The same with nothing but aio-pika: what any AMQP client has to do."""

import asyncio
import json
import sys
import uuid

import aio_pika


async def main(url: str) -> None:
    connection = await aio_pika.connect(url, timeout=10)
    async with connection:
        channel = await connection.channel()

        # An event: a topic exchange, a routing key that says what it is, a message_id of its own.
        event = {
            "type": "alert",
            "severity": "critical",
            "source": "monitor",
            "node": "pve1",
            "summary": "pve1 changed from online to offline",
            "timestamp": "2026-11-23T08:00:00Z",
        }
        jarvis = await channel.get_exchange("jarvis")
        await jarvis.publish(
            aio_pika.Message(
                json.dumps(event).encode(),
                message_id=str(uuid.uuid4()),
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            ),
            routing_key="cluster.event.alert.critical",
        )

        # A request: JSON-RPC 2.0, and a queue of one's own for the reply.
        replies = await channel.declare_queue(exclusive=True)
        rpc = await channel.get_exchange("jarvis.rpc")
        request = {"jsonrpc": "2.0", "method": "events.list", "params": {"node": "pve1"}, "id": 1}
        await rpc.publish(
            aio_pika.Message(
                json.dumps(request).encode(),
                reply_to=replies.name,
                correlation_id="1",
                expiration=5,
            ),
            routing_key="recorder",
        )
        async with replies.iterator(timeout=10) as waiting:
            async for reply in waiting:
                for found in json.loads(reply.body)["result"]["events"]:
                    print(found["timestamp"], found["severity"], found["summary"])
                break


asyncio.run(main(sys.argv[1]))
