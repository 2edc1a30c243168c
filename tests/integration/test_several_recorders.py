"""Two recorders on the same queues, each with a database of its own."""

import asyncio

import pytest

from jarvis_recorder.client import RecorderClient
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker

_TURNS = 600


async def test_one_takes_all_turns_in_their_order_and_the_other_takes_over(
    amqp_url, start_recorder, tmp_path
):
    first = start_recorder(amqp_url)
    first.wait_for("recording")
    other = start_recorder(amqp_url, path=tmp_path / "other.db")
    other.wait_for("recording")

    await say(amqp_url, 0)

    def recorded() -> bool:
        return first.count("conversations") + other.count("conversations") == _TURNS

    await asyncio.to_thread(wait_until, recorded, "all turns are recorded")
    taker, heir = (first, other) if first.count("conversations") else (other, first)
    assert spoken(taker) == [f"turn {number}" for number in range(_TURNS)]
    assert not heir.count("conversations")

    taker.kill()
    await say(amqp_url, _TURNS)
    await asyncio.to_thread(
        wait_until, lambda: heir.count("conversations") >= _TURNS, "the other has the rest"
    )
    assert spoken(heir)[-_TURNS:] == [f"turn {_TURNS + number}" for number in range(_TURNS)]


async def say(url: str, first: int) -> None:
    async with RecorderClient(url) as client:
        for number in range(first, first + _TURNS):
            await client.publish_turn(session_id="s", role="user", content=f"turn {number}")


def spoken(recorder) -> list[str]:
    return [text for (text,) in recorder.rows("SELECT content FROM conversations ORDER BY id")]
