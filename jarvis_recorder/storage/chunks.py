"""Rows in lists that take little memory, however large each row is."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

_AT_ONCE: Final = 1_000
_AT_ONCE_BYTES: Final = 8 * 1024 * 1024

T = TypeVar("T")


def first_within(rows: Iterable[T], size_of: Callable[[T], int], most_bytes: int) -> Iterator[T]:
    """Yield the first rows that fit into so many bytes, at least one; read no row beyond the next."""
    left = most_bytes
    for at, row in enumerate(rows):
        left -= size_of(row)
        if at and left < 0:
            return
        yield row


def chunks(rows: Iterable[T], values_of: Callable[[T], Iterable[Any]]) -> Iterator[list[T]]:
    """Yield the rows in lists, of which each ends with the row that makes it 8 MiB long."""
    chunk: list[T] = []
    room = _AT_ONCE_BYTES
    for row in rows:
        chunk.append(row)
        room -= sum(len(value) for value in values_of(row) if isinstance(value, str | bytes))
        if len(chunk) == _AT_ONCE or room < 0:
            yield chunk
            chunk, room = [], _AT_ONCE_BYTES
    if chunk:
        yield chunk
