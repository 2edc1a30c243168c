"""Work of many milliseconds in a read: on both engines a thread does it, and the loop goes on."""

import asyncio
import threading

import pytest

from jarvis_recorder.errors import DeadlineExceeded
from jarvis_recorder.storage.queries import differences, search_pages, zones
from jarvis_recorder.wire.rpc.params import (
    DiffSnapshots,
    EventHistogram,
    ReportUsage,
    SearchTurns,
)
from tests.support.archive import ask
from tests.support.stored import SNAPSHOTS, TURNS, at, put, turn

BERLIN = {"since": at(0), "until": at(86_400), "time_zone": "Europe/Berlin"}


def snapshot(second, status):
    body = {"nodes": [{"name": "pve1", "status": status}]}
    return {"cluster": "home", "timestamp": at(second).isoformat(), "snapshot": body}


@pytest.mark.parametrize(
    ("module", "name", "asked"),
    [
        (search_pages, "snippet", SearchTurns(query="said")),
        (differences, "_differences_of", DiffSnapshots(from_=at(0), to=at(1))),
        (zones, "_changes", ReportUsage(by="day", **BERLIN)),
        (zones, "_changes", EventHistogram(bucket_seconds=86_400, **BERLIN)),
    ],
)
async def test_it_is_not_done_by_the_event_loop(store, monkeypatch, module, name, asked):
    await put(store, snapshot(0, "online"), snapshot(1, "offline"), topic=SNAPSHOTS)
    await put(store, turn(0, content="said"), topic=TURNS)
    threads = []
    work = getattr(module, name)

    def noted(*given):
        threads.append(threading.current_thread())
        return work(*given)

    monkeypatch.setattr(module, name, noted)

    await ask(store, asked)

    assert threads
    assert threading.main_thread() not in threads


async def test_what_it_raises_is_raised(store):
    def fails():
        raise KeyError("as it is")

    with pytest.raises(KeyError, match="as it is"):
        await store.archive._readers.run(
            lambda reading: reading.aside(fails), asyncio.get_running_loop().time() + 30
        )


async def test_a_deadline_ends_the_wait_for_it(store):
    loop = asyncio.get_running_loop()
    began, free = loop.time(), threading.Event()

    try:
        with pytest.raises(DeadlineExceeded):
            await store.archive._readers.run(
                lambda reading: reading.aside(lambda: free.wait(60)), began + 0.1
            )
        assert loop.time() - began < 30
    finally:
        free.set()
