"""The gateway: a page of events by REST and by RPC, many writers, many live pages."""

import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

import uvloop
from argon2 import PasswordHasher

from bench.contenders import environment
from jarvis_recorder.client import RecorderClient

ONE_ASKER: Final = 2_000
WRITERS: Final = 16
POSTS: Final = 12_000
PAGES: Final = 20
WATCHED_PER_SECOND: Final = 500
WATCHED_SECONDS: Final = 20
_WARM: Final = 200
_PASSWORD: Final = "for the bench alone"
_LIMIT: Final = 50
DROPPED_SECONDS: Final = 180.0
_LITTLE_ROOM: Final = 4_096
_EVENT: Final = {
    "type": "alert",
    "severity": "warning",
    "source": "monitor",
    "node": "pve1",
    "summary": "load test of the gateway",
    "details": '{"a":1,"b":"xyz"}',
}

T = TypeVar("T")


class Served(NamedTuple):
    """Milliseconds for fifty events by REST and by a bare RPC; events posted a second."""

    get_ms: float
    get_p99_ms: float
    rpc_ms: float
    rpc_p99_ms: float
    posts_per_second: float
    post_ms: float
    post_p99_ms: float


class Watched(NamedTuple):
    """Milliseconds from publishing to readable in the file, with live pages open or without."""

    alongside: str
    median_ms: float
    p99_ms: float
    seen: list[int]


class Stalled(NamedTuple):
    """Pages that stopped reading: seconds until all were dropped, memory idle and at most."""

    pages: int
    seconds: float
    events: int
    idle_mb: float
    peak_mb: float


@contextlib.contextmanager
def gateway(url: str, directory: Path) -> Iterator[tuple[int, int]]:
    """Run a gateway while entered; yield its port and process id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = (
        f"broker.url={url}",
        f"gateway.listen=127.0.0.1:{port}",
        f"gateway.password_hash={PasswordHasher().hash(_PASSWORD)}",
        "gateway.token_secret=a secret of the bench, long enough for HS256",
    )
    command = [sys.executable, "-m", "jarvis_recorder", "gateway"]
    with (
        (directory / "gateway.log").open("wb") as log,
        subprocess.Popen(
            [*command, *(part for one in settings for part in ("--set", one))],
            stdout=log,
            stderr=log,
            env=environment(),
        ) as process,
    ):
        try:
            while not _listens(port):
                if process.poll() is not None:
                    raise RuntimeError("the gateway ended")
                time.sleep(0.05)
            yield port, process.pid
        finally:
            process.terminate()


def measure(url: str, port: int) -> Served:
    """Measure many writers together, then one reader alone."""

    async def main() -> Served:
        async with _Http.session(port) as http:
            token = http.token
        await _many(_WARM, WRITERS, port, token)
        began = time.perf_counter()
        posts = await _many(POSTS, WRITERS, port, token)
        per_second = POSTS / (time.perf_counter() - began)
        async with _Http.session(port, token) as http, RecorderClient(url) as client:

            async def get() -> None:
                await http.request("GET", f"/api/memory/events?limit={_LIMIT}", 200)

            async def ask() -> None:
                await client.events.list(limit=_LIMIT)

            # Alternate, so that other load on the machine affects both.
            gets, asks = [], []
            for number in range(_WARM + ONE_ASKER):
                took = await _milliseconds(get), await _milliseconds(ask)
                if number >= _WARM:
                    gets.append(took[0])
                    asks.append(took[1])
            return Served(*_typical(gets), *_typical(asks), per_second, *_typical(posts))

    return _run(main())


@contextlib.contextmanager
def pages(port: int, count: int, *, reading: bool) -> Iterator[list[int]]:
    """Keep pages open in another process while entered; then fill the list with events per page."""
    seen: list[int] = []
    with subprocess.Popen(
        [sys.executable, "-m", "bench.gateway", str(port), str(count), str(int(reading))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield seen
        finally:
            output, _ = process.communicate(b"\n")
            seen += json.loads(output)


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def connections(port: int) -> int:
    """Return the number of the gateway's open connections (/proc/net/tcp)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = (line.split()[1:4] for line in lines)
    return sum(local.endswith(f":{port:04X}") and state == "01" for local, _, state in ends)


class _Http:
    """A persistent connection, with just the HTTP/1.1 that the gateway's responses need."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.token = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def session(cls, port: int, token: str = "", room: int = 0) -> AsyncIterator[Self]:
        """Connect, and log in if there is no token; `room` is the receive buffer in bytes."""
        connection = socket.socket()
        if room:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        http = cls(*await asyncio.open_connection(sock=connection))
        http.token = token
        if not token:
            login = await http.request("POST", "/api/auth/login", 200, {"password": _PASSWORD})
            http.token = json.loads(login)["token"]
        yield http
        http._writer.close()

    async def request(self, method: str, path: str, wanted: int, body: Any = None) -> bytes:
        await self.send(method, path, body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        content = await self._reader.readexactly(length)
        if status != wanted:
            raise RuntimeError(f"{method} {path}: {status}: {content!r}")
        return content

    async def send(self, method: str, path: str, body: Any = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self._writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await self._writer.drain()

    async def events(self) -> AsyncIterator[int]:
        """Yield the number of events in each piece of the stream."""
        while piece := await self._reader.read(65_536):
            yield piece.count(b"event: event\n")


async def _many(requests: int, writers: int, port: int, token: str) -> list[float]:
    waited: list[float] = []

    async def writer() -> None:
        async with _Http.session(port, token) as http:

            async def post() -> None:
                await http.request("POST", "/api/memory/events", 201, _EVENT)

            waited.extend([await _milliseconds(post) for _ in range(requests // writers)])

    await asyncio.gather(*(writer() for _ in range(writers)))
    return waited


async def _milliseconds(ask: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await ask()
    return (time.perf_counter() - began) * 1_000


def _typical(waited: list[float]) -> tuple[float, float]:
    return statistics.median(waited), statistics.quantiles(waited, n=100)[98]


async def _watch(port: int, count: int, *, reading: bool) -> list[int]:
    """Keep pages open until a line arrives on standard input; return the events that each read."""
    seen = [0] * count

    async def watch(number: int, http: _Http) -> None:
        async for events in http.events():
            seen[number] += events

    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(_Http.session(port))
        opened = []
        for _ in range(count):
            session = _Http.session(port, first.token, 0 if reading else _LITTLE_ROOM)
            opened.append(await stack.enter_async_context(session))
            await opened[-1].send("GET", "/api/live")
        watching = [asyncio.create_task(watch(*one)) for one in enumerate(opened) if reading]
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for task in watching:
            task.cancel()
    return seen


def _run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


if __name__ == "__main__":
    _port, _count, _reading = map(int, sys.argv[1:])
    print(json.dumps(_run(_watch(_port, _count, reading=bool(_reading)))))
