"""A search continues where its page ended, whatever is recorded or deleted between two pages."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from jarvis_recorder.errors import InvalidParameter
from jarvis_recorder.storage.postgres import search_turns as on_server
from jarvis_recorder.storage.queries.cursors import write_cursor
from jarvis_recorder.storage.sqlite import search_turns as in_file
from jarvis_recorder.storage.sqlite.store import SqliteStore
from jarvis_recorder.wire.records import Record, Turn
from jarvis_recorder.wire.rpc.params import DeleteConversation, SearchTurns
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import NOW, ask, rows


class Talk:
    """The turns said in a store, and the pages of a search of them."""

    def __init__(self, store):
        self.store = store
        self._said = 0

    async def say(self, *texts, session="s"):
        turns = []
        for text in texts:
            self._said += 1
            body = Turn(session_id=session, role="user", content=text)
            turns.append(Record(Kind.TURN, f"t{self._said}", NOW + self._said, False, body, None))
        await self.store.repository.append(turns, NOW)

    async def page(self, query, cursor=None, limit=2, **params):
        question = SearchTurns(query=query, limit=limit, cursor=cursor, **params)
        page = await ask(self.store, question)
        return [one.turn.content for one in page.turns], page.next_cursor

    async def rest(self, query, cursor, limit=2, **params):
        found = []
        while cursor is not None:
            page, cursor = await self.page(query, cursor, limit, **params)
            found += page
        return found


@pytest.fixture
def talk(store):
    return Talk(store)


@pytest.mark.parametrize("word", ["क" * 700, "ა" * 700])
async def test_a_word_too_long_for_a_server_is_in_no_turn_of_it(talk, word):
    await talk.say(f"{word} and more", "and more")

    with_more, _ = await talk.page(f"{word} more")
    begun, _ = await talk.page(f"{word[:-1]}*")

    found = [f"{word} and more"] if isinstance(talk.store, SqliteStore) else []
    assert with_more == begun == found
    assert len((await talk.page("more"))[0]) == 2


@pytest.fixture
def few_are_ranked(monkeypatch):
    for module in (in_file, on_server):
        monkeypatch.setattr(module, "_MOST_RANKED", 6)


@pytest.mark.parametrize("others", ["", " pod"])
async def test_a_word_that_was_a_beginning_stays_one_after_someone_has_said_it(talk, others):
    said = [f"kubernetes{others} {number}" for number in range(6)]
    await talk.say(*said)

    first, cursor = await talk.page(f"kube{others}")
    await talk.say(f"kube{others}")

    assert sorted(first + await talk.rest(f"kube{others}", cursor)) == said
    assert await talk.page(f"kube{others}") == ([f"kube{others}"], None)


@pytest.mark.usefixtures("few_are_ranked")
async def test_the_best_stay_first_when_there_are_too_many_to_be_ranked(talk):
    said = ["net net net", "net x y", "net net x", "net x x x x x", "net x x x", "net net net x"]
    await talk.say(*said)
    in_order = await talk.rest("net", (await talk.page("net"))[1])

    first, cursor = await talk.page("net")
    await talk.say(*["net"] * 3)

    assert await talk.rest("net", cursor) == in_order
    assert sorted(first + in_order) == sorted(said)


@pytest.mark.usefixtures("few_are_ranked")
async def test_the_newest_first_continue_behind_the_last_one(talk):
    await talk.say(*(f"net {number}" for number in range(9)))

    first, cursor = await talk.page("net")
    await talk.say("net new", "net newer")

    expected = [f"net {number}" for number in reversed(range(9))]
    assert first + await talk.rest("net", cursor) == expected


async def test_nothing_is_lost_or_repeated_though_new_turns_change_the_ranks(talk):
    """FTS5 ranks by the average length of all turns, and by how many of them hold each word."""
    said = [
        f"{'net ' * (1 + number % 3)}{'pod ' * (1 + number % 4)}{'x ' * (number % 7)}{number}"
        for number in range(30)
    ]
    await talk.say(*said)

    found, cursor = await talk.page("net pod")
    number = 0
    while cursor is not None:
        number += 1
        assert number < 20
        await talk.say(*["pod " + "long " * 400 * (number % 2)] * 20, *["net pod pod"] * 5)
        page, cursor = await talk.page("net pod", cursor)
        found += page

    assert sorted(found) == sorted(said)


async def test_no_turn_is_lost_when_others_are_erased(talk):
    """Which may be shown a second time."""
    said = [f"net {'x ' * (number % 5)}{number}" for number in range(20)]
    for number, text in enumerate(said):
        await talk.say(text, session=f"s{number % 4}")

    found, cursor = await talk.page("net", limit=7)
    await ask(talk.store, DeleteConversation(session_id="s1"))
    found += await talk.rest("net", cursor, limit=7)

    left = {text for number, text in enumerate(said) if number % 4 != 1}
    assert left <= set(found) <= set(said)


async def test_a_conversation_is_searched_in_pages(talk):
    await talk.say(*(f"net {number}" for number in range(5)), session="other")
    said = [f"net {number}" for number in range(7)]
    await talk.say(*said, session="one")

    first, cursor = await talk.page("net", session_id="one")
    await talk.say("net", session="one")

    assert sorted(first + await talk.rest("net", cursor, session_id="one")) == said


async def test_a_search_for_a_thousand_turns_has_a_cursor_that_is_taken(talk):
    await talk.say(*(f"net {number}" for number in range(1_000)))

    found, cursor = await talk.page("net " + " ".join(["net*"] * 3), limit=999)

    assert len({*found, *await talk.rest("net " + " ".join(["net*"] * 3), cursor)}) == 1_000


async def test_a_turn_that_another_program_deleted_does_not_end_the_list(sqlite_store, path):
    talk = Talk(sqlite_store)
    said = [f"größe {number}" for number in range(9)]
    for most_ranked in (1_000, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(in_file, "_MOST_RANKED", most_ranked)
            await rows(sqlite_store, "DELETE FROM conversations")
            await talk.say(*said)
            first, cursor = await talk.page("größe")
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("DELETE FROM conversations WHERE content LIKE '%_4%'")

            found = first + await talk.rest("größe", cursor)

            assert sorted(found) == [one for one in said if not one.endswith("4")]


@pytest.mark.parametrize(
    "position",
    [
        (1,),
        ("", 9, -1, "f"),
        ("", 9, 5, "-1"),
        ("", 9, 5, "0x1"),
        ("", 9, 5, "f" * 600),
        ("", 9, 0, "no marks"),
        ("", 2**63, 5, "1"),
    ],
)
async def test_a_cursor_that_no_search_gave_is_refused(talk, position):
    """One of before, too, which had the number of turns alone."""
    await talk.say("net", "net net")
    question = SearchTurns(query="net")

    with pytest.raises(InvalidParameter, match="begin again without a cursor"):
        await ask(talk.store, replace(question, cursor=write_cursor(question, *position)))


@pytest.mark.parametrize(
    "position",
    [
        ("", 2**63 - 1, 0, ""),
        ("", -(2**63), 0, ""),
        ("***", 9, 5, "1"),
        ("?", 9, 2**63 - 1, "f" * 512),
        ("", 9, 0, "f" * 512),
        ("", -5, 5, "1"),
    ],
)
async def test_a_forged_cursor_leads_to_a_page_of_the_same_turns(talk, position):
    await talk.say("net", "net net")
    question = SearchTurns(query="net")

    page = await ask(talk.store, replace(question, cursor=write_cursor(question, *position)))

    assert {one.turn.content for one in page.turns} <= {"net", "net net"}
