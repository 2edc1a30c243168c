"""
The words of a text in the form the search uses, the same from any keyboard.

Case, accents and forms of a letter are folded. A script without spaces between words, and
symbols such as emoji, are indexed character by character: a word of such a script is a phrase
of its characters. The folding is fixed by ranges in this file, so that a newer Python with a
newer Unicode makes the same words of a text recorded before.
"""

import itertools
import re
import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final

_Ranges = tuple[tuple[int, int], ...]

# Marks that are an accent, a vowel point or a display hint, and not letters themselves.
_DROPPED: Final[_Ranges] = (
    (0xAD, 0xAD), (0x300, 0x36F), (0x483, 0x487), (0x591, 0x5BD), (0x5BF, 0x5BF),
    (0x5C1, 0x5C2), (0x5C4, 0x5C5), (0x5C7, 0x5C7), (0x610, 0x61A), (0x640, 0x640),
    (0x64B, 0x65F), (0x670, 0x670), (0x6D6, 0x6DC), (0x6DF, 0x6E8), (0x6EA, 0x6ED),
    (0x93C, 0x93C), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x200B, 0x200F), (0x202A, 0x202E),
    (0x2060, 0x2064), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F), (0xFEFF, 0xFEFF),
    (0x1F3FB, 0x1F3FF), (0xE0000, 0xE01EF),
)  # fmt: skip
# Thai, Lao, Tibetan, Burmese, Khmer, Chinese, Japanese, Korean; arrows, symbols and emoji.
_ONE_BY_ONE: Final[_Ranges] = (
    (0xE00, 0xEFF), (0xF40, 0xFBC), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17D3),
    (0x2190, 0x21FF), (0x2300, 0x23FF), (0x2500, 0x27BF), (0x2900, 0x297F), (0x2B00, 0x2BFF),
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x3035), (0x3041, 0x309F),
    (0x30A1, 0x30FA), (0x30FC, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0xA4CF), (0xA960, 0xA97F),
    (0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0x1B000, 0x1B16F), (0x1F000, 0x1FBFF),
    (0x20000, 0x3FFFF),
)  # fmt: skip
# Letters that Unicode does not decompose.
_LETTERS: Final = {
    "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "ł": "l", "ŧ": "t",
    "þ": "th",
}  # fmt: skip
_MOST_REMEMBERED: Final = 20_000
# The separators between the words of a parted text. Ranges up to Unicode's last character would
# take milliseconds to compile.
BETWEEN: Final = r"\x00-/:-`{-\x7f"
WORD: Final = re.compile(f"[^{BETWEEN}]+")
# Marks of a letter: accents, voicing of kana, vowels and finals of Korean, and Indic vowels, typed
# separately.
_MARKS: Final = "".join(f"{chr(first)}-{chr(last)}" for first, last in _DROPPED) + (
    "\u3099\u309a\u1160-\u11ff\uff9e\uff9f"
    "\u09be\u09d7\u0b3e\u0b56\u0b57\u0bbe\u0bd7\u0c56\u0cc2\u0cd5\u0cd6\u0d3e\u0d57"
    "\u0dca\u0dcf\u0ddf\u102e"
)
_MARK: Final = re.compile(f"[{_MARKS}]")
_LETTER: Final = re.compile(f"(?s:.)[{_MARKS}]*")
_PIECE: Final = re.compile(f"(?s:.){{1,64}}[{_MARKS}]*")


class _Table(dict[int, str]):
    """A table for `str.translate` that finds a character's replacement at its first use."""

    def __init__(self, find: Callable[[str], str]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, code: int) -> str:
        found = self._find(chr(code))
        # A bound on memory: there are a million characters, and a text may contain all of them.
        if len(self) < _MOST_REMEMBERED:
            self[code] = found
        return found


def _without_accent(character: str) -> str:
    if _is_in(_DROPPED, character):
        return ""
    return _LETTERS.get(character, character)


def _apart(character: str) -> str:
    if character.isascii():
        return character
    if _is_in(_ONE_BY_ONE, character):
        return f" {character} "
    category = unicodedata.category(character)
    # A code point that Unicode has not assigned yet will most likely be a letter.
    return character if category[0] in "LMN" or category in ("Co", "Cn") else " "


