"""
The demo of a cluster: one of each part is killed while messages are published.

Three RabbitMQ nodes, a PostgreSQL server and two recorders run on this machine. All that a publisher
was told is safe is looked for afterwards, through the recorders' own answers.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from jarvis_recorder.client import RecorderClient, new_event
from jarvis_recorder.demo.private_cluster import PrivateCluster
from jarvis_recorder.demo.private_postgres import PrivateServer
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.wire.records import Record

_RECORDERS: Final = 2
_PUBLISHED_AT_ONCE: Final = 50
_PAUSE_SECONDS: Final = 0.1
_QUIET_SECONDS: Final = 2.0
"""The time between the return of one part and the kill of the next."""
_PATIENCE_SECONDS: Final = 90.0
_REQUEST_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05
_PAGE: Final = 500
_TYPE: Final = "metric"
_SOURCE: Final = "system"

Say = Callable[[str], None]


class Kill(NamedTuple):
    """One part that was killed; the seconds until all was recorded that had been confirmed then."""

    part: str
    confirmed: int
    seconds: float


class FailoverOutcome(NamedTuple):
    """The messages that were confirmed, how often each is recorded, and the parts killed meanwhile."""

    kills: Sequence[Kill]
    confirmed: frozenset[str]
    recorded: Counter[str]

    @property
    def lost(self) -> int:
        """The number of messages that were confirmed and are not recorded."""
        return len(self.confirmed - self.recorded.keys())

    @property
    def twice(self) -> int:
        """The number of messages that are recorded more than once."""
        return sum(count > 1 for count in self.recorded.values())


class _Recorder:
    """A recorder as a process of its own, with its log in a file."""

    def __init__(self, name: str, settings: dict[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        options = [f"--set={key}={value}" for key, value in settings.items()]
        self._command = [sys.executable, "-m", "jarvis_recorder", "run", *options]
        self._process = self._run()

    def _run(self) -> subprocess.Popen[bytes]:
        # The settings of this machine are not read: a demo is the same everywhere.
        ours = {name: value for name, value in os.environ.items() if not _sets(name)}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*self._command, f"--config={os.devnull}"], stdout=log, stderr=log, env=ours
            )

    def start(self) -> None:
        """Start it again, after it was killed."""
        self._process = self._run()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and return once it has; all that it holds goes back to the broker."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def require_running(self) -> None:
        """
        Return if it runs.

        Raises:
            RecorderError: It has ended; the message has the last line of its log.
        """
        if self._process.poll() is not None:
            last = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise RecorderError(f"{self.name} ended with {self._process.returncode}: {last}")


def _sets(name: str) -> bool:
    return name.startswith("JARVIS_RECORDER_") or name == "CREDENTIALS_DIRECTORY"


class _Publisher:
    """A publisher of events until it is stopped; it notes those that the broker confirmed."""

    def __init__(self, client: RecorderClient) -> None:
        self._client = client
        self.confirmed: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            events = [_event(number + at) for at in range(_PUBLISHED_AT_ONCE)]
            number += len(events)
            await _again(partial(self._client.publish_many, events))
            self.confirmed.update(str(event.message_id) for event in events)
            await asyncio.sleep(_PAUSE_SECONDS)


def _event(number: int) -> Record:
    return new_event(type=_TYPE, source=_SOURCE, summary=f"number {number}")


async def _again(ask: Callable[[], Awaitable[Any]]) -> Any:
    """
    Return the result of a call that is repeated while a part of the cluster is away.

    Raises:
        RecorderError: As the call does, after `_PATIENCE_SECONDS`.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return await ask()
        except RecorderError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_LOOK_SECONDS)


