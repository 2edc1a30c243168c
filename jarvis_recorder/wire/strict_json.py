"""
JSON as strict as a database needs it.

RFC 8259 leaves much to the reader: which of two equal keys wins, what a lone surrogate means.
Readers differ (Python keeps the last of two keys, SQLite the first), so whatever they could
differ on is refused, as RFC 7493 (I-JSON) advises. Two things are accepted, because
common programs send them: a byte order mark, and integers of any size, kept digit by digit.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from math import inf
from typing import Any, Final, Self

import jiter
import msgspec
from pydantic_core import to_json

from jarvis_recorder.wire.refusal import Reason, Refused

MAX_DEPTH: Final = 100
MAX_VALUES: Final = 250_000
MAX_KEYS: Final = 30_000
_LONG: Final = 20
"""The digits of the shortest integer that 64 bits never hold."""
_MOST_LONG_DIGITS: Final = 30_000 * _LONG
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
# A number is slow by its exponent, or by digits as many as an exponent would stand for.
_AS_DIGITS: Final = bytes.maketrans(b".123456789E", b"0000000000e")
_SLOW_DIGITS: Final = 64
_MOST_SLOW: Final = 3_000
_LONG_INTEGER: Final = re.compile(rb"(?<![0-9.])[0-9]{%d,}+(?![.eE])" % _LONG)
_LINES_TYPE: Final = re.compile(r"[^;]*/(?:x-)?(?:ndjson|jsonl|jsonlines)\b", re.IGNORECASE).match
_MOST_LINES: Final = 10_001
_WINDOW: Final = 256 * 1024
# An escape that no window may split: a run of backslashes, and the next character.
_ESCAPE: Final = re.compile(rb"\\*.?", re.DOTALL)
# A string, and the colon that makes a key of it.
_STRING: Final = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*+:)?', re.DOTALL)
_WITHIN_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_LONGEST_NAME: Final = 64
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_RAW_ENTRIES: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])


class WrittenFloat(float):
    """A fraction as a double, which is what `dump` writes, and as the decimal that was written."""

    __slots__ = ("written",)
    written: Decimal

    def __new__(cls, double: float, text: str) -> Self:
        number = super().__new__(cls, double)
        number.written = Decimal(text)
        return number


def parse(text: bytes) -> Any:
    """
    Return the value of a JSON text.

    Refuses duplicate keys, NaN, Infinity, lone surrogates, NUL characters, fractions too large
    for a double, integers of thousands of digits and nesting beyond 100 levels. A byte order
    mark in front is skipped (RFC 8259, 8.1).

    Raises:
        Refused: `too_large` if it would take too much memory, `not_json` if the text is no
            JSON at all, else `invalid`.
    """
    require_few_values(text)
    _require_few_digits(text)
    try:
        value = jiter.from_json(text, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        value = _without_mark(text, error)
    # A NUL is always written as an escape, so most texts need no look at their strings.
    _check(value, strings=b"\\" in text and b"\\u0000" in text)
    return value


def _without_mark(text: bytes, error: ValueError) -> Any:
    """Parse a failed text again without its byte order mark; a text without one pays nothing."""
    if not text.startswith(BYTE_ORDER_MARK):
        raise _refused(text, str(error)) from None
    text = text[len(BYTE_ORDER_MARK) :]
    try:
        return jiter.from_json(text, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as inner:
        raise _refused(text, str(inner)) from None


def require_few_values(text: bytes) -> None:
    """
    Refuse a text that would take too much memory, before it is parsed.

    As objects JSON takes up to thirty times its text, so a limit on bytes is not enough. Ten
    thousand guests of 25 values each fit; four million values would take hundreds of megabytes
    and hold Python's lock for seconds. So would many different keys, each created and looked up.

    Raises:
        Refused: `too_large`.
    """
    if len(text) <= MAX_KEYS:
        return
    if _commas_and_openings(text) > MAX_VALUES:
        # Strings may be full of commas: they are skipped only if that may decide.
        values = sum(map(_commas_and_openings, _between_strings(text)))
        if values > MAX_VALUES:
            raise Refused(Reason.TOO_LARGE, f"more than {MAX_VALUES} values")
    # Strings may be full of colons, too; a look at each string takes longer than all else here.
    if text.count(b":") > MAX_KEYS and _colons(text) > MAX_KEYS:
        _require_few_keys(text)


def _colons(text: bytes) -> int:
    """Count the colons outside of strings: each stands behind a key."""
    return sum(part.count(b":") for part in _between_strings(text))


def _require_few_keys(text: bytes) -> None:
    keys = set()
    for key in _keys(text):
        keys.add(key)
        if len(keys) > MAX_KEYS:
            raise Refused(Reason.TOO_LARGE, f"more than {MAX_KEYS} different keys")


def _keys(text: bytes) -> Iterator[bytes]:
    """
    Yield the keys of a text.

    No match goes beyond a window, as it holds Python's lock. A key longer than that is passed
    over: few of them fit into a text.
    """
    begin = text.find(b'"')
    while begin >= 0:
        string = _STRING.match(text, begin, begin + _WINDOW)
        if string is not None and string[2] is not None:
            yield string[1]
        end = _end_of_string(text, begin + 1) if string is None else string.end()
        begin = text.find(b'"', end)


def _end_of_string(text: bytes, position: int) -> int:
    """
    Return the end of the string that holds a position, behind its quote.

    One that never ends is a string to the end of the text: else each escaped quote in it would
    be tried as the beginning of another.
    """
    while position < len(text):
        found = _WITHIN_STRING.match(text, position, position + _WINDOW)
        end = position if found is None else found.end()
        if text[end : end + 1] == b'"':
            return end + 1
        # A backslash that is the last byte of a window is read with the next; no other is left.
        position = end if end > position else len(text)
    return len(text)


def _require_few_digits(text: bytes) -> None:
    """
    Refuse a text whose long integers would take too much time to write out again.

    Python writes an integer beyond 64 bits in one call, which holds its lock: those of a body
    of 16 MiB would hold up all other work for a second.

    Raises:
        Refused: `too_large`.
    """
    # Texts and fractions may have as many digits: they are looked at only if that may decide.
    if len(text) > _MOST_LONG_DIGITS and _long_runs(text) * _LONG > _MOST_LONG_DIGITS:
        digits = sum(map(_digits_of_long_integers, _between_strings(text)))
        if digits > _MOST_LONG_DIGITS:
            raise Refused(
                Reason.TOO_LARGE, f"integers beyond 64 bits of more than {_MOST_LONG_DIGITS} digits"
            )


def _long_runs(text: bytes) -> int:
    """Count the runs of `_LONG` digits."""
    return sum(part.translate(_DIGITS).count(b"0" * _LONG) for part in _windows(text))


def has_many_slow_numbers(text: bytes) -> bool:
    """
    Return whether msgspec may take long to read the numbers of a text.

    Near the ends of a double's range it takes up to 15 µs for one, and reads all of them in one
    call, which holds Python's lock: those of a body of 16 MiB would hold up all other work for
    seconds. jiter takes less than one.
    """
    # Texts are full of such letters and digits: they are skipped only if that may decide.
    return (
        sum(map(_slow_numbers, _windows(text))) > _MOST_SLOW
        and sum(map(_slow_numbers, _between_strings(text))) > _MOST_SLOW
    )


def _slow_numbers(text: bytes) -> int:
    """Count the exponents and the long runs of digits."""
    digits = text.translate(_AS_DIGITS)
    return digits.count(b"0e") + digits.count(b"0" * _SLOW_DIGITS)


def _windows(text: bytes) -> Iterator[bytes]:
    """Yield a text window by window: a copy of it all would take memory."""
    return (text[position : position + _WINDOW] for position in range(0, len(text), _WINDOW))


def _digits_of_long_integers(text: bytes) -> int:
    return sum(len(found[0]) for found in _LONG_INTEGER.finditer(text))


def _commas_and_openings(text: bytes) -> int:
    """Count commas and openings; a text has at most one value more than these."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _between_strings(text: bytes) -> Iterator[bytes]:
    """Yield the parts of a text that are outside of strings, window by window."""
    inside = position = 0
    while position < len(text):
        escape = _ESCAPE.match(text, position + _WINDOW)
        end = len(text) if escape is None else escape.end()
        window = text[position:end].replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = window.split(b'"')
        yield b"".join(parts[inside::2])
        inside = (inside + len(parts) - 1) % 2
        position = end


