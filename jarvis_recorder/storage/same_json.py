"""The comparison of two stored JSON texts by value, in pieces: parsed they may take ten times as much."""

import re
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Final

from jiter import from_json
from pydantic_core import to_json

# The first pieces are small: most texts that differ do so there.
_FIRST_PIECE: Final = 256
_LARGEST_PIECE: Final = 64 * 1024
_PACKED_PIECE: Final = 16 * 1024
# A number in a stored text is shorter, so a longer run of its characters is part of a string.
_LONGEST_NUMBER: Final = 8_192
_OF_NUMBERS: Final = b"-+.0123456789eE"
_NUMBER: Final = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WHITE: Final = b" \t\r\n"


def same_json(old: bytes | str, new: bytes | str) -> bool:
    """
    Return whether two JSON texts, compressed if bytes, have the same value, keys in their order.

    1 and 1.0 differ, as they did when they came; 1e16 and 1e+16 do not. Strings are compared as
    they are written: all versions escape the same characters.

    Raises:
        ValueError: One is not as the recorder writes it: another program has written it.
    """
    ours, theirs = _spelt_alike(old), _spelt_alike(new)
    left = right = b""
    while True:
        left, right = left or next(ours, b""), right or next(theirs, b"")
        if not left or not right:
            return left == right
        common = min(len(left), len(right))
        if left[:common] != right[:common]:
            return False
        left, right = left[common:], right[common:]


def _spelt_alike(text: bytes | str) -> Iterator[bytes]:
    """Yield the parts of a text, each fraction in its usual spelling, without white space."""
    is_inside = False
    rest = b""
    for piece in chain(_marked(_pieces(text)), [None]):
        whole, rest = rest + (piece or b""), b""
        if piece is not None:
            # The next piece may continue the number at the end.
            begun = len(whole) - len(whole.rstrip(_OF_NUMBERS))
            if begun <= _LONGEST_NUMBER:
                whole, rest = whole[: len(whole) - begun], whole[len(whole) - begun :]
        parts = whole.split(b'"')
        first = 1 if is_inside else 0
        parts[first::2] = _plain(b'"'.join(parts[first::2])).split(b'"') if parts[first:] else []
        is_inside ^= not len(parts) % 2
        if whole := b'"'.join(parts):
            yield whole


def _marked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces in which each quotation mark delimits a string, and no escape is in two of them."""
    begun = b""
    for piece in pieces:
        # Neither replacement is in any JSON text.
        marked = (begun + piece).replace(rb"\\", b"\0").replace(rb"\"", b"\1")
        begun = b"\\" if marked.endswith(b"\\") else b""
        yield marked.removesuffix(b"\\")


def _plain(text: bytes) -> bytes:
    """Return what stands outside of strings without white space and spellings."""
    text = text.translate(None, _WHITE)
    return _NUMBER.sub(_usual, text) if b"." in text or b"e" in text or b"E" in text else text


def _usual(number: re.Match[bytes]) -> bytes:
    return to_json(from_json(number[0]))


def _pieces(text: bytes | str) -> Iterator[bytes]:
    """Yield the bytes of a text, first few, then more."""
    if isinstance(text, bytes):
        yield from _unpacked(text)
        return
    at, size = 0, _FIRST_PIECE
    while at < len(text):
        yield text[at : at + size].encode()
        at, size = at + size, min(2 * size, _LARGEST_PIECE)


def _unpacked(packed: bytes) -> Iterator[bytes]:
    stream = zlib.decompressobj()
    size = _FIRST_PIECE
    try:
        for at in range(0, len(packed), _PACKED_PIECE):
            rest = packed[at : at + _PACKED_PIECE]
            while rest:
                yield stream.decompress(rest, size)
                rest, size = stream.unconsumed_tail, min(2 * size, _LARGEST_PIECE)
        yield stream.flush()
    except zlib.error as error:
        raise ValueError("not a zlib stream") from error
