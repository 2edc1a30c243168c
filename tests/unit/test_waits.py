"""Waiting for an event of the process, and the first rows of so many bytes."""

import asyncio

import pytest

from jarvis_recorder.runtime.process import read_error, set_within
from jarvis_recorder.storage.chunks import first_within


async def test_an_event_that_is_set_ends_the_wait():
    stop = asyncio.Event()
    waiting = asyncio.create_task(set_within(stop, 3_600.0))
    await asyncio.sleep(0)
    assert not waiting.done()

    stop.set()

    assert await waiting


async def test_a_wait_ends_without_its_event_once_its_time_is_over():
    assert not await set_within(asyncio.Event(), 0.0)


async def test_a_wait_that_is_cancelled_as_its_event_is_set_is_cancelled():
    stop = asyncio.Event()
    waiting = asyncio.create_task(set_within(stop, 3_600.0))
    await asyncio.sleep(0)

    stop.set()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_error_that_no_one_awaits_is_not_reported(caplog):
    failed = asyncio.get_running_loop().create_future()
    failed.add_done_callback(read_error)
    failed.set_exception(OSError("gone"))
    await asyncio.sleep(0)

    del failed

    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize(
    ("sizes", "most", "fit", "read"),
    [
        ([3, 3, 3, 3], 6, [3, 3], 3),
        ([9, 1, 1], 6, [9], 2),
        ([6, 0, 1], 6, [6, 0], 3),
        ([1, 2], 6, [1, 2], 2),
        ([], 6, [], 0),
    ],
)
def test_the_first_rows_that_fit_are_taken_and_at_most_one_more_is_read(sizes, most, fit, read):
    rows = []

    def reading():
        for size in sizes:
            rows.append(size)
            yield size

    assert list(first_within(reading(), lambda size: size, most)) == fit
    assert len(rows) == read
