"""The start and stop of the process: its event loop, memory settings and signals."""

import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")

# The time a thread waits for the GIL before it requests it from the running one. The loop
# decodes while SQLite's thread commits; at the default of 5 ms each switch costs more than a
# thousand decoded messages.
_SWITCH_SECONDS: Final = 0.0005

# Deliveries make no cycles, but thousands of them alive at once would start the collector over
# and over.
_COLLECT_AFTER_ALLOCATIONS: Final = 50_000

# glibc's M_MMAP_THRESHOLD, and the size from which a block is returned as soon as it is free.
# By default the threshold grows to the largest block so far, and smaller ones are kept.
_M_MMAP_THRESHOLD: Final = -3
_GIVEN_BACK_BYTES: Final = 1024 * 1024
# M_ARENA_MAX. By default each thread has a heap of its own, and each keeps the memory of its
# largest message.
_M_ARENA_MAX: Final = -8
_HEAPS: Final = 2


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run the process's main coroutine, on uvloop if that is installed."""
    # systemd's watchdog ends a hanging process with SIGABRT: print where it hung.
    faulthandler.enable()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER_ALLOCATIONS, 50, 100)
    _keep_heaps_small()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main)


def _keep_heaps_small() -> None:
    # Other C libraries have no such function.
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _GIVEN_BACK_BYTES)
        library.mallopt(_M_ARENA_MAX, _HEAPS)


def give_memory_back() -> None:
    """Return freed memory to the system; takes some tens of milliseconds without the GIL."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.asynccontextmanager
async def in_turn(lock: asyncio.Lock, seconds: float) -> AsyncIterator[None]:
    """Hold a lock; if others keep it for longer than `seconds`, continue without it."""
    is_held = False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            is_held = await lock.acquire()
    try:
        yield
    finally:
        if is_held:
            lock.release()


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT; end the process at the second."""

    def received(signum: int) -> None:
        name = signal.Signals(signum).name
        if stop.is_set():
            log.warning("stopped_at_once", signal=name)
            os._exit(1)
        log.info("stopping", signal=name)
        stop.set()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, received, signum)


async def first_of(stop: asyncio.Event, *futures: asyncio.Future[Any]) -> None:
    """Return once one of the futures is done or `stop` is set."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, *futures}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()


async def set_within(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for so many seconds at most, and return whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()


def read_error(future: asyncio.Future[Any]) -> None:
    """Mark the error of a future as retrieved: perhaps no one waits for it any longer."""
    if not future.cancelled():
        future.exception()


async def any_of(*events: asyncio.Event) -> None:
    """Return once one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


async def unless_stopped(stop: asyncio.Event, opening: Coroutine[Any, Any, T]) -> T | None:
    """Return the result of `opening`, or None if `stop` is set before it is done."""
    task = asyncio.create_task(opening)
    try:
        await first_of(stop, task)
    finally:
        # Also if this call is cancelled: `opening` must not continue unattended.
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    return None if task.cancelled() else await task


async def raise_first(*futures: asyncio.Future[Any]) -> None:
    """Raise the exception of the first future that is done and has one."""
    for future in futures:
        if future.done():
            await future
