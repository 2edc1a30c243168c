"""The full-text index of turns: its upkeep, its queries, and snippets in the turn's spelling."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, LargeBinary, cast, func, select

from jarvis_recorder.storage.queries.words import BETWEEN, WORD, Parted, part, words_of
from jarvis_recorder.storage.sqlite.connections import driver_of, make_temporary
from jarvis_recorder.storage.tables import conversations

# As in the triggers, which index only ASCII turns; the words of the others are made here.
NOT_ASCII: Final[ColumnElement[bool]] = func.length(conversations.c.content) != func.length(
    cast(conversations.c.content, LargeBinary)
)
# One statement for all turns: after each row SQLite's thread would have to win the GIL back
# from the receiving side. Only for turns that were new.
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
# A shorter prefix would match a good part of all turns.
_SHORTEST_PREFIX: Final = 3
# FTS5's option `prefix`; see the migration. Databases of before have one more, which stays.
_BEGINNINGS_INDEXED: Final = (4,)
_MOST_ENDS: Final = 100
_LAST: Final = "\U0010ffff"
_MAKE_WORDS: Final = """
    CREATE VIRTUAL TABLE IF NOT EXISTS temp.conversations_words
    USING fts5vocab(main, conversations_fts, instance)
"""
_NEXT_WORD: Final = "SELECT term FROM temp.conversations_words WHERE term >= ? AND term < ? LIMIT 1"
_SNIPPET_WORDS: Final = 24
_SNIPPET: Final = re.compile(
    f"[^{BETWEEN}]+(?:[{BETWEEN}]+[^{BETWEEN}]+){{0,{_SNIPPET_WORDS - 1}}}"
)
_SNIPPET_CHARACTERS: Final = 480
_BEGINNING_CHARACTERS: Final = 240


def add_words(connection: Connection, turns: Iterable[tuple[int, str]]) -> None:
    """Index those of the turns, given as ids and contents, that no trigger has indexed."""
    _with_words(connection, _ADD, turns)


def take_words_out(connection: Connection, which: ColumnElement[bool]) -> None:
    """Remove the words of turns that are about to be deleted from the index."""
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
    """Consecutive words; the last may be a prefix."""

    words: tuple[str, ...]
    is_prefix: bool

    def match(self) -> str:
        """Return the phrase in FTS5's query syntax, where quoted text is literal."""
        return '"{}"{}'.format(" ".join(self.words), "*" if self.is_prefix else "")

    def words_apart(self) -> "list[Phrase]":
        """Return a phrase for each of the words."""
        *others, last = self.words
        return [*(Phrase((word,), False) for word in others), Phrase((last,), self.is_prefix)]


def phrases_of(query: str) -> list[Phrase]:
    """
    Return the phrases a turn must contain: each word, and each phrase in quotation marks.

    A word of Chinese, or of another script without spaces, is a phrase of its characters. A
    star after a word makes it a prefix. Text with neither letter nor digit is ignored, and what
    stands twice counts once.
    """
    phrases = []
    for found in _QUOTED.finditer(query):
        text = found[1] if found[3] is None else found[3]
        is_prefix = found[2] == "*" if found[3] is None else text.endswith("*")
        if words := tuple(words_of(text)):
            phrases.append(Phrase(words, is_prefix and _may_begin(words[-1])))
    return list(dict.fromkeys(phrases))


def as_prefix(phrase: Phrase) -> Phrase:
    """Return the phrase with its last word as a prefix, if that word is long enough."""
    return Phrase(phrase.words, _may_begin(phrase.words[-1]))


def _may_begin(word: str) -> bool:
    return len(word) >= _SHORTEST_PREFIX


def match(phrases: Iterable[Phrase]) -> str:
    """Return an FTS5 query for the turns that contain all of the phrases."""
    return " AND ".join(phrase.match() for phrase in phrases)


def match_one_by_one(connection: Connection, phrase: Phrase) -> str:
    """
    Return a query with the same matches, which finds the newest without reading all older ones.

    For a prefix without a prefix index FTS5 first collects all turns that contain it. Words, and
    longer prefixes that have an index, have their lists already.
    """
    *others, last = phrase.words
    if not phrase.is_prefix or len(last) in _BEGINNINGS_INDEXED:
        return phrase.match()
    ends = list(itertools.islice(_ends(connection, last), _MOST_ENDS + 1))
    if not 0 < len(ends) <= _MOST_ENDS:
        return phrase.match()
    spelt = (Phrase((*others, end), is_prefix).match() for end, is_prefix in ends)
    return f"({' OR '.join(spelt)})"


