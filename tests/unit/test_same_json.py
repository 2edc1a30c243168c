"""JSON texts are the same where their values are, compared in pieces of any size."""

import json
from random import Random
from typing import Any

import msgspec
import pytest
from jiter import from_json
from pydantic_core import to_json

from jarvis_recorder.storage import same_json as module
from jarvis_recorder.storage.same_json import same_json
from jarvis_recorder.storage.tables import compress

LEAVES = (
    0, -5, 1, 1.0, -0.0, 0.1, 1e16, 1.5e-7, 5e-324, 123456789.25, 2**64, True, False, None, "", '"', "\\",
    "\\\\", 'a"b', '\\"', "1e16", "1e+16", " a b ,[]{}: ", "\n\x01", "é😀", "x" * 40, "0" * 60,
    "\\" * 31, '"' * 17, "e" * 35 + '"',
)  # fmt: skip
KEYS = ("a", "b", '"', "e", "1e1", "x y")


def value(chance: Random, depth: int = 0) -> Any:
    kind = chance.random()
    if depth > 3 or kind < 0.5:
        return chance.choice(LEAVES)
    many = range(chance.randint(0, 4))
    if kind < 0.75:
        return [value(chance, depth + 1) for _ in many]
    return {chance.choice(KEYS): value(chance, depth + 1) for _ in many}


def changed(chance: Random, whole: Any) -> Any:
    """Return a value that differs in one place, or in none."""
    if isinstance(whole, list) and whole:
        at = chance.randrange(len(whole))
        return [*whole[:at], changed(chance, whole[at]), *whole[at + 1 :]]
    if isinstance(whole, dict) and whole:
        at = chance.choice([*whole])
        return {**whole, at: changed(chance, whole[at])}
    return value(chance, depth=3)


def spelt(chance: Random, whole: Any) -> bytes:
    """Return the value as one of the encoders that the recorder uses, or used, spells it."""
    wide = to_json(whole, indent=1)
    return chance.choice((to_json(whole), msgspec.json.encode(whole), wide))


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PIECE", 7)
    monkeypatch.setattr(module, "_LARGEST_PIECE", 13)
    monkeypatch.setattr(module, "_PACKED_PIECE", 5)
    monkeypatch.setattr(module, "_LONGEST_NUMBER", 30)


@pytest.mark.usefixtures("small_pieces")
def test_texts_are_the_same_as_long_as_their_values_are():
    chance = Random(7)
    alike = 0
    for _ in range(2_000):
        one = value(chance)
        other = one if chance.random() < 0.5 else changed(chance, one)
        ours, theirs = spelt(chance, one), spelt(chance, other)
        expected = to_json(from_json(ours)) == to_json(from_json(theirs))
        alike += expected
        assert same_json(ours.decode(), theirs.decode()) is expected, (ours, theirs)
        assert same_json(compress(ours), compress(theirs)) is expected, (ours, theirs)
    assert 500 < alike < 1_500


def test_both_encoders_escape_the_same_characters():
    """Strings are compared as they are written."""
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    assert to_json(characters) == msgspec.json.encode(characters)


def test_text_of_another_program_is_no_value():
    with pytest.raises(ValueError, match="zlib"):
        same_json(b"no stream", compress(json.dumps({}).encode()))
