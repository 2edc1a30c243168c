"""Peer d: bare aio-pika, storing nothing: an upper bound for consumers built on it."""

import asyncio
import json
import time

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from rows import job


async def main() -> None:
    work = job()
    done = asyncio.Event()
    count = 0
    began = 0.0

    async def take(message: AbstractIncomingMessage) -> None:
        nonlocal count, began
        began = began or time.perf_counter()
        count += 1
        if count % work.batch == 0 or count == work.count:
            await message.ack(multiple=True)
        if count == work.count:
            done.set()

    async with await aio_pika.connect(work.url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=work.prefetch)
        queue = await channel.get_queue(work.queue, ensure=False)
        await queue.consume(take)
        await done.wait()
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
