"""Cursors: the end of a page as an opaque text that is valid for no other request."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeVar

from pydantic_core import to_json
from sqlalchemy import ColumnElement, literal, tuple_

from jarvis_recorder.errors import InvalidParameter
from jarvis_recorder.wire.rpc.params import Params

Position = tuple[int | str, ...]
"""The values of the last row of a page in the columns that order it."""

_RowT = TypeVar("_RowT")
_DIGEST_BYTES: Final = 6


def write_cursor(params: Params[Any], *position: int | str) -> str:
    """Return the cursor of a page that ends at this position."""
    raw = to_json(position)
    return urlsafe_b64encode(_digest(params, raw) + raw).rstrip(b"=").decode()


def read_cursor(params: Any, *kinds: type[int] | type[str]) -> Position | None:
    """
    Return the position after which a request continues, of these types; None at the beginning.

    Raises:
        InvalidParameter: The cursor is damaged, or belongs to a request with other parameters.
    """
    if params.cursor is None:
        return None
    try:
        text = params.cursor.encode()
        raw = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
        digest, raw = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        position = json.loads(raw) if digest == _digest(params, raw) else None
    except ValueError:
        position = None
    if not isinstance(position, list) or not _fits(position, kinds):
        raise damaged()
    return tuple(position)


def row_of(place: Position, *columns: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a place as a row of values, to compare with a row of these columns."""
    # With their types a time stays an integer: in a forged cursor it may lie beyond all years.
    return tuple_(*(literal(part, one.type) for part, one in zip(place, columns, strict=True)))


class Beyond(NamedTuple):
    """The rows of a list, the newest first, below a place, downwards; or above it, upwards."""

    place: Position | None
    is_above: bool = False

    def only(self, *columns: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        """Return the condition of these rows, by the columns of their place."""
        if self.place is None:
            return []
        place = row_of(self.place, *columns)
        return [tuple_(*columns) > place if self.is_above else tuple_(*columns) < place]

    def order(self, *columns: ColumnElement[Any]) -> list[ColumnElement[Any]]:
        """Return the columns so that the rows nearest to the place come first."""
        return [one.asc() if self.is_above else one.desc() for one in columns]


def not_shown(
    shown: Position | None, rows: Callable[[Beyond], Iterator[tuple[_RowT, Position]]]
) -> Iterator[tuple[_RowT, Position]]:
    """
    Yield each row that the pages so far have not shown, with what they have shown after it.

    A row that changes between two pages moves to the top of the list. So what is above the first
    page comes last, and upwards: rows move away from what was shown, and none is passed over. One
    that was shown before it moved is shown again.

    `shown` is the place at the top, then the place at the end; `rows` returns rows, each with its
    place.
    """
    half = len(shown) // 2 if shown else 0
    top, end = (shown[:half], shown[half:]) if shown else (None, ())
    for row, place in rows(Beyond(end or None)):
        top, end = top or place, place
        yield row, (*top, *end)
    if shown:
        for row, place in rows(Beyond(top, is_above=True)):
            yield row, (*place, *end)


def damaged() -> InvalidParameter:
    """Return the error of a cursor from which no request can continue."""
    return InvalidParameter(
        "cursor", "of another request, or damaged: begin again without a cursor"
    )


def _fits(position: list[Any], kinds: tuple[type[int] | type[str], ...]) -> bool:
    """Return whether a position has these types, and only integers that SQLite can bind."""
    return [type(part) for part in position] == list(kinds) and all(
        isinstance(part, str) or -(2**63) <= part < 2**63 for part in position
    )


def _digest(params: Any, raw: bytes) -> bytes:
    """Tie a position to the request: its class and every parameter that selects rows."""
    asked = replace(params, cursor=None, limit=1)
    return blake2b(
        type(asked).__name__.encode() + to_json(asked) + raw, digest_size=_DIGEST_BYTES
    ).digest()
