"""The phrases of a search, and the part of a text that shows them in the text's own spelling."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from jarvis_recorder.errors import InvalidParameter
from jarvis_recorder.storage.queries.words import BETWEEN, WORD, Parted, words_of

_QUOTED: Final = re.compile(r'["“”„]([^"“”„]*)["“”„](\*?)|(\S+)')
# A shorter prefix would match a good part of all turns.
_SHORTEST_PREFIX: Final = 3
_SNIPPET_WORDS: Final = 24
_SNIPPET: Final = re.compile(
    f"[^{BETWEEN}]+(?:[{BETWEEN}]+[^{BETWEEN}]+){{0,{_SNIPPET_WORDS - 1}}}"
)
_SNIPPET_CHARACTERS: Final = 480
_BEGINNING_CHARACTERS: Final = 240
# A phrase of many words is as much work as so many words; a prefix may stand for a hundred.
_MOST_WORDS: Final = 100
_MOST_PREFIXES: Final = 16
# A text may hold a phrase ten thousand times.
_MOST_PLACES: Final = 300


class Phrase(NamedTuple):
    """Consecutive words; the last may be a prefix."""

    words: tuple[str, ...]
    is_prefix: bool

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


def require_few(phrases: Sequence[Phrase]) -> None:
    """
    Make sure that a search for these phrases is bounded.

    Raises:
        InvalidParameter: The query has too many words, or too many prefixes.
    """
    words = sum(len(one.words) for one in phrases)
    prefixes = sum(one.is_prefix for one in phrases)
    if words > _MOST_WORDS or prefixes > _MOST_PREFIXES:
        raise InvalidParameter(
            "query",
            f"{words} words, {prefixes} of them prefixes, are more than {_MOST_WORDS} and "
            f"{_MOST_PREFIXES}; each character of a script without spaces is a word: leave some out",
        )


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
        for begin, end in itertools.islice(_places(text, phrase), _MOST_PLACES)
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
    held = Counter[int]()
    behind = 0
    for number, one in enumerate(found if len(found) > 1 else ()):
        last = _behind_words(text, one.begin)
        behind = max(behind, number)
        while behind < len(found) and found[behind].end <= last:
            held[found[behind].phrase] += 1
            behind += 1
        score = (len(held), behind - number)
        if score > best:
            best, begin = score, one.begin
            end = max(each.end for each in found[number:behind])
        if behind > number:
            held[one.phrase] -= 1
            if not held[one.phrase]:
                del held[one.phrase]
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
