# ruff: noqa: RUF001
"""A search finds the same as a scan of every turn, with and without its short cuts."""

import asyncio
import json
import random
import unicodedata
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jarvis_recorder.storage.queries import phrases as phrases_module
from jarvis_recorder.storage.queries.phrases import Phrase, as_prefix, phrases_of, snippet
from jarvis_recorder.storage.queries.words import Parted, part, words_of
from jarvis_recorder.storage.sqlite import search, search_turns
from jarvis_recorder.storage.sqlite.store import SqliteStore, open_store
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.rpc.params import SearchTurns
from jarvis_recorder.wire.times import format_datetime
from jarvis_recorder.wire.topics import TOPICS
from tests.contract.test_search import NOW, START
from tests.support.amqp_bytes import delivery
from tests.support.archive import ask

TURNS: Final = TOPICS[2]
# Few letters, so that words and prefixes repeat.
LETTERS: Final = (
    "abc",
    "ab1",
    "aäßæ",
    "абё",
    "αά",
    "过热服",
    "がノー",
    "서버",
    "ไป",
    "কো",
    "🎉👍🏽",
)
BETWEEN: Final = (" ", " ", " ", "", ", ", "-", "\n", "’")
SESSIONS: Final = ("s", "t")
TURNS_SAID: Final = 300


class Turn(NamedTuple):
    id: int
    session_id: str
    content: str
    words: list[str]


def _said() -> list[Turn]:
    chance = random.Random(13)

    def word() -> str:
        return "".join(chance.choices(chance.choice(LETTERS), k=chance.choice((1, 2, 3, 5, 8))))

    turns = []
    for number in range(1, TURNS_SAID + 1):
        words = (word() + chance.choice(BETWEEN) for _ in range(chance.randint(1, 40)))
        text = "".join(words).strip() or "a"
        text = unicodedata.normalize(chance.choice(("NFC", "NFD")), text)
        turns.append(Turn(number, chance.choice(SESSIONS), text, words_of(text)))
    return turns


SAID: Final = _said()


@pytest.fixture(scope="module", params=["best first", "newest first", "few ends"])
def searched(request, tmp_path_factory):
    """Search everything that was said, as few and as very many turns are searched."""
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        if request.param != "best first":
            patch.setattr(search_turns, "_MOST_RANKED", 0)
            patch.setattr(search_turns, "_MOST_LOOKED_AT", 2)
        if request.param == "few ends":
            patch.setattr(search, "_MOST_ENDS", 2)
        opened = open_store(tmp_path_factory.mktemp("said") / "recorder.db", lambda: NOW)
        store = runner.run(opened.__aenter__())
        runner.run(_record(store))
        yield lambda query, session_id=None: runner.run(_whole_answer(store, query, session_id))
        runner.run(opened.__aexit__(None, None, None))


async def _record(store: SqliteStore) -> None:
    records = []
    for turn in SAID:
        body = {
            "session_id": turn.session_id,
            "role": "user",
            "content": turn.content,
            "timestamp": format_datetime(START),
        }
        records += decode(delivery(json.dumps(body).encode()), TURNS, NOW).records
    await store.repository.append(records, NOW)


async def _whole_answer(store: SqliteStore, query: str, session_id: str | None) -> list:
    found, cursor = [], None
    while True:
        question = SearchTurns(query=query, session_id=session_id, cursor=cursor)
        page = await ask(store, question)
        found += page.turns
        if (cursor := page.next_cursor) is None:
            return found


def scan(query: str, session_id: str | None) -> set[int]:
    """Return the turns that match a query, by reading each."""
    phrases = phrases_of(query)
    found = _scan(phrases, session_id)
    if not found:
        begun = [one if _scan([one], None) else as_prefix(one) for one in phrases]
        found = _scan(begun, session_id)
    return found


def _scan(phrases: list[Phrase], session_id: str | None) -> set[int]:
    return {
        turn.id
        for turn in SAID
        if phrases
        and session_id in (None, turn.session_id)
        and all(_holds(turn.words, phrase) for phrase in phrases)
    }


def _holds(words: list[str], phrase: Phrase) -> bool:
    size = len(phrase.words)
    for at in range(len(words) - size + 1):
        *others, last = words[at : at + size]
        is_last = (
            last.startswith(phrase.words[-1]) if phrase.is_prefix else last == phrase.words[-1]
        )
        if is_last and others == list(phrase.words[:-1]):
            return True
    return False


@st.composite
def queries(draw: st.DrawFn) -> str:
    """Return parts of the texts, some in quotation marks, some with a star."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        text = draw(st.sampled_from(SAID)).content
        begin = draw(st.integers(0, len(text) - 1))
        said = text[begin : begin + draw(st.integers(1, 9))]
        parts.append(draw(st.sampled_from(("{}", "{}", "{}*", '"{}"', '"{}"*'))).format(said))
    return " ".join(parts)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=queries(), session_id=st.sampled_from((None, None, "s")))
def test_a_search_finds_what_a_scan_finds(searched, query, session_id):
    found = searched(query, session_id)
    ids = [one.turn.id for one in found]

    assert sorted(ids) == sorted(scan(query, session_id))
    if len(ids) > search_turns._MOST_RANKED:
        assert ids == sorted(ids, reverse=True)
    assert all(one.highlights for one in found)


@pytest.mark.parametrize(
    "query", ["a*", "abc*", "abca*", "abcab*", "abcabc*", "abcabca*", "a bab*"]
)
def test_a_beginning_of_any_length_finds_what_a_scan_finds(searched, query):
    assert {one.turn.id for one in searched(query)} == scan(query, None)


@given(st.text(max_size=300) | st.text("aß\u0301ÄかﾞI\u0307각কো👍🏽 .", max_size=300))
def test_a_text_in_pieces_is_parted_as_a_whole_and_leads_back_to_every_letter(text):
    parted = Parted(text)

    assert parted.text.split() == part(text).split()
    places = [parted.place(at, at + 1) for at in range(len(parted.text))]
    assert all(0 <= begin < end <= len(text) for begin, end in places)
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("text", "query", "shown"),
    [
        ("সার্ভার কোথায় আছে", "কোথায়", "কোথায়"),
        ("எங்கே கொள்ளளவு", "கொள்ளளவு", "கொள்ளளவு"),
        ("x" * 70 + " straße " + "y" * 70, "STRASSE", "straße"),
        ("ü " * 100 + "Größe", "grosse", "Größe"),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_word_is_marked_where_it_is(text, query, shown, form):
    found = snippet(unicodedata.normalize(form, text), phrases_of(query))

    assert [found.text[begin:end] for begin, end in found.highlights] == [
        unicodedata.normalize(form, shown)
    ]


def test_of_a_phrase_that_a_text_holds_thousands_of_times_some_hundred_places_are_looked_at(
    monkeypatch,
):
    begun = []
    behind = phrases_module._behind_words

    def counted(*at):
        begun.append(at)
        return behind(*at)

    monkeypatch.setattr(phrases_module, "_behind_words", counted)
    query = " ".join('"' + " ".join(["a"] * words) + '"' for words in range(1, 14))

    found = snippet("a " * 8_192, phrases_of(query))

    assert len(begun) < 13 * 300 + 10
    assert found.highlights