def _ends(connection: Connection, prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield the words and longer prefixes that a prefix covers, and True for a prefix."""
    make_temporary(connection, _MAKE_WORDS)
    driver = driver_of(connection)
    longer = next((length for length in _BEGINNINGS_INDEXED if length > len(prefix)), None)
    beyond, at = prefix + _LAST, prefix
    # A query for each word: to step to the next row would be to read every turn with the word.
    while found := driver.execute(_NEXT_WORD, (at, beyond)).fetchone():
        (word,) = found
        is_prefix = longer is not None and len(word) >= longer
        end = word[:longer] if is_prefix else word
        yield end, is_prefix
        at = end + (_LAST if is_prefix else "\0")


class Snippet(NamedTuple):
    """A part of a text, and the positions of the matches in it."""

    text: str
    highlights: list[tuple[int, int]]


def snippet(text: str, phrases: Sequence[Phrase]) -> Snippet:
    """Return the part of a text with the most phrases, in the text's own spelling."""
    parted = Parted(text)
    found = _occurrences(parted.text, phrases)
    if not found:
        return Snippet(text[:_BEGINNING_CHARACTERS], [])
    first, last = _best_window(found, parted.text)
    begin = parted.place(first, last)[0] if WORD.search(parted.text, 0, first) else 0
    end = parted.place(first, last)[1] if WORD.search(parted.text, last) else len(text)
    end = min(end, begin + _SNIPPET_CHARACTERS)
    before, behind = "…" if begin else "", "…" if end < len(text) else ""
    shown: list[tuple[int, int]] = []
    for one in found:
        if not first <= one.begin < last:
            continue
        start, stop = parted.place(one.begin, one.end)
        stop = min(stop, end)
        if start >= stop:
            continue
        start, stop = start - begin + len(before), stop - begin + len(before)
        if shown and start < shown[-1][1]:
            start, stop = shown[-1][0], max(stop, shown.pop()[1])
        shown.append((start, stop))
    return Snippet(f"{before}{text[begin:end]}{behind}", shown)


class _Occurrence(NamedTuple):
    """The place of a phrase in a parted text."""

    begin: int
    phrase: int
    end: int


def _occurrences(text: str, phrases: Sequence[Phrase]) -> list[_Occurrence]:
    return sorted(
        _Occurrence(begin, number, end)
        for number, phrase in enumerate(phrases)
        for begin, end in _places(text, phrase)
    )


def _places(text: str, phrase: Phrase) -> Iterator[tuple[int, int]]:
    """Yield the places of a phrase, which may overlap."""
    first, *others = phrase.words
    rest = "".join(f"[{BETWEEN}]+{re.escape(word)}" for word in others)
    behind = re.compile(rest + (f"[^{BETWEEN}]*" if phrase.is_prefix else f"(?![^{BETWEEN}])"))
    begin = text.find(first)
    while begin >= 0:
        if not (begin and WORD.match(text, begin - 1)) and (
            found := behind.match(text, begin + len(first))
        ):
            yield begin, found.end()
        begin = text.find(first, begin + 1)


def _best_window(found: Sequence[_Occurrence], text: str) -> tuple[int, int]:
    """Return the window with the most distinct phrases, and of these with the most matches."""
    best, begin, end = (0, 0), found[0].begin, found[0].end
    behind = 0
    for number, one in enumerate(found if len(found) > 1 else ()):
        last = _behind_words(text, one.begin)
        behind = max(behind, number)
        while behind < len(found) and found[behind].end <= last:
            behind += 1
        held = found[number:behind]
        score = (len({each.phrase for each in held}), len(held))
        if score > best:
            best, begin, end = score, one.begin, max(each.end for each in held)
    words = len(WORD.findall(text, begin, end))
    first = _words_before(text, begin, max(0, _SNIPPET_WORDS - words) // 3)
    last = _behind_words(text, first)
    if WORD.search(text, last):
        return first, last
    first = _words_before(text, len(text), _SNIPPET_WORDS)
    return first, _behind_words(text, first)


def _behind_words(text: str, begin: int) -> int:
    """Return the end of a snippet that begins at `begin`."""
    found = _SNIPPET.match(text, begin)
    return found.end() if found else begin


def _words_before(text: str, end: int, words: int) -> int:
    """Return the beginning of the `words` words before `end`, or of as many as there are."""
    found = list(itertools.islice(WORD.finditer(text[:end][::-1]), words))
    return end - found[-1].end() if found else end
