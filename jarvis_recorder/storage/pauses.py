"""The pauses between the steps of what takes many, in which the database is left to others."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final

_SHORTEST_SECONDS: Final = 0.002


@contextlib.asynccontextmanager
async def followed_by_pause(times: float = 2.0) -> AsyncIterator[None]:
    """Do a step inside this context, then pause so many times as long as it took."""
    began = time.monotonic()
    yield
    await asyncio.sleep(max(_SHORTEST_SECONDS, times * (time.monotonic() - began)))
