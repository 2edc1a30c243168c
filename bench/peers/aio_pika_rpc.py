"""Peer: an echo through aio_pika.patterns.RPC; server or client by its argument."""

import asyncio
import json
import statistics
import sys
import time

import aio_pika
import uvloop
from aio_pika.patterns import JsonRPC

ONE_ASKER = 2_000
ASKERS = 64
TOGETHER = 10_000


async def serve(url: str) -> None:
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=ASKERS)
    rpc = await JsonRPC.create(channel)

    async def echo(key: str) -> dict[str, str]:
        return {"key": key}

    await rpc.register("echo", echo, auto_delete=True, durable=False, exclusive=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def ask(url: str) -> None:
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    rpc = await JsonRPC.create(channel)
    waited = []
    for _ in range(ONE_ASKER):
        began = time.perf_counter()
        await rpc.call("echo", {"key": "theme"})
        waited.append((time.perf_counter() - began) * 1_000)

    async def caller() -> None:
        for _ in range(TOGETHER // ASKERS):
            await rpc.call("echo", {"key": "theme"})

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(ASKERS)))
    seconds = time.perf_counter() - began
    found = {
        "median_ms": statistics.median(waited),
        "p99_ms": statistics.quantiles(waited, n=100)[98],
        "per_second": TOGETHER // ASKERS * ASKERS / seconds,
    }
    print(json.dumps(found), flush=True)
    await connection.close()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run({"serve": serve, "ask": ask}[sys.argv[1]](sys.argv[2]))
