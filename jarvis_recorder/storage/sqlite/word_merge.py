"""The merge of the search index that leaves nothing of deleted words, in small steps."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from jarvis_recorder.storage.sqlite.connections import driver_of

Merge = Callable[[Connection], Any]
"""Makes a step, and returns the next one, a `Merge` too; None once it is done."""

_PAGES: Final = 64
_MERGE: Final = "INSERT INTO conversations_fts (conversations_fts, rank) VALUES ('merge', ?)"
# Source: SQLite's fts5_index.c, "On Disk Format": the structure record and its row id.
_STRUCTURE: Final = "SELECT block FROM conversations_fts_data WHERE id = 10"
_COOKIE_BYTES: Final = 4


class _Level(NamedTuple):
    """The segments of a level of the index; as many of them, the first, as are being merged."""

    merging: int
    segments: list[int]


def begin(connection: Connection) -> Merge | None:
    """
    Begin to merge all segments of the index: those with deleted words, and those that delete them.

    Source: SQLite's documentation of FTS5, section 6.8 (`merge`), about negative numbers.
    """
    segments = frozenset(one for level in _levels(connection) for one in level.segments)
    _merge(connection, -_PAGES)
    return _following(segments, connection)


def _go_on(segments: frozenset[int], connection: Connection) -> Merge | None:
    # Nothing is merged if a newer level has as many segments, and too few for a merge of its own:
    # then those have to be a part of this one.
    if _following(segments, connection) and not _merge(connection, _PAGES):
        _merge(connection, -_PAGES)
    return _following(segments, connection)


def _following(segments: frozenset[int], connection: Connection) -> Merge | None:
    """Return the next step as long as any of the segments is being merged."""
    for level in _levels(connection):
        if not segments.isdisjoint(level.segments[: level.merging]):
            return partial(_go_on, segments)
    return None


def _merge(connection: Connection, pages: int) -> bool:
    """Merge about so many pages; return whether there was anything to do."""
    driver = driver_of(connection)
    before = driver.total_changes
    driver.execute(_MERGE, (pages,)).close()
    return driver.total_changes - before >= 2


def _levels(connection: Connection) -> list[_Level]:
    (record,) = driver_of(connection).execute(_STRUCTURE).fetchone()
    numbers = _numbers(record[_COOKIE_BYTES:])
    levels, _, _ = next(numbers), next(numbers), next(numbers)
    return [_level(numbers) for _ in range(levels)]


def _level(numbers: Iterator[int]) -> _Level:
    merging, size = next(numbers), next(numbers)
    # Behind each segment's id are the numbers of its first and its last page.
    return _Level(merging, [(next(numbers), next(numbers), next(numbers))[0] for _ in range(size)])


def _numbers(record: bytes) -> Iterator[int]:
    """Yield SQLite's variable-length integers; none of these has nine bytes."""
    number = 0
    for byte in record:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            yield number
            number = 0
