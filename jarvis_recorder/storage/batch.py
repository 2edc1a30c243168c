"""A batch as rows of each kind, and its comparison with the rows that are stored."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from jarvis_recorder.storage.rows import SHAPES, Row, RowShape
from jarvis_recorder.storage.same_json import same_json
from jarvis_recorder.wire.records import EventRow, Record, kind_of
from jarvis_recorder.wire.topics import Kind

# Equal where a number is spelt otherwise; the size follows from a spelling.
_JSON_COLUMNS: Final = frozenset(("details", "tool_calls", "snapshot", "extra"))
_NOT_COMPARED: Final = frozenset(("timestamp", "stamped", "size_bytes"))

COMPARED_AT_ONCE: Final = 500
_Place = tuple[str | None, int | None]


class Rows(NamedTuple):
    """Records of one kind as rows, and their positions among the records of all kinds."""

    shape: RowShape
    positions: Sequence[int]
    rows: list[Row]
    recorded_at: int


def rows_of(records: Sequence[Record | EventRow], recorded_at: int) -> list[Rows]:
    """Return the records as rows, one element for each kind present."""
    if {*map(type, records)} == {tuple}:
        return [Rows(SHAPES[Kind.EVENT], range(len(records)), [*records], recorded_at)]
    return [
        Rows(shape, positions, [*map(shape.make, chosen)], recorded_at)
        for shape, positions, chosen in _by_shape(records)
    ]


def _by_shape(
    records: Sequence[Record | EventRow],
) -> Iterator[tuple[RowShape, Sequence[int], Sequence[Record | EventRow]]]:
    kinds = {*map(kind_of, records)}
    for kind in kinds:
        if len(kinds) == 1:
            yield SHAPES[kind], range(len(records)), records
        else:
            positions = [at for at, record in enumerate(records) if kind_of(record) is kind]
            yield SHAPES[kind], positions, [records[at] for at in positions]


class Compared(NamedTuple):
    """The indexes of rows whose identity is taken by another content, and of rows not found."""

    taken: list[int]
    missing: list[int]


def slices(rows: Sequence[Row], most: int = COMPARED_AT_ONCE) -> Iterator[range]:
    """Yield the indexes of the rows to look up together, `most` at a time."""
    for start in range(0, len(rows), most):
        yield range(start, min(start + most, len(rows)))


class Comparison:
    """
    The rows at the indexes `asked`, compared with those found under their identities.

    Found rows are taken one by one: they may be thousands of times as large.
    """

    def __init__(self, shape: RowShape, rows: Sequence[Row], asked: range) -> None:
        self._shape = shape
        self._rows = rows
        self._asked = asked
        self._taken: set[int] = set()
        self._known: set[int] = set()
        # Thousands of rows may share an identity: each is compared only with those in its place.
        self._in_place: dict[_Place, list[int]] = {}
        for index in asked:
            for place in _places(shape, rows[index]):
                self._in_place.setdefault(place, []).append(index)

    def take(self, stored: Sequence[Any]) -> None:
        """Compare a row that was found."""
        for place in _places(self._shape, stored):
            for index in self._in_place.get(place, ()):
                self._taken.add(index)
                if index not in self._known and _same(self._shape, stored, self._rows[index]):
                    self._known.add(index)

    def outcome(self) -> Compared:
        """Return what is known once all rows that were found are taken."""
        identity_at = self._shape.columns.index("message_id")
        missing = [
            at
            for at in self._asked
            if at not in self._taken and self._rows[at][identity_at] is not None
        ]
        return Compared(sorted(self._taken - self._known), missing)


def compare(
    shape: RowShape, rows: Sequence[Row], asked: range, found: Iterable[Sequence[Any]]
) -> Compared:
    """Compare the rows at the indexes `asked` with those found under their identities."""
    comparison = Comparison(shape, rows, asked)
    for stored in found:
        comparison.take(stored)
    return comparison.outcome()


def _places(shape: RowShape, row: Sequence[Any]) -> Iterator[_Place]:
    """Yield the unique keys that a row occupies, as (identity, time) and (identity, None)."""
    identity = row[shape.columns.index("message_id")]
    yield identity, row[shape.columns.index("timestamp")]
    if row[shape.columns.index("stamped")]:
        yield identity, None


def _same(shape: RowShape, stored: Sequence[Any], row: Row) -> bool:
    """Return whether two rows say the same; their times and `stamped` may differ."""
    return all(
        old == new or (name in _JSON_COLUMNS and _same_json(old, new))
        for name, old, new in zip(shape.columns, stored, row, strict=True)
        if name not in _NOT_COMPARED
    )


def _same_json(old: bytes | str | None, new: bytes | str | None) -> bool:
    if old is None or new is None:
        return False
    try:
        return same_json(old, new)
    except ValueError:  # written by another program
        return False
