"""Work that is kept from the gateway's event loop; the recorder's client steered."""

import asyncio
import threading
from typing import Any, cast

import httpx
import pytest
from argon2 import PasswordHasher

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin
from jarvis_recorder.config.settings import GatewaySettings
from jarvis_recorder.gateway import app as module
from jarvis_recorder.gateway.routes import methods
from jarvis_recorder.gateway.tokens import CallerRole
from jarvis_recorder.wire.rpc.results import OnePreference, Preference
from jarvis_recorder.wire.times import to_datetime

SECRET = "0123456789abcdef0123456789abcdef"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")
NOW = to_datetime(1_767_225_600_000_000)


class Client:
    """A client of a recorder that has one preference."""

    async def ask(self, *_: Any, **__: Any) -> OnePreference:
        return OnePreference(Preference("theme", "dark", NOW, None, 1))


@pytest.fixture
async def caller():
    settings = GatewaySettings.model_validate({"token_secret": SECRET, "password_hash": HASH})
    application = module.create(
        cast(RecorderClient, Client()), cast(DeadLetterAdmin, None), settings
    )
    token = application.state.tokens.give(CallerRole.OPERATOR)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application),
        base_url="http://gateway",
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        yield client


@pytest.fixture
def watch(monkeypatch):
    """Have a function note for each call whether the event loop made it."""

    def watched(of: Any, name: str) -> list[bool]:
        original = getattr(of, name)
        by_the_loop: list[bool] = []

        def noted(*arguments: Any) -> Any:
            by_the_loop.append(threading.current_thread() is threading.main_thread())
            return original(*arguments)

        monkeypatch.setattr(of, name, noted)
        return by_the_loop

    return watched


async def test_the_document_is_built_once_and_in_a_thread(caller, watch):
    """It takes most of a second, and any caller may ask for it."""
    by_the_loop = watch(module, "_document")

    replies = await asyncio.gather(*(caller.get("/api/openapi.json") for _ in range(3)))

    assert by_the_loop == [False]
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.content for reply in replies}) == 1
    assert "/api/live" in replies[0].json()["paths"]


async def test_an_answer_of_any_size_is_written_in_a_thread(caller, watch):
    by_the_loop = watch(methods, "reply")

    answer = await caller.get("/api/memory/preferences/theme")

    assert answer.json()["preference"]["value"] == "dark"
    assert by_the_loop == [False]