def raw_entries(text: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the entries of a JSON object that `parse` accepted, each value as it is written."""
    return _RAW_ENTRIES.decode(text)


def raw_elements(text: bytes | msgspec.Raw) -> list[msgspec.Raw]:
    """Return the elements of a JSON array that `parse` accepted, as they are written."""
    return _RAW_ELEMENTS.decode(text)


def dump(value: Any) -> str:
    """Return the value as compact JSON text, keys in their order."""
    return to_json(value).decode()


def _check(value: Any, *, strings: bool) -> None:
    """Walk level by level, so that no depth of nesting can exhaust the stack."""
    level = [value]
    depth = 0
    while level:
        deeper: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                if strings and "\0" in item:
                    raise _unstorable(value, "a NUL character")
            elif kind is dict:
                if strings:
                    deeper += item
                deeper += item.values()
            elif kind is list:
                deeper += item
            elif kind is float and item in (inf, -inf):
                raise _unstorable(value, "a number too large for a double")
        depth += 1
        if depth > MAX_DEPTH and any(type(item) in (dict, list) for item in level):
            raise Refused(Reason.INVALID, f"nested deeper than {MAX_DEPTH} levels")
        level = deeper


def _unstorable(document: Any, what: str) -> Refused:
    return Refused(Reason.INVALID, f"{_path_to_bad(document) or 'the message'}: {what}")


def _bad(leaf: Any) -> bool:
    match leaf:
        case str():
            return "\0" in leaf
        case float():
            return leaf in (inf, -inf)
    return False


def _path_to_bad(document: Any) -> str:
    """
    Return the path of the first bad key or value, depth first.

    Only the current path is kept while searching: one written out for each of a few million
    values would hold up all other work for seconds.
    """
    way: list[Iterator[tuple[str, Any]]] = [_parts(document)]
    names: list[str] = []
    while way:
        name, item = next(way[-1], (None, None))
        if name is None:
            way.pop()
            del names[-1:]
        elif _bad(item):
            return "".join([*names, name]).removeprefix(".")
        elif isinstance(item, dict | list):
            way.append(_parts(item))
            names.append(name)
    return ""


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values in a value, each with the last part of its path."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield f"[{number}]", item
    elif isinstance(value, dict):
        for number, (key, item) in enumerate(value.items()):
            yield f"(key {number})", key
            # A key is named only if it is a plain word: any other may hold the sender's data.
            plain = len(key) <= _LONGEST_NAME and key.isidentifier()
            yield f".{key}" if plain else f".(key {number})", item


def _refused(text: bytes, parser_error: str) -> Refused:
    at = parser_error[parser_error.rfind(" at line ") :]
    if "duplicate key" in parser_error:
        return Refused(Reason.INVALID, f"a key occurs twice{at}")
    if _is_grammatical(text):
        return Refused(Reason.INVALID, f"JSON that readers do not agree on{at}")
    return Refused(Reason.NOT_JSON, f"not JSON: {parser_error}")


def _is_grammatical(text: bytes) -> bool:
    """Return whether the text is JSON by its grammar, however deep, large or ambiguous."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        # As text: from bytes it would also take UTF-16 and a byte order mark.
        json.loads(text.decode(), parse_constant=refuse, parse_int=len, parse_float=len)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def split_array(text: bytes) -> list[bytes]:
    """
    Return the bytes of each element of a JSON array, read leniently.

    For a batch that does not parse as a whole: each element is then decoded by itself.

    Raises:
        Refused: The text is no array, no JSON even leniently read, or too much of it.
    """
    require_few_values(text)
    _require_few_digits(text)
    try:
        source = text.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")
        return [piece.encode("utf-8", "surrogateescape") for piece in _elements(source)]
    except RecursionError:
        raise Refused(Reason.INVALID, f"nested deeper than {MAX_DEPTH} levels") from None
    except (ValueError, IndexError):
        raise Refused(Reason.NOT_JSON, "not a JSON array") from None


_LINE: Final = re.compile(rb"[^\s\xef\xbb\xbf][^\n]*").finditer


def are_lines(text: bytes, content_type: str | None = None) -> bool:
    """
    Return whether a text that is not one JSON text is JSON objects on lines of their own (NDJSON).

    It is if its type says so and it has several lines, or if two lines look like objects: in one
    JSON text what is on a line of its own is seldom a whole object, and then indented.
    """
    is_named = content_type is not None and _LINES_TYPE(content_type) is not None
    lines = islice(_LINE(text), _MOST_LINES)
    found = (line for line in lines if is_named or _is_object(line))
    return next(found, None) is not None and next(found, None) is not None


def _is_object(line: re.Match[bytes]) -> bool:
    """Return whether a line looks like an object that is not indented."""
    text, start = line.string, line.start()
    is_indented = start > 0 and text[start - 1 : start] not in (b"\n", BYTE_ORDER_MARK[-1:])
    return not is_indented and text.startswith(b"{", start) and line[0].rstrip().endswith(b"}")


def lines_of(text: bytes) -> list[bytes]:
    """Return the lines of a text that hold anything, few enough or at least too many for a batch."""
    return [found[0].rstrip() for found in islice(_LINE(text), _MOST_LINES)]


_WHITE: Final = " \t\n\r"
# A string that never ends is one to the end of the text, as in `_end_of_string`.
_BRACKET_OR_STRING: Final = re.compile(r'[\[\]{}]|"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL).finditer
_LENIENT: Final = json.JSONDecoder(parse_int=len, parse_float=len, strict=False)


def _elements(source: str) -> Iterator[str]:
    position = _skip_white(source, 0)
    if source[position] != "[":
        raise ValueError
    position = _skip_white(source, position + 1)
    if source[position] == "]":
        return
    while True:
        end = _end_of_element(source, position)
        yield source[position:end]
        position = _skip_white(source, end)
        if source[position] == "]":
            break
        if source[position] != ",":
            raise ValueError
        position = _skip_white(source, position + 1)
    if source[position + 1 :].strip(_WHITE):
        raise ValueError


def _end_of_element(source: str, position: int) -> int:
    try:
        return _LENIENT.raw_decode(source, position)[1]
    except RecursionError:
        # Too deep to be read: its end alone is looked for, so that the others can be.
        end = _end_of_brackets(source, position)
        if end is None:
            raise
        return end


def _end_of_brackets(source: str, position: int) -> int | None:
    """Return the position behind the bracket that closes the one here, None if nothing does."""
    depth = 0
    for found in _BRACKET_OR_STRING(source, position):
        piece = found[0]
        if piece in "[{":
            depth += 1
        elif piece in "]}":
            depth -= 1
            if depth == 0:
                return found.end()
    return None


def _skip_white(source: str, position: int) -> int:
    while source[position] in _WHITE:
        position += 1
    return position
