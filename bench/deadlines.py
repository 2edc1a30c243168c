"""Requests with deadlines while a backlog is drained: each has to be replied to in time."""

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import aio_pika
import uvloop
from pydantic_core import from_json, to_json

from jarvis_recorder.wire.rpc.jsonrpc import Code
from jarvis_recorder.wire.topics import RPC_EXCHANGE, RPC_KEY

REQUESTS: Final = 6_000
PER_SECOND: Final = 200
GRACE_MS: Final = 100
_REPLY_TO: Final = "amq.rabbitmq.reply-to"
_LONGEST_MS: Final = 5_000
_SHORTEST_MS: Final = 20
_GIVE_UP_SECONDS: Final = 10
_ECHO_SECONDS: Final = 0.05
_ALL: Final = {"since": "2020-01-01T00:00:00Z", "until": "2040-01-01T00:00:00Z"}
_REQUESTS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("preferences.get", {"key": "theme"}),
    ("recorder.stats", {}),
    ("events.list", {"limit": 200}),
    ("events.list", {"node": "node-07", "text": "cpu", "limit": 50}),
    ("events.histogram", {**_ALL, "bucket_seconds": 2_592_000}),
    ("events.matrix", _ALL),
    ("conversations.usage", {"since": "2020-01-01T00:00:00Z"}),
    ("snapshots.list", {"limit": 50}),
]


class Kept(NamedTuple):
    """
    The fate of the requests.

    `refused` for their deadline, `failed` for another reason; `busy_share` of them were sent while
    the backlog lasted. `latest_ms` is the most that a reply came after its deadline. Beside it the
    time that messages took from the caller to itself, through the same broker and no recorder:
    no reply can be faster.
    """

    requests: int
    busy_share: float
    answered: int
    refused: int
    failed: int
    late: int
    latest_ms: float
    without_reply: int
    echo_p99_ms: float
    echo_most_ms: float


class _Sent(NamedTuple):
    published: float
    allowed_ms: int


class _Caller:
    """A publisher of requests that waits for no reply, and notes when each arrives."""

    def __init__(self) -> None:
        self._sent: dict[str, _Sent] = {}
        self._beyond_ms: list[float] = []
        self._refused = 0
        self._failed = 0

    def sending(self, number: str, allowed_ms: int) -> None:
        self._sent[number] = _Sent(time.perf_counter(), allowed_ms)

    async def take(self, reply: aio_pika.abc.AbstractIncomingMessage) -> None:
        """Note a reply of the broker."""
        arrived = time.perf_counter()
        sent = self._sent.pop(str(reply.correlation_id))
        self._beyond_ms.append((arrived - sent.published) * 1_000 - sent.allowed_ms)
        error = from_json(reply.body).get("error")
        is_refused = error is not None and error["code"] == Code.DEADLINE_EXCEEDED
        self._refused += is_refused
        self._failed += error is not None and not is_refused

    def kept(self, busy: int, echoes_ms: list[float]) -> Kept:
        late = [beyond for beyond in self._beyond_ms if beyond > GRACE_MS]
        return Kept(
            requests=len(self._beyond_ms) + len(self._sent),
            busy_share=busy / REQUESTS,
            answered=len(self._beyond_ms) - self._refused - self._failed,
            refused=self._refused,
            failed=self._failed,
            late=len(late),
            latest_ms=max(self._beyond_ms),
            without_reply=len(self._sent),
            echo_p99_ms=statistics.quantiles(echoes_ms, n=100)[98],
            echo_most_ms=max(echoes_ms),
        )

    @property
    def waits(self) -> bool:
        return bool(self._sent)


async def _echo(channel: aio_pika.abc.AbstractChannel, took_ms: list[float]) -> None:
    """Send messages to a queue of one's own, for ever, and note how long each takes."""

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        took_ms.append((time.perf_counter() - float(message.body)) * 1_000)

    queue = await channel.declare_queue(exclusive=True)
    await queue.consume(take, no_ack=True)
    while True:
        sent = aio_pika.Message(repr(time.perf_counter()).encode())
        await channel.default_exchange.publish(sent, queue.name)
        await asyncio.sleep(_ECHO_SECONDS)


def ask_in_time(url: str, is_busy: Callable[[], bool]) -> Kept:
    """Send requests of all kinds with deadlines from 20 ms to 5 s, evenly; see how they end."""

    async def main() -> Kept:
        chance = random.Random(1)
        caller = _Caller()
        busy, echoes_ms = 0, list[float]()
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel(publisher_confirms=False)
            replies = await channel.get_queue(_REPLY_TO, ensure=False)
            exchange = await channel.get_exchange(RPC_EXCHANGE, ensure=False)
            await replies.consume(caller.take, no_ack=True)
            echo = asyncio.create_task(_echo(channel, echoes_ms))
            began = time.perf_counter()
            for number in range(REQUESTS):
                await asyncio.sleep(began + number / PER_SECOND - time.perf_counter())
                # Deadlines of all lengths, as many short as long ones.
                allowed_ms = round(_SHORTEST_MS * (_LONGEST_MS / _SHORTEST_MS) ** chance.random())
                request = _request(number, *chance.choice(_REQUESTS), allowed_ms)
                caller.sending(str(number), allowed_ms)
                await exchange.publish(request, RPC_KEY)
                busy += is_busy() if number % PER_SECOND == 0 else 0
            until = time.perf_counter() + _GIVE_UP_SECONDS
            while caller.waits and time.perf_counter() < until:
                await asyncio.sleep(0.1)
            echo.cancel()
        return caller.kept(busy * PER_SECOND, echoes_ms)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def _request(number: int, method: str, params: dict[str, Any], allowed_ms: int) -> aio_pika.Message:
    body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return aio_pika.Message(
        to_json(body),
        correlation_id=str(number),
        reply_to=_REPLY_TO,
        expiration=allowed_ms / 1_000,
        timestamp=int(time.time()),
    )
