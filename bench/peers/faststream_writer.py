"""Peer a: FastStream and aiosqlite, one commit a message, as in its tutorial."""

import asyncio
from typing import Any

import aiosqlite
import uvloop
from faststream import FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue
from rows import job, row


async def main() -> None:
    work = job()
    # In autocommit each INSERT is a transaction of its own.
    async with aiosqlite.connect(work.database, isolation_level=None) as database:
        for pragma in work.pragmas:
            await database.execute(pragma)
        broker = RabbitBroker(
            work.url,
            default_channel=Channel(prefetch_count=work.prefetch),
            logger=None,
        )

        @broker.subscriber(RabbitQueue(work.queue, declare=False))
        async def record(event: dict[str, Any], message: RabbitMessage) -> None:
            await database.execute(work.insert, row(message.message_id, event))

        await FastStream(broker).run()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
