"""The index of the words of turns: kept in step, asked, and shown in the turn's own spelling."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, LargeBinary, cast, func, select

from jarvis_recorder.storage.queries.words import Word, part, places_of_words, words_of
from jarvis_recorder.storage.sqlite.connections import driver_of
from jarvis_recorder.storage.tables import conversations

# Triggers do this for turns of ASCII alone; whose words have to be made here is theirs to say.
NOT_ASCII: Final[ColumnElement[bool]] = func.length(conversations.c.content) != func.length(
    cast(conversations.c.content, LargeBinary)
)
# In one statement however many there are: after each row SQLite's thread would have to win
# Python's lock back from the receiving side. Only for those that were new.
_ADD: Final = """
    INSERT INTO conversations_fts (rowid, content)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
    WHERE EXISTS (SELECT 1 FROM conversations WHERE id = json_extract(value, '$[0]'))
"""
_TAKE_OUT: Final = """
    INSERT INTO conversations_fts (conversations_fts, rowid, content)
    SELECT 'delete', json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
"""
_AT_ONCE_CHARACTERS: Final = 1_000_000

_QUOTED: Final = re.compile(r'["“”„]([^"“”„]*)["“”„](\*?)|(\S+)')
# A shorter prefix would lead to a good part of all turns.
_SHORTEST_PREFIX: Final = 3
_SNIPPET_WORDS: Final = 24
_SNIPPET_CHARACTERS: Final = 480
_BEGINNING_CHARACTERS: Final = 240


def add_words(connection: Connection, turns: Iterable[tuple[int, str]]) -> None:
    """Index turns, of which the ids and contents are given, that no trigger has indexed."""
    _with_words(connection, _ADD, turns)


def take_words_out(connection: Connection, which: ColumnElement[bool]) -> None:
    """Take the words of turns out of the index that are about to be deleted."""
    chosen = select(conversations.c.id, conversations.c.content).where(which, NOT_ASCII)
    turns = connection.execute(chosen.execution_options(yield_per=100))
    _with_words(connection, _TAKE_OUT, ((row.id, row.content) for row in turns))


def _with_words(connection: Connection, statement: str, turns: Iterable[tuple[int, str]]) -> None:
    for some in _parts(
        [turn_id, part(content)] for turn_id, content in turns if not content.isascii()
    ):
        driver_of(connection).execute(statement, (to_json(some).decode(),)).close()


def _parts(turns: Iterable[list[Any]]) -> Iterator[list[list[Any]]]:
    some: list[list[Any]] = []
    characters = 0
    for turn in turns:
        some.append(turn)
        characters += len(turn[1])
        if characters >= _AT_ONCE_CHARACTERS:
            yield some
            some, characters = [], 0
    if some:
        yield some


class Phrase(NamedTuple):
    """Words that stand one behind the other; the last may be the beginning of one."""

    words: tuple[str, ...]
    is_prefix: bool

    def match(self) -> str:
        """Return it in FTS5's own language, in which what is quoted is text."""
        return '"{}"{}'.format(" ".join(self.words), "*" if self.is_prefix else "")


def phrases_of(query: str) -> list[Phrase]:
    """
    Return what a turn must hold: each word, and each phrase in quotation marks.

    A word of Chinese, or of another script without spaces, is a phrase of its characters. A
    star behind a word makes it a prefix. What has neither letter nor digit asks for nothing.
    """
    phrases = []
    for found in _QUOTED.finditer(query):
        text = found[1] if found[3] is None else found[3]
        is_prefix = found[2] == "*" if found[3] is None else text.endswith("*")
        if words := tuple(words_of(text)):
            phrases.append(Phrase(words, is_prefix and _may_begin(words[-1])))
    return phrases


def as_prefix(phrase: Phrase) -> Phrase:
    """Return a phrase with its last word the beginning of one, where it is long enough for that."""
    return Phrase(phrase.words, _may_begin(phrase.words[-1]))


def _may_begin(word: str) -> bool:
    return len(word) >= _SHORTEST_PREFIX


def match(phrases: Iterable[Phrase]) -> str:
    """Return the phrases in FTS5's own language, all of which have to be there."""
    return " ".join(phrase.match() for phrase in phrases)


class Snippet(NamedTuple):
    """A part of a text, and the places in it of what was looked for."""

    text: str
    highlights: list[tuple[int, int]]


def snippet(text: str, phrases: Sequence[Phrase]) -> Snippet:
    """Return the part of a text that holds the most of the phrases, as it is spelt there."""
    words = places_of_words(text)
    found = _occurrences(words, phrases)
    if not found:
        return Snippet(text[:_BEGINNING_CHARACTERS], [])
    first = _best_window(found, len(words))
    last = min(first + _SNIPPET_WORDS, len(words))
    begin = words[first].begin if first else 0
    end = words[last - 1].end if last < len(words) else len(text)
    end = min(end, begin + _SNIPPET_CHARACTERS)
    before, behind = "…" if begin else "", "…" if end < len(text) else ""
    shown: list[tuple[int, int]] = []
    for one in found:
        start, stop = words[one.first].begin, min(words[one.last].end, end)
        if one.first < first or start >= stop:
            continue
        start, stop = start - begin + len(before), stop - begin + len(before)
        if shown and start < shown[-1][1]:
            start, stop = shown[-1][0], max(stop, shown.pop()[1])
        shown.append((start, stop))
    return Snippet(f"{before}{text[begin:end]}{behind}", shown)


class _Occurrence(NamedTuple):
    """Which phrase stands at which words, the last included."""

    first: int
    last: int
    phrase: int


def _occurrences(words: Sequence[Word], phrases: Sequence[Phrase]) -> list[_Occurrence]:
    found = []
    beginnings = tuple({phrase.words[0] for phrase in phrases})
    for at, word in enumerate(words):
        if not word.word.startswith(beginnings):
            continue
        for number, phrase in enumerate(phrases):
            last = at + len(phrase.words) - 1
            if last < len(words) and _stands_at(phrase, words, at):
                found.append(_Occurrence(at, last, number))
    return found


def _stands_at(phrase: Phrase, words: Sequence[Word], at: int) -> bool:
    *others, end = phrase.words
    there = words[at + len(others)].word
    if there != end and not (phrase.is_prefix and there.startswith(end)):
        return False
    return all(words[at + number].word == word for number, word in enumerate(others))


def _best_window(found: Sequence[_Occurrence], words: int) -> int:
    """Return the first word of the stretch with the most different phrases, then the most."""
    best, place = (0, 0), 0
    end = 0
    for number, one in enumerate(found):
        end = max(end, number)
        while end < len(found) and found[end].last < one.first + _SNIPPET_WORDS:
            end += 1
        held = found[number:end]
        score = (len({each.phrase for each in held}), len(held))
        if score > best:
            best = score
            width = max((each.last for each in held), default=one.last) - one.first + 1
            place = one.first - max(0, _SNIPPET_WORDS - width) // 3
    return max(0, min(place, words - _SNIPPET_WORDS))
