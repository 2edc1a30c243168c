"""The latency of a request: alone, during the drain of a backlog, and among 64 callers."""

import asyncio
import json
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

import uvloop

from bench.contenders import PEERS, environment, python_peers
from bench.cpu import Cpu
from jarvis_recorder.client import RecorderClient
from jarvis_recorder.wire.rpc.params import GetPreference

ONE_ASKER: Final = 2_000
ASKERS: Final = 64
TOGETHER: Final = 10_000
_KEY: Final = "theme"

T = TypeVar("T")
Ask = Callable[[], Awaitable[object]]


class Echoed(NamedTuple):
    """Milliseconds that one caller waited, and requests a second of 64 callers."""

    median_ms: float
    p99_ms: float
    per_second: float


class Asked(NamedTuple):
    """The same, and the CPU time for each request of the 64 callers."""

    median_ms: float
    p99_ms: float
    per_second: float
    loop_us: float
    others_us: float
    broker_us: float


class Busy(NamedTuple):
    """Milliseconds that one caller waited while a backlog was drained."""

    questions: int
    median_ms: float
    p99_ms: float


def ask_recorder(url: str, cpu: Callable[[], Cpu]) -> Asked:
    """Measure requests to an idle recorder, whose CPU time so far `cpu` reads."""

    async def main() -> Asked:
        async with RecorderClient(url) as client:
            await client.preferences.set(key=_KEY, value="dark")

            async def ask() -> None:
                await client.ask(GetPreference(key=_KEY))

            waited = [await _milliseconds(ask) for _ in range(ONE_ASKER)]
            before = cpu()
            per_second = await _together(ask)
            used = cpu().each_us(before, TOGETHER // ASKERS * ASKERS)
            return Asked(*_typical(waited), per_second, used.loop, used.others, used.broker)

    return _run(main())


def ask_busy_recorder(url: str, is_busy: Callable[[], bool]) -> Busy:
    """Send one request after another for as long as the recorder is busy."""

    async def main() -> Busy:
        async with RecorderClient(url) as client:
            await client.preferences.set(key=_KEY, value="dark")

            async def ask() -> None:
                await client.ask(GetPreference(key=_KEY))

            waited = []
            while is_busy():
                waited.append(await _milliseconds(ask))
            return Busy(len(waited), *_typical(waited))

    return _run(main())


def ask_peer(url: str) -> Echoed:
    """
    Measure requests to an echo through `aio_pika.patterns.RPC`, which reads no database.

    Raises:
        NotHere: Its packages cannot be installed.
    """
    command = [str(python_peers()), str(PEERS / "aio_pika_rpc.py")]
    with subprocess.Popen(
        [*command, "serve", url], stdout=subprocess.PIPE, env=environment()
    ) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            asked = subprocess.run(
                [*command, "ask", url], env=environment(), capture_output=True, check=True
            )
        finally:
            server.terminate()
    return Echoed(**json.loads(asked.stdout))


async def _milliseconds(ask: Ask) -> float:
    began = time.perf_counter()
    await ask()
    return (time.perf_counter() - began) * 1_000


async def _together(ask: Ask) -> float:
    async def caller() -> None:
        for _ in range(TOGETHER // ASKERS):
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(ASKERS)))
    return TOGETHER // ASKERS * ASKERS / (time.perf_counter() - began)


def _typical(waited: list[float]) -> tuple[float, float]:
    return statistics.median(waited), statistics.quantiles(waited, n=100)[98]


def _run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
