"""The looks of the page through the queue of dead letters: what they keep, and when they end."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from argon2 import PasswordHasher

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin, Filter, FoundDeadLetter
from jarvis_recorder.config.settings import GatewaySettings
from jarvis_recorder.gateway.app import create
from jarvis_recorder.gateway.routes import dead_letters as module
from jarvis_recorder.gateway.tokens import CallerRole
from jarvis_recorder.wire.dead_letter import read_dead_letter
from tests.support.amqp_bytes import content_header, delivery

MIB = 1024 * 1024
SECRET = "0123456789abcdef0123456789abcdef"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")
LIST = "/api/dead-letters"


class Queue:
    """An admin of a queue of dead letters that the test fills, or that never comes to its end."""

    def __init__(self, *found: FoundDeadLetter, bodies: int = 0) -> None:
        self.found = found
        self.bodies = bodies
        self.is_endless = False
        self.begun = asyncio.Event()
        self.left = 0

    async def iterate(self, _: Filter) -> AsyncIterator[FoundDeadLetter]:
        for one in self.found:
            yield one
        for number in range(self.bodies):
            yield dead(bytes(MIB), message_id=f"{number}")
        await self._end()

    async def get(self, _: str) -> FoundDeadLetter:
        await self._end()
        return self.found[0]

    async def _end(self) -> None:
        self.begun.set()
        try:
            if self.is_endless:
                await asyncio.Event().wait()
        finally:
            self.left += 1


def dead(body: bytes = b"{}", **properties: Any) -> FoundDeadLetter:
    found = delivery(body, **properties)
    return FoundDeadLetter(read_dead_letter(found), found)


class Caller:
    """A reader of the REST methods, who may leave before the reply is there."""

    def __init__(self, queue: Queue) -> None:
        settings = GatewaySettings.model_validate({"token_secret": SECRET, "password_hash": HASH})
        self._application = create(
            cast(RecorderClient, None), cast(DeadLetterAdmin, queue), settings
        )
        token = self._application.state.tokens.give(CallerRole.OPERATOR)
        self._headers = [
            (b"authorization", b"Bearer " + token.encode()),
            (b"content-type", b"application/json"),
        ]
        self.left = asyncio.Event()

    async def ask(self, path: str, body: bytes = b"") -> tuple[int, Any]:
        """Return the status and the body of the reply."""
        parts = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if parts:
                return parts.pop()
            await self.left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        path, _, query = path.partition("?")
        scope = {
            "type": "http", "method": "POST" if body else "GET", "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "headers": self._headers,
            "http_version": "1.1", "scheme": "http", "root_path": "", "state": {},
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        await self._application(cast(Any, scope), receive, cast(Any, send))
        whole = b"".join(message.get("body", b"") for message in sent)
        return sent[0]["status"], json.loads(whole)


async def test_a_list_keeps_none_of_the_bodies():
    caller = Caller(Queue(bodies=100))
    tracemalloc.start()
    try:
        status, page = await caller.ask(f"{LIST}?limit=100")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (status, page["total"], len(page["letters"])) == (200, 100, 100)
    assert page["letters"][0]["messageId"] == "99"
    assert peak < 20 * MIB


async def test_what_a_publisher_wrote_into_its_headers_makes_no_page_long():
    long = "x" * 50_000
    forged = [
        dead(headers={"x-recorder-reason": f"{number}{long}", "x-recorder-error": long})
        for number in range(300)
    ]

    _, page = await Caller(Queue(*forged)).ask(f"{LIST}?limit=300")

    assert (len(page["letters"]), page["total"]) == (300, 300)
    assert len(page["counts"]) == 101
    assert page["counts"]["other"] == 200
    assert len(json.dumps(page)) < MIB


async def test_of_one_that_was_not_read_the_size_is_shown():
    unread = delivery(b"")._replace(header=content_header(128 * MIB, message_id="m"))
    queue = Queue(FoundDeadLetter(read_dead_letter(unread), unread))

    status, answer = await Caller(queue).ask(f"{LIST}/0123456789ab")

    shown = answer["letter"]
    assert (status, shown["messageId"], shown["sizeBytes"]) == (200, "m", 128 * MIB)
    assert (shown["body"], shown["bodyIsWhole"]) == ("", False)


LOOKS = [(LIST, b""), (f"{LIST}/0123456789ab", b"")] + [
    (f"{LIST}/0123456789ab/{action}", b'{"body":"{}"}') for action in ("check", "replay")
]


@pytest.mark.parametrize(("path", "body"), LOOKS)
async def test_a_look_that_takes_too_long_is_ended_and_the_caller_told(path, body, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.01)
    queue = Queue(dead())
    queue.is_endless = True

    status, problem = await Caller(queue).ask(path, body)

    assert (status, queue.left) == (504, 1)
    assert "was not looked through within" in problem["error"]


@pytest.mark.parametrize(("path", "body"), LOOKS)
async def test_a_look_ends_when_its_caller_has_gone(path, body):
    queue = Queue(dead())
    queue.is_endless = True
    caller = Caller(queue)
    asking = asyncio.create_task(caller.ask(path, body))
    await asyncio.wait_for(queue.begun.wait(), 60)
    assert not queue.left

    caller.left.set()
    await asyncio.wait_for(asking, 60)

    assert queue.left == 1