def _is_in(ranges: _Ranges, character: str) -> bool:
    code = ord(character)
    at = bisect_right(ranges, (code, sys.maxunicode)) - 1
    return at >= 0 and code <= ranges[at][1]


_plain: Final = _Table(_without_accent)
_parted: Final = _Table(_apart)


def fold(text: str) -> str:
    """Return a text without case, accents and letter forms; its spaces stay."""
    if text.isascii():
        return text.lower()
    # Composed again at the end: the marks that are left belong to their letter or syllable.
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_plain)
    return unicodedata.normalize("NFC", folded)


def same_names(names: Sequence[str], recorded: Iterable[str]) -> list[str]:
    """
    Return the recorded names equal to these except for case, accents and letter forms.

    A given name of which none is recorded is returned itself.
    """
    wanted = {fold(name) for name in names}
    found = [name for name in dict.fromkeys(recorded) if fold(name) in wanted]
    missing = wanted.difference(map(fold, found))
    return [*found, *(name for name in dict.fromkeys(names) if fold(name) in missing)]


def folding_in_sql(text: str, collation: str) -> str:
    """
    Return the PostgreSQL expression that folds a text as `fold` does.

    `lower` stands for Python's `casefold`, which changes a few letters more.
    """
    marks = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in _DROPPED)
    folded = f'lower(normalize({text}, NFKD) COLLATE "{collation}")'
    folded = f"regexp_replace({folded}, '[{marks}]', '', 'g')"
    for letter, spelt in {**_LETTERS, "ß": "ss", "\u03c2": "\u03c3"}.items():
        folded = f"replace({folded}, '{letter}', '{spelt}')"
    return f'(normalize({folded}, NFC) COLLATE "C")'


def part(text: str) -> str:
    """
    Return a text folded and with spaces between its words, for the index.

    FTS5's tokenizer `ascii`, which splits at ASCII characters that are neither letter nor digit,
    then finds the words that `words_of` returns.
    """
    return text.lower() if text.isascii() else fold(text).translate(_parted)


def words_of(text: str) -> list[str]:
    """Return the words of a text in order."""
    return WORD.findall(part(text))


class Parted:
    """
    A text as `part` returns it, with a mapping of its positions to the original.

    Only the pieces whose positions are requested are mapped letter by letter.
    """

    def __init__(self, text: str) -> None:
        self._is_plain = text.isascii()
        self._pieces = [text] if self._is_plain else _PIECE.findall(text)
        parted = [part(piece) for piece in self._pieces]
        self.text = "".join(parted)
        self._begins = [0, *itertools.accumulate(map(len, parted))]
        self._origins = [0, *itertools.accumulate(map(len, self._pieces))]
        self._known: dict[int, list[tuple[int, int]]] = {}

    def place(self, begin: int, end: int) -> tuple[int, int]:
        """Return where in the original the letters stand that this part of `text` comes from."""
        if self._is_plain:
            return begin, end
        return self._origin(begin)[0], self._origin(end - 1)[1]

    def _origin(self, at: int) -> tuple[int, int]:
        number = bisect_right(self._begins, at) - 1
        begin, origin = self._begins[number], self._origins[number]
        if number not in self._known:
            length = self._begins[number + 1] - begin
            self._known[number] = _letters(self._pieces[number], length)
        if not (letters := self._known[number]):
            return origin + at - begin, origin + at - begin + 1
        first, behind = letters[min(at - begin, len(letters) - 1)]
        return origin + first, origin + behind


def _letters(piece: str, parted: int) -> list[tuple[int, int]]:
    """Return where each character of a parted text comes from, none where each is its own."""
    letters: list[tuple[int, int]] = []
    if not _MARK.search(piece):
        # Nothing becomes less, so where there are as many each stands for one.
        if len(piece) == parted:
            return letters
        folded = fold(piece)
        if len(folded) == len(piece):
            for at, character in enumerate(folded):
                letters += [(at, at + 1)] * len(_parted[ord(character)])
            return letters
    for found in _LETTER.finditer(piece):
        letters += [found.span()] * len(part(found[0]))
    return letters
