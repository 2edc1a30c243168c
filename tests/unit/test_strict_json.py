"""JSON that every reader reads alike."""

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_recorder.wire import strict_json
from jarvis_recorder.wire.refusal import Reason, Refused
from jarvis_recorder.wire.strict_json import (
    MAX_KEYS,
    MAX_VALUES,
    dump,
    parse,
    raw_elements,
    raw_entries,
    split_array,
)


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    "text",
    [
        b"9223372036854775807",
        b"-9223372036854775808",
        b"[18446744073709551615,-9223372036854775809,1%b]" % (b"0" * 4_000),
        b'{"a":[1,2.5,null,true,"\xc3\xbc"]}',
        b'"\\u00e4\\ud83d\\ude00"',
        b'{"a":"\\\\u0000"}',
        b"1e308",
        nested(100),
        b"[" * 100 + b"]" * 100,
        b"[[],[]]" + b" " * 10,
    ],
)
def test_plain_json_is_read_as_python_reads_it(text):
    assert parse(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "reason", "error"),
    [
        (b"1e999", Reason.INVALID, "the message: a number too large"),
        (b'{"a":{"b":[0,-1e999]}}', Reason.INVALID, "a.b[1]: a number too large"),
        (b'{"a b":1e999}', Reason.INVALID, "(key 0): a number too large"),
        (b"[-1e999]", Reason.INVALID, "[0]: a number too large"),
        (b'{"a":"\\u0000"}', Reason.INVALID, "a: a NUL"),
        (b'{"x\\u0000":1}', Reason.INVALID, "(key 0): a NUL"),
        (b'{"a":1,"a":2}', Reason.INVALID, "a key occurs twice at line 1"),
        (b'{"a":"\\ud800"}', Reason.INVALID, "readers do not agree"),
        (nested(101), Reason.INVALID, "deeper than 100"),
        (b"[" * 101 + b"]" * 101, Reason.INVALID, "deeper than 100"),
        (b'[{"a":[0,{"b":[[2],[1e999]]}]}]', Reason.INVALID, "[0].a[1].b[1][0]: "),
        (b'{"' + b"k" * 65 + b'":1e999}', Reason.INVALID, "(key 0): a number"),
        (b'{"a":{"hunter2 ":"\\u0000"}}', Reason.INVALID, "a.(key 0): a NUL"),
        (b'{"x at line ":1,"x at line ":2}', Reason.INVALID, "twice at line 1 column"),
        (nested(250), Reason.INVALID, "readers do not agree"),
        (b"[" * 100_000, Reason.INVALID, "readers do not agree"),
        (b"NaN", Reason.NOT_JSON, "not JSON"),
        (b"[Infinity]", Reason.NOT_JSON, "not JSON"),
        (b"", Reason.NOT_JSON, "not JSON"),
        (b"{}x", Reason.NOT_JSON, "not JSON"),
        (b'"\xff"', Reason.NOT_JSON, "not JSON"),
        (b"\xef\xbb\xbf", Reason.NOT_JSON, "not JSON"),
        (b"\xef\xbb\xbf" * 100_000, Reason.NOT_JSON, "not JSON"),
        (b"{}\xef\xbb\xbf", Reason.NOT_JSON, "not JSON"),
        (b'\xef\xbb\xbf{"a":1,"a":2}', Reason.INVALID, "a key occurs twice"),
        (b"9" * 5_000, Reason.INVALID, ""),
    ],
)
def test_what_readers_could_differ_on_is_refused(text, reason, error):
    with pytest.raises(Refused) as refused:
        parse(text)

    assert refused.value.reason is reason
    assert error in refused.value.error


def test_a_byte_order_mark_is_skipped():
    text = b'\xef\xbb\xbf [{"a":1.5},2]'

    assert parse(text) == [{"a": 1.5}, 2]
    assert split_array(text) == [b'{"a":1.5}', b"2"]


def test_a_fraction_can_be_read_as_it_is_written():
    first, _ = raw_elements(b'[{"b":[0.10],"\\u0061":1.50},2]')

    assert bytes(raw_entries(first)["a"]) == b"1.50"


def test_integers_are_kept_digit_by_digit():
    text = b"[18446744073709551615,-170141183460469231731687303715884105728]"

    assert dump(parse(text)).encode() == text


def test_json_is_written_compact_and_in_order():
    assert dump({"b": 1, "a": [1.5, None, "ü"]}) == '{"b":1,"a":[1.5,null,"ü"]}'


def array(item: bytes, count: int) -> bytes:
    return b"[" + b",".join([item] * count) + b"]"


def keys(count: int, end: bytes = b"") -> bytes:
    return b"{" + b",".join(b'"%d%b":0' % (number, end) for number in range(count)) + b"}"


