"""Columns of many rows as PostgreSQL's binary arrays."""

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

# Between the Unix epoch and PostgreSQL's, which is the beginning of 2000.
_EPOCH_MICROS: Final = 946_684_800_000_000
_HEAD: Final = struct.Struct("!iiiii").pack
_LENGTH: Final = struct.Struct("!i").pack
_NULL: Final = b"\xff\xff\xff\xff"
_OIDS: Final = {"bool": 16, "bytea": 17, "float8": 701, "int8": 20, "text": 25, "timestamptz": 1184}


class Array:
    """
    An array in the binary format, ready to be sent.

    Made here, since psycopg sends lists of text as text, at five times the server's and the
    recorder's effort, and times by way of `datetime`.
    """

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj.content


def register(connection: psycopg.AsyncConnection[Any]) -> None:
    """Have a connection send arrays, for placeholders `%b` with a cast."""
    connection.adapters.register_dumper(Array, _ArrayDumper)


def array(kind: str, values: Sequence[Any]) -> Array:
    """
    Return an array of a type: text, timestamptz (from microseconds), int8, float8, bool or bytea.

    Raises:
        UnicodeEncodeError: A text holds a lone surrogate.
        struct.error: An integer lies beyond 64 bits.
    """
    head = (
        _HEAD(1, 1, _OIDS[kind], len(values), 1) if values else _HEAD(0, 0, _OIDS[kind], 0, 0)[:12]
    )
    return Array(head + _MAKERS[kind](values))


def _times(values: Sequence[int | None]) -> bytes:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return _integers([None if value is None else value - _EPOCH_MICROS for value in values])
    flat: list[int] = [8] * (2 * len(values))
    flat[1::2] = [value - _EPOCH_MICROS for value in known]
    return struct.pack("!" + "iq" * len(values), *flat)


def _flags(values: Sequence[bool]) -> bytes:
    return b"".join([b"\0\0\0\1\1" if value else b"\0\0\0\1\0" for value in values])


def _texts(values: Sequence[str | None]) -> bytes:
    parts = []
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            content = value.encode()
            parts += (_LENGTH(len(content)), content)
    return b"".join(parts)


def _contents(values: Sequence[bytes]) -> bytes:
    return b"".join([part for value in values for part in (_LENGTH(len(value)), value)])


def _integers(values: Sequence[int | None]) -> bytes:
    pack = struct.Struct("!iq").pack
    return b"".join([_NULL if value is None else pack(8, value) for value in values])


def _floats(values: Sequence[float | None]) -> bytes:
    pack = struct.Struct("!id").pack
    return b"".join([_NULL if value is None else pack(8, value) for value in values])


_MAKERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "bool": _flags,
    "bytea": _contents,
    "float8": _floats,
    "int8": _integers,
    "text": _texts,
    "timestamptz": _times,
}
