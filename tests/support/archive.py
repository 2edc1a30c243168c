"""An archive asked as a dispatcher asks it, and its answers read as a client reads them."""

import asyncio
from typing import Any

from jarvis_recorder.storage.store import Store
from jarvis_recorder.wire import rpc
from jarvis_recorder.wire.answers import Holdings
from jarvis_recorder.wire.methods import BY_QUESTION, adapter
from jarvis_recorder.wire.questions import AnswerT, Question, ReadHoldings


async def ask(
    store: Store,
    question: Question[AnswerT],
    seconds: float = 10.0,
    room: int = rpc.MAX_REPLY_BYTES,
) -> Any:
    """Return the answer as an object of its class."""
    until = asyncio.get_running_loop().time() + seconds
    answer = await store.archive.answer(question, until, room)
    assert len(answer) <= room
    kind = type(question)
    shape = Holdings if kind is ReadHoldings else BY_QUESTION[kind].answer
    return adapter(shape).validate_json(answer)
