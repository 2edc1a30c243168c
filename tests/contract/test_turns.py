"""The turns of a conversation from its beginning, from its end, and around one of them."""

import pytest

from jarvis_recorder.errors import NotFound
from jarvis_recorder.wire.rpc.params import ListTurns
from tests.support.archive import ask
from tests.support.stored import TURNS, all_pages, put, turn


@pytest.fixture(scope="module")
async def store(module_store):
    # Two at each time: the number decides.
    await put(module_store, *(turn(number // 2) for number in range(20)), topic=TURNS)
    await put(module_store, turn(5, session_id="other"), topic=TURNS)
    return module_store


def numbers(turns):
    return [one.id for one in turns]


@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_pages_go_on_from_the_end_to_the_beginning(store, limit):
    oldest = await all_pages(store, ListTurns, session_id="s", limit=limit)
    newest = await all_pages(store, ListTurns, session_id="s", limit=limit, order="newest")

    assert numbers(oldest) == list(range(1, 21))
    assert newest == oldest[::-1]


@pytest.mark.parametrize(
    ("order", "around", "page", "rest"),
    [
        ("oldest", 10, [8, 9, 10, 11], list(range(12, 21))),
        ("newest", 10, [12, 11, 10, 9], list(range(8, 0, -1))),
        ("oldest", 1, [1, 2, 3, 4], list(range(5, 21))),
        ("oldest", 20, [18, 19, 20], []),
    ],
)
async def test_a_page_has_a_turn_in_its_middle_and_goes_on(store, order, around, page, rest):
    asked = {"session_id": "s", "order": order, "around": around, "limit": 4}

    first = await ask(store, ListTurns(**asked))
    every = await all_pages(store, ListTurns, **asked)

    assert numbers(first.turns) == page
    assert numbers(every) == page + rest


@pytest.mark.parametrize("around", [21, 22])
async def test_a_turn_of_another_conversation_is_none_of_this_one(store, around):
    with pytest.raises(NotFound, match=f"no turn {around}"):
        await ask(store, ListTurns(session_id="s", around=around))
