"""Peer e: FastStream and asyncpg, one commit a message."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import uvloop
from faststream import FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue
from rows import job, row

_TIMESTAMP, _RECORDED_AT = 1, -1


async def main() -> None:
    work = job()
    # Each INSERT is a transaction of its own.
    async with asyncpg.create_pool(work.database, min_size=10, max_size=10) as database:
        broker = RabbitBroker(
            work.url,
            default_channel=Channel(prefetch_count=work.prefetch),
            logger=None,
        )

        # Messages are handled at once, as many as there are connections.
        @broker.subscriber(RabbitQueue(work.queue, declare=False))
        async def record(event: dict[str, Any], message: RabbitMessage) -> None:
            values = list(row(message.message_id, event))
            values[_TIMESTAMP] = datetime.fromisoformat(event["timestamp"])
            values[_RECORDED_AT] = datetime.now(UTC)
            await database.execute(work.insert, *values)

        await FastStream(broker).run()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
