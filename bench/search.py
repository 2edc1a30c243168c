# ruff: noqa: RUF001
"""The latency of searches among many turns in several scripts."""

import asyncio
import itertools
import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from jarvis_recorder.runtime import process
from jarvis_recorder.storage.queries.words import fold, part
from jarvis_recorder.storage.sqlite.store import SqliteStore, open_store
from jarvis_recorder.wire.rpc.jsonrpc import MAX_REPLY_BYTES
from jarvis_recorder.wire.rpc.params import SearchTurns

_AT_ONCE: Final = 10_000
_IN_SESSION: Final = 40
_BEGAN: Final = 1_700_000_000_000_000
_LATIN: Final = "ka lo mi ne ra to ven si du pro ter an el ist or un qua be fi gra"
_ACCENTED: Final = "kä ló mi né ra tö ven ši du prø ter añ el ist ør ün quà be fí gra"
_CYRILLIC: Final = "ка ло ми не ра то вен си ду про тер ан ел ист ор ун ква бе фи гра"
_HAN: Final = [chr(0x4E00 + number) for number in range(3_000)]
_VOCABULARY: Final = 60_000
_INSERT: Final = """
    INSERT INTO conversations
        (id, message_id, session_id, timestamp, stamped, role, content, recorded_at)
    VALUES (?, ?, ?, ?, 0, 'user', ?, ?)
"""
_INDEX: Final = "INSERT INTO conversations_fts (rowid, content) VALUES (?, ?)"
_SIZES: Final = """
    SELECT (SELECT sum(length(block)) FROM conversations_fts_data)
        + (SELECT sum(length(sz)) FROM conversations_fts_docsize),
        (SELECT sum(length(CAST(content AS BLOB))) FROM conversations)
"""


class Searched(NamedTuple):
    """Milliseconds of one kind of query, and of its CPU time, which other load does not lengthen."""

    name: str
    hits: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    p95_cpu_ms: float
    p99_cpu_ms: float


class _Corpus:
    """Words of several scripts, with frequencies by rank (Zipf's law)."""

    def __init__(self) -> None:
        self.chance = random.Random(3)
        self.latin = self._vocabulary(_LATIN)
        self.accented = self._vocabulary(_ACCENTED)
        self.cyrillic = self._vocabulary(_CYRILLIC)
        self._weights = _zipf(_VOCABULARY)
        self._weights_of_han = _zipf(len(_HAN))

    def _vocabulary(self, syllables: str) -> list[str]:
        choose, each = self.chance.choices, syllables.split()
        return ["".join(choose(each, k=number % 5 + 1)) for number in range(_VOCABULARY)]

    def turn(self) -> str:
        """Return the text of a turn: in ASCII seven times of ten."""
        choose, kind = self.chance.choices, self.chance.random()
        if kind < 0.1:
            return "".join(choose(_HAN, cum_weights=self._weights_of_han, k=40))
        words = self.accented if kind < 0.2 else self.cyrillic if kind < 0.3 else self.latin
        length = self.chance.randint(10, 40)
        return " ".join(choose(words, cum_weights=self._weights, k=length))


def _zipf(words: int) -> list[float]:
    return list(itertools.accumulate(1 / rank for rank in range(1, words + 1)))


def fill(path: Path, turns: int) -> Iterator[int]:
    """Insert turns, one a second; yield the number inserted so far."""
    corpus = _Corpus()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -256000")
        for first in range(1, turns + 1, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, turns + 1))
            said = [(number, corpus.turn()) for number in numbers]
            connection.execute("BEGIN")
            connection.executemany(_INSERT, (_row(*each) for each in said))
            connection.executemany(
                _INDEX, ((number, part(text)) for number, text in said if not text.isascii())
            )
            connection.execute("COMMIT")
            yield numbers[-1]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _row(number: int, text: str) -> tuple[object, ...]:
    at = _BEGAN + number * 1_000_000
    return number, f"m{number}", f"s{number // _IN_SESSION}", at, text, at


def measure(path: Path, times: int) -> list[Searched]:
    """Run each kind of query so many times on a filled database."""
    found: list[Searched] = []

    async def main() -> None:
        found.extend(await searched(path, times))

    process.run(main())
    return found


async def searched(path: Path, times: int) -> list[Searched]:
    """Run the queries of `measure`, in the caller's event loop."""
    async with open_store(path, lambda: 0) as store:
        # Warm up: the first use of connections and statements is not part of any query.
        await _asked(store, "", lambda: "warm", times)
        kinds = _kinds(_Corpus()).items()
        return [await _asked(store, name, query, times) for name, query in kinds]


async def _asked(store: SqliteStore, name: str, query: Callable[[], str], times: int) -> Searched:
    until = asyncio.get_running_loop().time() + 86_400
    took, worked, hits = [], [], 0
    for _ in range(times):
        question = SearchTurns(query=query())
        began, before = time.perf_counter(), time.process_time()
        answer = await store.archive.answer(question, until, MAX_REPLY_BYTES)
        took.append((time.perf_counter() - began) * 1_000)
        worked.append((time.process_time() - before) * 1_000)
        hits += b'"snippet"' in answer
    return Searched(name, hits, statistics.median(took), *_percentiles(took), *_percentiles(worked))


def _percentiles(took: list[float]) -> tuple[float, float]:
    hundredths = statistics.quantiles(took, n=100, method="inclusive")
    return hundredths[94], hundredths[98]


def _kinds(corpus: _Corpus) -> dict[str, Callable[[], str]]:
    chance = corpus.chance

    def word(first: int, last: int, vocabulary: list[str] = corpus.latin) -> str:
        return vocabulary[chance.randrange(first, last)]

    def han(first: int, last: int, number: int) -> str:
        return "".join(_HAN[chance.randrange(first, last)] for _ in range(number))

    return {
        "a common word": lambda: word(0, 30),
        "an ordinary word": lambda: word(200, 3_000),
        "a rare word": lambda: word(20_000, 60_000),
        "two words": lambda: f"{word(0, 100)} {word(100, 5_000)}",
        "two common words": lambda: f"{word(0, 20)} {word(0, 20)}",
        "a phrase": lambda: f'"{word(0, 50)} {word(0, 50)}"',
        "a beginning of three letters": lambda: f"{word(0, 5_000)[:3]}*",
        "of four": lambda: f"{word(0, 5_000)[:4]}*",
        "of five": lambda: f"{word(0, 5_000)[:5]}*",
        "a common word with a star": lambda: f"{word(0, 50)}*",
        "a word that no turn holds whole": lambda: f"{word(30_000, 60_000)}karanelo"[:6],
        "nothing": lambda: f"zzqx{chance.random()}",
        "nothing, next to a common word": lambda: f"{word(0, 10)} zzqx",
        "accents left out": lambda: fold(word(0, 3_000, corpus.accented)),
        "Cyrillic in capitals": lambda: word(0, 3_000, corpus.cyrillic).upper(),
        "one Chinese character": lambda: han(0, 3_000, 1),
        "two common ones": lambda: han(0, 30, 2),
        "two rare ones": lambda: han(1_000, 3_000, 2),
    }


def index_share(path: Path) -> float:
    """Return the size of the index as a share of the text."""
    with closing(sqlite3.connect(path)) as connection:
        index, text = connection.execute(_SIZES).fetchone()
        return float(index / text)
