"""
Rows as JSON text, in pages that end when their room is used up.

Stored JSON is copied unparsed: as objects it would take up to thirty times its size. Rows are
read one by one, so a page costs no more memory than its own bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    case,
    func,
    literal_column,
    null,
    select,
)

from jarvis_recorder.errors import MoreRoomNeeded, ResultTooLarge
from jarvis_recorder.storage.expressions import micros, octets
from jarvis_recorder.storage.queries.cursors import Position, write_cursor
from jarvis_recorder.storage.queries.look_up import LookUp
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.tables import Instant
from jarvis_recorder.wire.rpc.results import BEGINNING_CHARACTERS, LARGE_FIELD_BYTES
from jarvis_recorder.wire.times import format_rfc3339

_LARGE: Final[ColumnElement[int]] = literal_column(str(LARGE_FIELD_BYTES))
_BEGINNING: Final[ColumnElement[int]] = literal_column(str(BEGINNING_CHARACTERS))
_FIRST: Final[ColumnElement[int]] = literal_column("1")
# The bytes of a page besides its rows: the names, the commas, the cursor.
_FRAME_BYTES: Final = 2_048
# SQLite reads a field even to find that it is too large; a page ends before that takes seconds.
_MOST_READ_BYTES: Final = 16 * 1024 * 1024


# Their large fields take some megabytes at most.
_ROWS_TOGETHER: Final = 25


class Written(NamedTuple):
    """A row as JSON, with a flag for a complete row and the bytes read from its large fields."""

    text: bytes
    is_whole: bool
    read: int


class Line(NamedTuple):
    """An item of a page, and the position after which the next page begins."""

    text: bytes
    position: Position
    read: int = 0


class RowsOf:
    """
    The rows of one table as JSON: columns in `json` as they are stored, `text` as a JSON text.

    Unless the whole row is requested, large ones are left out, `text` except for its beginning,
    and the member `omitted` names them.
    """

    def __init__(self, table: Table, json: Sequence[str], text: str | None = None) -> None:
        self.table = table
        columns = [one for one in table.columns if one.name not in (*json, text)]
        # `str`: SQLAlchemy's own string type takes a hundred times as long to become JSON.
        self._plain = [str(one.name) for one in columns]
        self._times = [str(one.name) for one in columns if isinstance(one.type, Instant)]
        self._flags = [name for name in self._plain if name in ("stamped", "resolved")]
        self._json = [(name, b',"%b":' % name.encode()) for name in json]
        self._text = text
        large = [table.c[name] for name in (*json, *([text] if text else []))]
        light, whole = (_selected(columns, large, text, whole=one) for one in (False, True))
        self._light, self._whole = (
            LookUp(one.where(table.c.id == bindparam("id")), "id") for one in (light, whole)
        )
        self._several = light.where(table.c.id.in_(bindparam("ids", expanding=True)))

    def write(self, connection: Connection, row_id: int, *, whole: bool = False) -> Written | None:
        """Return the row with this id, None if there is none."""
        row = (self._whole if whole else self._light).first(connection, row_id)
        return None if row is None else self._written(row)

    def one(self, reading: Reading, row_id: int) -> bytes | None:
        """
        Return the whole row with this id, None if there is none.

        Raises:
            MoreRoomNeeded: It is larger than the room.
        """
        written = self.write(reading.connection, row_id)
        if written is not None and not written.is_whole:
            if written.read > reading.room:
                raise MoreRoomNeeded("the record does not fit")
            written = self.write(reading.connection, row_id, whole=True)
        if written is not None and len(written.text) > reading.room:
            raise MoreRoomNeeded("the record does not fit")
        return None if written is None else written.text

    def lines(self, reading: Reading, keys: Iterable[tuple[int, int]]) -> Iterator[Line]:
        """Yield the rows with these times and ids."""
        if reading.connection.dialect.name != "sqlite":
            yield from self._lines_together(reading, iter(keys))
            return
        for at, row_id in keys:
            reading.go_on()
            written = self.write(reading.connection, row_id)
            assert written is not None
            yield Line(written.text, (at, row_id), written.read)

    def _lines_together(self, reading: Reading, keys: Iterator[tuple[int, int]]) -> Iterator[Line]:
        """Do as `lines` does, where each statement is a round trip to a server."""
        id_at = self._plain.index("id")
        while some := list(islice(keys, _ROWS_TOGETHER)):
            reading.go_on()
            asked = {"ids": [row_id for _, row_id in some]}
            rows = {row[id_at]: row for row in reading.connection.execute(self._several, asked)}
            for at, row_id in some:
                written = self._written(tuple(rows[row_id]))
                yield Line(written.text, (at, row_id), written.read)

    def _written(self, row: tuple[Any, ...]) -> Written:
        values = dict(zip(self._plain, row, strict=False))
        for name in self._times:
            if values[name] is not None:
                values[name] = format_rfc3339(values[name])
        for name in self._flags:
            values[name] = bool(values[name])
        omitted, parts, read, at = [], [b""], 0, len(self._plain)
        for name, member in self._json:
            size, body = row[at : at + 2]
            at += 2
            read += size or 0
            if size and body is None:
                omitted.append(name)
            parts += member, body or b"null"
        if self._text is not None:
            size, values[self._text] = row[at : at + 2]
            read += size
            if size > len(values[self._text].encode()):
                omitted.append(self._text)
        values["omitted"] = omitted
        parts[0] = to_json(values)[:-1]
        return Written(b"".join((*parts, b"}")), not omitted, read)


def named(row: Row[Any]) -> dict[str, Any]:
    """Return a row as a dict with plain `str` names, which are fast to serialize; see `RowsOf`."""
    return {str(name): value for name, value in row._asdict().items()}


def _selected(
    plain: Sequence[Column[Any]],
    large: Sequence[Column[Any]],
    text: str | None,
    *,
    whole: bool,
) -> Select[Any]:
    """Return the statement that selects rows, with the sizes of their large fields."""
    columns: list[ColumnElement[Any]] = [
        micros(one) if isinstance(one.type, Instant) else one for one in plain
    ]
    for column in large:
        # As bytes: a text would be decoded, then encoded again to be sent.
        content = octets(column)
        size = func.length(content)
        kept: ColumnElement[Any] = column if column.name == text else content
        rest: ColumnElement[Any] = (
            func.substr(column, _FIRST, _BEGINNING) if column.name == text else null()
        )
        columns += size, kept if whole else case((size <= _LARGE, kept), else_=rest)
    return select(*columns)


def write_page(
    reading: Reading,
    params: Any,
    name: str,
    lines: Iterable[Line],
    *,
    end: Position | None = None,
    more: bytes | Callable[[Position | None], bytes] = b"",
) -> bytes:
    """
    Return a page of the lines; one line beyond `params.limit` shows that more follow.

    `end` is the position to continue from if the page holds all lines, None if nothing is
    left; `more` are further members of the result, or are made of the place of the last line if
    the page ends before its limit, since no more fits, else of None.

    Raises:
        ResultTooLarge: Not even the first line fits, or a page without any.
    """
    room = reading.room - _FRAME_BYTES - (len(more) if isinstance(more, bytes) else 0)
    if room < 0:
        raise ResultTooLarge("there is no room for a page")
    read = 0
    taken: list[bytes] = []
    position: Position = ()
    cut: Position | None = None
    for line in lines:
        room -= len(line.text) + 1
        if taken and (len(taken) == params.limit or room < 0 or read > _MOST_READ_BYTES):
            end = position
            cut = None if len(taken) == params.limit else position
            break
        if room < 0:
            raise ResultTooLarge("there is no room for the first line")
        read += line.read
        position = line.position
        taken.append(line.text)
    cursor = None if end is None else write_cursor(params, *end)
    return b'{"%b":[%b],"next_cursor":%b%b}' % (
        name.encode(),
        b",".join(taken),
        to_json(cursor),
        more if isinstance(more, bytes) else more(cut),
    )
