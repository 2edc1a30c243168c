"""The latency of read requests on many events, and on few."""

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from bench.stores import FileStore, Store
from jarvis_recorder import ports
from jarvis_recorder.runtime import process
from jarvis_recorder.storage.postgres import store as postgres
from jarvis_recorder.storage.sqlite import store as sqlite
from jarvis_recorder.wire.rpc.jsonrpc import MAX_REPLY_BYTES
from jarvis_recorder.wire.rpc.params import (
    EventHistogram,
    EventMatrix,
    ListEvents,
    Params,
    TimelineAround,
    UnresolvedEvents,
)
from jarvis_recorder.wire.times import to_micros

FEW: Final = 100_000
_BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_TIMES: Final = 5
_DEEP: Final = 0.5

_FILTERS: Final[dict[str, Any]] = {
    "type": "alert",
    "severity": "critical",
    "source": "user",
    "node": "pve7",
    "resolved": True,
    "text": "above 95",
}


class Asked(NamedTuple):
    """Milliseconds of one kind of request, over all its variants."""

    name: str
    variants: int
    median_ms: float
    p99_ms: float


def fill(store: Store, events: int) -> Iterator[int]:
    """Insert events of a cluster of 25 nodes, one a second; yield the number inserted so far."""
    return store.fill(_rows(events))


def _rows(events: int) -> Iterator[tuple[Any, ...]]:
    chance = random.Random(1)
    began = to_micros(_BEGAN)
    for number in range(events):
        kind = chance.choices(("metric", "status", "action", "alert"), (80, 15, 4, 1))[0]
        severity = chance.choices(("info", "warning", "error", "critical"), (90, 7, 2, 1))[0]
        at = began + number * 1_000_000
        yield (
            f"{chance.getrandbits(128):032x}", at, 0, kind, severity,
            chance.choices(("monitor", "jarvis", "system", "user"), (90, 5, 4, 1))[0],
            f"pve{chance.randrange(25)}",
            f"[Monitor] cpu of the node above {chance.randrange(100)} percent",
            '{"metric":"cpu","value":0.93}', None, None,
        )  # fmt: skip


def measure(on: Store, events: int) -> list[Asked]:
    """Measure every kind of request on a filled database."""

    found: list[Asked] = []

    async def main() -> None:
        async with _opened(on) as store:
            for name, questions in _questions(events).items():
                found.append(await _asked(store, name, questions))

    process.run(main())
    return found


def _questions(events: int) -> dict[str, list[Callable[[], Params[Any]]]]:
    end = _BEGAN + timedelta(seconds=events)
    deep = _BEGAN + timedelta(seconds=events * _DEEP)
    combinations = [
        {name: _FILTERS[name] for name in names}
        for size in range(len(_FILTERS) + 1)
        for names in itertools.combinations(_FILTERS, size)
    ]
    # The last day: complete even with few events.
    a_day_before = end - timedelta(days=1)

    def lists(**more: Any) -> list[Callable[[], Params[Any]]]:
        return [partial(ListEvents, **filters, **more) for filters in combinations]

    return {
        "events.list, first page": lists(),
        "events.list, a page deep inside": lists(until=deep),
        "events.list, between two times": lists(since=deep - timedelta(hours=6), until=deep),
        "events.unresolved": [UnresolvedEvents],
        "timeline.around": [
            partial(TimelineAround, timestamp=at) for at in (deep, end - timedelta(hours=1))
        ],
        "events.histogram, a day": [
            partial(EventHistogram, since=a_day_before, until=end, by=by)
            for by in (None, "severity", "node")
        ],
        "events.matrix, a day": [lambda: EventMatrix(since=end - timedelta(days=1), until=end)],
    }


def _opened(store: Store) -> AbstractAsyncContextManager[ports.Store]:
    if isinstance(store, FileStore):
        return sqlite.open_store(store.path, lambda: 0)
    return postgres.open_store(store.url, lambda: 0)


async def _asked(
    store: ports.Store, name: str, questions: list[Callable[[], Params[Any]]]
) -> Asked:
    loop = asyncio.get_running_loop()
    took = []
    for _ in range(max(_TIMES, 100 // len(questions))):
        for question in questions:
            made = question()
            began = time.perf_counter()
            await store.archive.answer(made, loop.time() + 60, MAX_REPLY_BYTES)
            took.append((time.perf_counter() - began) * 1_000)
    p99 = statistics.quantiles(took, n=100)[98]
    return Asked(name, len(questions), statistics.median(took), p99)
