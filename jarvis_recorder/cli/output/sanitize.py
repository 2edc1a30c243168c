"""
Recorded text, made harmless for a terminal.

Any publisher chooses the text that is recorded. Printed raw, it could clear the screen, set the
title, type into the terminal, or display words that it does not hold.
"""

import re
import unicodedata
from typing import Final

_DANGEROUS: Final = frozenset(("Cc", "Cf", "Zl", "Zp", "Cs"))
# Joiners shape emoji and the letters of several scripts, and reorder nothing.
_JOINERS: Final = frozenset((0x200C, 0x200D))
_PICTURES: Final = 0x2400
_DELETE: Final = 0x7F
_UNSHOWN: Final = 0xFFFD


class _Harmless(dict[int, int]):
    """A map from each character to the one shown, filled at first use."""

    def __missing__(self, code: int) -> int:
        self[code] = shown = _shown(code)
        return shown


def _shown(code: int) -> int:
    if unicodedata.category(chr(code)) not in _DANGEROUS or code in _JOINERS:
        return code
    if code < 0x20:
        return _PICTURES + code
    return 0x2421 if code == _DELETE else _UNSHOWN


_TABLE: Final = _Harmless({0x09: 0x20, 0x0A: 0x21B5})


def sanitize(text: str) -> str:
    """
    Return the text as one line without anything that a terminal acts on.

    Character for character, so that positions in it stay valid: a line break becomes ↵, other
    control characters their pictures (␛), and characters that reorder or hide text �.
    """
    return text.translate(_TABLE)


def sanitized_lines(text: str) -> list[str]:
    """Return the lines of a text, each harmless."""
    lines = text.expandtabs(4).replace("\r\n", "\n").split("\n")
    return [sanitize(line) for line in lines]


_NOT_ASCII: Final = re.compile(r"[^ -~]").sub
_RAW: Final = re.compile(r"[^ -~\u00a1-\u00ac\u00ae-\u02ff]").sub


def sanitize_json(text: str, encoding: str = "utf-8") -> str:
    """
    Escape every character of a JSON text that a terminal might act on.

    If the encoding is not one of Unicode, escape every character that is not ASCII.
    """
    if not encoding.lower().startswith("utf"):
        return _NOT_ASCII(lambda found: _escaped(found[0]), text)
    return _RAW(lambda found: _unless_shown(found[0]), text)


def _unless_shown(character: str) -> str:
    shown = _TABLE[ord(character)] == ord(character)
    return character if shown else _escaped(character)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[at : at + 2]):04x}" for at in range(0, len(units), 2))


def cut(text: str, length: int) -> str:
    """Return the text, or its beginning and an ellipsis where it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"