class Stage:
    """The running cluster: its parts, a client, and what was done to them."""

    def __init__(
        self,
        brokers: PrivateCluster,
        server: PrivateServer,
        recorders: Sequence[_Recorder],
        client: RecorderClient,
        say: Say,
    ) -> None:
        self._brokers = brokers
        self._server = server
        self._recorders = recorders
        self._client = client
        self._say = say
        self._publisher = _Publisher(client)
        self._kills: list[Kill] = []

    async def perform(self) -> FailoverOutcome:
        """
        Publish, kill one of each part and start it again, and return the outcome.

        Raises:
            RecorderError: A part did not come back, or a recorder ended by itself.
        """
        await _again(self._client.stats)
        stop = asyncio.Event()
        publishing = asyncio.create_task(self._publisher.run(stop))
        try:
            recorder, broker, server = self._recorders[0], self._brokers.nodes[0], self._server
            await self._killed(recorder.name, recorder.kill, recorder.start)
            await self._killed("RabbitMQ node 1", broker.kill, broker.start)
            await self._killed("PostgreSQL", server.kill, server.start)
        finally:
            stop.set()
            await publishing
        await self._caught_up()
        for recorder in self._recorders:
            recorder.require_running()
        confirmed = frozenset(self._publisher.confirmed)
        return FailoverOutcome(self._kills, confirmed, await self._recorded())

    async def _killed(self, part: str, kill: Callable[[], None], start: Callable[[], Any]) -> None:
        """Kill a part, wait until recording continues, and start it where it is needed for that."""
        await asyncio.sleep(_QUIET_SECONDS)
        self._say(f"Killing {part} …")
        await asyncio.to_thread(kill)
        began = time.monotonic()
        confirmed = len(self._publisher.confirmed)
        starting = asyncio.create_task(asyncio.to_thread(start))
        await self._caught_up()
        self._kills.append(Kill(part, confirmed, time.monotonic() - began))
        self._say(f"Waiting for {part} to come back …")
        await starting

    async def _caught_up(self) -> None:
        """Return once all is recorded that is confirmed now."""
        wanted = len(self._publisher.confirmed)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (await _again(self._client.stats)).holdings.events.count < wanted:
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _recorded(self) -> Counter[str]:
        async def read() -> Counter[str]:
            events = self._client.events.iter(source=_SOURCE, limit=_PAGE)
            return Counter([str(event.message_id) async for event in events])

        found: Counter[str] = await _again(read)
        return found


@contextlib.asynccontextmanager
async def stage(
    brokers: PrivateCluster, server: PrivateServer, directory: Path, say: Say
) -> AsyncIterator[Stage]:
    """Run two recorders on the brokers and the server; end them afterwards."""
    client = RecorderClient(brokers.url, also=brokers.also, timeout=_REQUEST_SECONDS)
    with _recorders(brokers, server, directory) as recorders:
        async with client:
            yield Stage(brokers, server, recorders, client, say)


@contextlib.contextmanager
def _recorders(
    brokers: PrivateCluster, server: PrivateServer, directory: Path
) -> Iterator[list[_Recorder]]:
    also = str(brokers.also).replace("'", '"')
    settings = {"broker.url": brokers.url, "broker.also": also, "store.url": server.url()}
    settings |= {"http.listen": "", "log.level": "warning"}
    started: list[_Recorder] = []
    try:
        for number in range(1, _RECORDERS + 1):
            log = directory / f"recorder-{number}.log"
            started.append(_Recorder(f"recorder {number}", settings, log))
        yield started
    finally:
        for recorder in started:
            recorder.stop()


def as_json(outcome: FailoverOutcome) -> dict[str, Any]:
    return {
        "kills": [kill._asdict() for kill in outcome.kills],
        "confirmed": len(outcome.confirmed),
        "recorded": len(outcome.recorded),
        "lost": outcome.lost,
        "twice": outcome.twice,
    }


def present(outcome: FailoverOutcome) -> None:
    """Print the outcome for people."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("killed")
    for heading in ("confirmed by then", "all of that recorded after"):
        table.add_column(heading, justify="right")
    for kill in outcome.kills:
        table.add_row(kill.part, f"{kill.confirmed:,}", f"{kill.seconds:.1f} s")
    console = Console(highlight=False)
    console.print("Three RabbitMQ nodes, PostgreSQL and two recorders, one of each killed in turn:")
    console.print(Padding(table, (0, 0, 0, 2)))
    console.print(
        f"{len(outcome.confirmed):,} events confirmed, {outcome.lost:,} lost, "
        f"{outcome.twice:,} recorded twice."
    )
