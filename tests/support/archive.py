"""Calls to an archive as the dispatcher makes them, with results read as a client reads them."""

import asyncio
from typing import Any

from jarvis_recorder.ports import Store
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.methods import BY_PARAMS, adapter
from jarvis_recorder.wire.rpc.params import Params, ReadHoldings, ResultT
from jarvis_recorder.wire.rpc.results import Holdings

NOW = 1_795_420_000_000_000


def clock() -> int:
    return NOW


async def ask(
    store: Store,
    question: Params[ResultT],
    seconds: float = 10.0,
    room: int = jsonrpc.MAX_REPLY_BYTES,
) -> Any:
    """Execute a request, and return its result as an object of its class."""
    until = asyncio.get_running_loop().time() + seconds
    answer = await store.archive.answer(question, until, room)
    assert len(answer) <= room
    kind = type(question)
    shape = Holdings if kind is ReadHoldings else BY_PARAMS[kind].result
    return adapter(shape).validate_json(answer)