@pytest.mark.parametrize("ending", [b"", b"\\"])
def test_a_text_that_never_ends_costs_its_length_once(ending):
    """Each of its escaped quotes was tried as the beginning of another: hours for one message."""
    text = b'{"a":' * (MAX_KEYS + 1) + b'"' + rb"\"" * 100_000 + ending
    began = time.process_time()

    with pytest.raises(Refused) as refused:
        parse(text)

    assert refused.value.reason in (Reason.NOT_JSON, Reason.INVALID)
    assert time.process_time() - began < 5


def log_of(lines: int) -> bytes:
    said = b"".join(rb"msg=\"request %d\": done\n" % number for number in range(lines))
    return b'{"log":"%b","a":{"b":1}}' % said


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (array(b"1", MAX_VALUES + 10), "values"),
        (array(b"[]", MAX_VALUES), "values"),
        (array(b'{"a":{}}', MAX_VALUES // 2), "values"),
        (b"[" * (MAX_VALUES + 10), "values"),
        (array(b'"\\\\"', MAX_VALUES + 10), "values"),
        (keys(MAX_KEYS + 10), "different keys"),
        (keys(MAX_KEYS + 10, rb"\""), "different keys"),
        (keys(MAX_KEYS + 10, rb"\\"), "different keys"),
        (array(b"18446744073709551615", 30_010), "digits"),
        (array(b"-" + b"9" * 4_000, 160), "digits"),
        (array(keys(MAX_KEYS // 2), 1)[:-1] + b"," + keys(MAX_KEYS + 10) + b"]", "different keys"),
    ],
)
@pytest.mark.parametrize("read", [parse, split_array])
def test_what_would_become_too_much_in_memory_is_refused_unread(read, text, what):
    with pytest.raises(Refused) as refused:
        read(text)

    assert refused.value.reason is Reason.TOO_LARGE
    assert what in refused.value.error


@pytest.mark.parametrize(
    "text",
    [
        array(b"1", MAX_VALUES - 10),
        array(keys(25), 9_000),
        keys(MAX_KEYS - 10),
        log_of(MAX_KEYS + 10),
        json.dumps({"content": keys(MAX_KEYS + 10).decode()}).encode(),
        array(json.dumps({"content": keys(MAX_KEYS // 2).decode()}).encode(), 3),
        b'"' + b"[,{" * MAX_VALUES + b'"',
        b'"' + b'\\",' * MAX_VALUES + b'"',
        b'["' + b"\\\\" * MAX_VALUES + b'","' + b"," * MAX_VALUES + b'"]',
    ],
)
def test_commas_in_texts_are_no_values(text):
    assert parse(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        array(b"18446744073709551615", 29_990),
        array(b"9223372036854775807", 100_000),
        array(b"0." + b"1" * 60, 20_000),
        array(b'"' + b"1" * 60 + b'"', 20_000),
        array(b"1" * 60 + b"e1", 20_000),
    ],
)
def test_digits_of_texts_and_fractions_are_no_long_integers(text):
    assert parse(text) == json.loads(text)


class Watched:
    """A pattern that keeps the number of bytes of each of its matches."""

    def __init__(self, pattern: re.Pattern[bytes], found: list[int]) -> None:
        self._pattern = pattern
        self._found = found

    def match(self, *where: object) -> re.Match[bytes] | None:
        found = self._pattern.match(*where)
        self._found += [] if found is None else [len(found[0])]
        return found


@pytest.mark.parametrize("inside", [rb"\n", b"x", rb"\""])
def test_no_match_of_a_string_is_longer_than_a_window(monkeypatch, inside):
    """A match holds Python's lock to its end: one of 16 MiB did for a quarter of a second."""
    found: list[int] = []
    for name in ("_STRING", "_WITHIN_STRING"):
        monkeypatch.setattr(strict_json, name, Watched(getattr(strict_json, name), found))
    few, many = array(b'{"a":1}', MAX_KEYS), keys(MAX_KEYS + 10)
    long = b'"%b"' % (inside * 500_000)

    assert len(parse(b"[%b,%b]" % (few, long))) == 2
    with pytest.raises(Refused):
        parse(b"[%b,%b,%b]" % (few, long, many))

    assert 0 < max(found) <= strict_json._WINDOW


texts = st.text(st.sampled_from('"\\:,[ü'), max_size=30)
documents = st.lists(texts | st.dictionaries(texts, texts | st.dictionaries(texts, texts)))


@given(documents, st.integers(2, 40))
def test_all_keys_that_fit_into_a_window_are_found(document, window):
    """Each window may end within an escape, and behind it each quote count for the other."""
    text = json.dumps(document, ensure_ascii=False).encode()
    expected: list[bytes] = []

    def keep(pairs: list[tuple[str, object]]) -> None:
        expected.extend(json.dumps(key, ensure_ascii=False).encode()[1:-1] for key, _ in pairs)

    json.loads(text, object_pairs_hook=keep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "_WINDOW", window)
        found = [*strict_json._keys(text)]

    # With its quotes and the colon.
    assert sorted(found) == sorted(key for key in expected if len(key) + 3 <= window)
