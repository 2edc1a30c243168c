"""A look through the queue of dead letters; the queue steered."""

import threading
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from jarvis_recorder.client import dead_letter_look
from jarvis_recorder.client import dead_letter_replay as module
from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin, Filter
from jarvis_recorder.wire.amqp.delivery import Delivery
from tests.support.amqp_bytes import delivery


class Queue:
    """A queue of three dead letters."""

    waiting = 3

    def __init__(self) -> None:
        self.opened_at = time.monotonic()
        self.requests: tuple[bytes, ...] = ()

    async def deliveries(self, *, whole: bool = False) -> AsyncIterator[Delivery]:
        for number in range(self.waiting):
            yield delivery(b"{}", number, message_id=f"{number}")

    async def keep(self, _: Delivery) -> bool:
        return True

    def ask_afterwards(self, requests: Iterable[bytes]) -> None:
        self.requests = tuple(requests)


async def test_what_corrects_the_index_is_written_in_a_thread(monkeypatch):
    """That of ten thousand dead letters takes hundreds of milliseconds."""
    queue = Queue()
    written_by = set()
    to_json = dead_letter_look.to_json

    def noted(value: Any) -> bytes:
        written_by.add(threading.current_thread())
        return to_json(value)

    @asynccontextmanager
    async def opened(*_: Any, **__: Any) -> AsyncIterator[Queue]:
        yield queue

    monkeypatch.setattr(dead_letter_look, "to_json", noted)
    monkeypatch.setattr(module, "open_dead_letter_queue", opened)
    found = [one async for one in DeadLetterAdmin("amqp://localhost/").iterate(Filter())]

    assert (len(found), len(queue.requests)) == (3, 1)
    assert written_by
    assert threading.main_thread() not in written_by
