"""The import of a database of the original system."""

import contextlib
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from sqlalchemy import Connection, Table, insert, select, tuple_, update

from jarvis_recorder.errors import RecorderError, RecordRefused
from jarvis_recorder.runtime.ownership import as_owner
from jarvis_recorder.storage.chunks import chunks
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.legacy.rows import (
    KINDS,
    PREFERENCES,
    Cells,
    RowRejected,
    moment_of,
    record_of,
    resolution_of,
    storable,
)
from jarvis_recorder.storage.legacy.targets import Opening, Target
from jarvis_recorder.storage.rows import SHAPES
from jarvis_recorder.storage.sqlite.files import require_room
from jarvis_recorder.storage.tables import events, incident_progress, preferences
from jarvis_recorder.wire.rpc.params import MAX_VALUE_BYTES

_MAX_KEY: Final = 255
# Above it there has to be room for all that is recorded later.
_HIGHEST: Final = 2**53
_NOT_THEIRS: Final = "a table that is not the original's own"
_REFUSED: Final = "the database refuses the row"

ReportProgress = Callable[[int, int], None]
"""Receives the number of rows read so far, and the total."""


@dataclass(slots=True)
class TableReport:
    """The rows of one table: `taken` now, `already` imported, or `left`, counted by reason."""

    rows: int = 0
    taken: int = 0
    already: int = 0
    left: Counter[str] = field(default_factory=Counter)


ImportReport = dict[str, TableReport]


async def import_original(source: Path, opening: Opening, progress: ReportProgress) -> ImportReport:
    """
    Import `source`, and return a report on each of its tables; `source` is not changed.

    Ids are kept where they are free. Rows already imported stay as they are, so a second
    import, or one after an interruption, adds the missing rows.

    Raises:
        RecorderError: `source` is not a database of the original system; or as `opening`, which
            opens the database to import into. What was taken before a damaged page stays.
    """
    with _opened(source) as original:
        async with opening as target:
            return await _Import(original, target, progress).run()


class _Original(NamedTuple):
    """The file of the original system, and a connection that reads it, or its copy."""

    path: Path
    connection: sqlite3.Connection


class _Import:
    """One import, from one connection into one database."""

    def __init__(self, original: "_Original", target: Target, progress: ReportProgress) -> None:
        self._original = original
        self._target = target
        self._progress = progress
        with _read_errors(original.path):
            self._report: ImportReport = {
                name: TableReport(_rows_of(original.connection, name))
                for name in _tables(original.connection)
            }
        self._total = sum(table.rows for table in self._report.values())
        self._looked_at = 0

    async def run(self) -> ImportReport:
        for name, report in self._report.items():
            if name in KINDS:
                await self._records(name, report)
            elif name == PREFERENCES:
                await self._preferences(report)
            else:
                report.left[_NOT_THEIRS] = report.rows
                self._advance(report.rows)
        return self._report

    async def _records(self, name: str, report: TableReport) -> None:
        table = SHAPES[KINDS[name]].table
        with _read_errors(self._original.path):
            highest = _highest(self._original.connection, name)
        await self._target.writer.run(lambda one: self._target.begin(one, table, highest))
        for rows in _chunks(self._original, name, "id"):
            taken = list(_readable(partial(_record_row, name), rows, report))
            await self._store(partial(_insert_new, self._target, table, highest), taken, report)
            self._advance(len(rows))

    async def _preferences(self, report: TableReport) -> None:
        for rows in _chunks(self._original, PREFERENCES, "key"):
            taken = list(_readable(_preference_row, rows, report))
            await self._store(_set_newer, taken, report)
            self._advance(len(rows))

    async def _store(
        self, store: Callable[..., int], rows: Sequence[Any], report: TableReport
    ) -> None:
        """Store the rows, in one transaction unless the database refuses some: those are left."""
        try:
            new = await self._target.writer.run(partial(store, rows))
        except RecordRefused:
            if len(rows) == 1:
                report.left[_REFUSED] += 1
                return
            half = len(rows) // 2
            await self._store(store, rows[:half], report)
            await self._store(store, rows[half:], report)
        else:
            report.taken += new
            report.already += len(rows) - new

    def _advance(self, rows: int) -> None:
        self._looked_at += rows
        self._progress(self._looked_at, self._total)


class _Row(NamedTuple):
    """A row to insert, by column; `id` is the id in the original."""

    id: int
    values: dict[str, Any]

    @property
    def key(self) -> tuple[int, str | None]:
        return self.values["timestamp"], self.values["message_id"]


def _readable(
    read: Callable[[Cells], Any], rows: Sequence[Cells], report: TableReport
) -> Iterator[Any]:
    for cells in rows:
        try:
            yield read(cells)
        except RowRejected as why:
            report.left[str(why)] += 1


def _record_row(name: str, cells: Cells) -> _Row:
    record = record_of(name, cells)
    shape = SHAPES[record.kind]
    values = dict(zip(shape.columns, shape.make(record), strict=True))
    values["recorded_at"] = record.timestamp
    if "resolved" in shape.table.columns:
        resolved, at, by = resolution_of(cells)
        values |= {
            "resolved": resolved,
            "resolved_at": None if at is None else round(at.timestamp() * 1_000_000),
            "resolved_by": by,
        }
    return _Row(int(cells["id"]), values)


def _preference_row(cells: Cells) -> dict[str, Any]:
    key, value = cells["key"], cells["value"]
    if not (isinstance(key, str) and 0 < len(key) <= _MAX_KEY):
        raise RowRejected("a key that is not 1 to 255 characters")
    if not isinstance(value, str) or len(value.encode("utf-8", "replace")) > MAX_VALUE_BYTES:
        raise RowRejected("a value that is no text of at most 64 KiB")
    return {
        "key": storable(key),
        "value": storable(value),
        "updated_at": moment_of(cells["updated_at"]),
    }


def _insert_new(
    target: Target, table: Table, highest: int, rows: Sequence[_Row], connection: Connection
) -> int:
    """Insert the missing rows; one whose id is taken, or none, gets one that is free in both."""
    there = _identities(connection, table, rows)
    new = [row for row in rows if row.key not in there]
    wanted = [row.id for row in new]
    taken = set(connection.execute(select(table.c.id).where(table.c.id.in_(wanted))).scalars())
    taken |= {number for number in wanted if not 0 < number <= _HIGHEST}
    free = iter(target.free_numbers(connection, table, highest, len(taken)))
    values = [row.values | {"id": next(free) if row.id in taken else row.id} for row in new]
    if values:
        target.insert(connection, table, values)
    if values and table is events:
        _have_read(connection, min(row["id"] for row in values))
    return len(values)


def _have_read(connection: Connection, first: int) -> None:
    """Have incidents made of the events from this id on, wherever the keeper of incidents is."""
    beyond = update(incident_progress).where(incident_progress.c.reached >= first)
    connection.execute(beyond.values(reached=first - 1))


def _identities(
    connection: Connection, table: Table, rows: Sequence[_Row]
) -> set[tuple[int, str | None]]:
    is_one = tuple_(table.c.timestamp, table.c.message_id).in_([row.key for row in rows])
    found = connection.execute(select(micros(table.c.timestamp), table.c.message_id).where(is_one))
    return {(at, identity) for at, identity in found}


def _set_newer(rows: Sequence[dict[str, Any]], connection: Connection) -> int:
    """Set the preferences that are missing or older; return how many."""
    changed = 0
    for row in rows:
        of_key = preferences.c.key == row["key"]
        found = connection.execute(
            select(preferences.c.updated_at, preferences.c.version).where(of_key)
        ).first()
        if found is None:
            connection.execute(insert(preferences).values(**row, version=1))
        elif found.updated_at < row["updated_at"]:
            version = found.version + 1
            connection.execute(update(preferences).where(of_key).values(**row, version=version))
        else:
            continue
        changed += 1
    return changed


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Original]:
    """
    Open the original's file; neither it nor any file next to it is changed.

    Raises:
        RecorderError: It is not a database of the original system.
    """
    with contextlib.ExitStack() as stack:
        with _read_errors(path):
            connection = _connected(path, stack)
        yield _Original(path, connection)


@contextlib.contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Raise a `RecorderError` that names the file for an error while it is being read."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise RecorderError(f"{path}: cannot be read as a SQLite database: {error}") from None


@as_owner
def _connected(path: Path, stack: contextlib.ExitStack) -> sqlite3.Connection:
    if not path.is_file():
        raise RecorderError(f"{path}: there is no such file")
    readable = _readable_alone(path, stack)
    # `immutable` promises that no one writes, so that SQLite creates no files next to it.
    uri = f"file:{quote(os.fsencode(readable.absolute()))}?mode=ro&immutable=1"
    if readable != path:
        uri = f"file:{quote(os.fsencode(readable))}"
    connection = stack.enter_context(
        contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None))
    )
    # A text that is not UTF-8 costs its row, not the whole import.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    _require_original(path, connection)
    return connection


def _readable_alone(path: Path, stack: contextlib.ExitStack) -> Path:
    """Return the file, or a copy of it and of a log that SQLite has to apply, or to roll back."""
    logs = [path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-journal")]
    present = [log for log in logs if log.exists() and log.stat().st_size]
    if not present:
        return path
    size = sum(file.stat().st_size for file in (path, *present))
    purpose = f"a copy of {path}, whose log has to be applied (TMPDIR names another directory),"
    require_room(Path(gettempdir()), size, purpose)
    directory = Path(stack.enter_context(TemporaryDirectory(prefix="jarvis-recorder-import-")))
    for file in (path, *present):
        # Without its mode: SQLite changes the copy.
        shutil.copyfile(file, directory / file.name)
    return directory / path.name


def _require_original(path: Path, connection: sqlite3.Connection) -> None:
    tables = set(_tables(connection))
    if "alembic_version" in tables:
        raise RecorderError(
            f"{path}: this is a recorder's own database: `jarvis-recorder db restore` takes it"
        )
    if not tables & {*KINDS, PREFERENCES}:
        raise RecorderError(f"{path}: holds none of the tables of the original system")
    for table in tables & {*KINDS, PREFERENCES}:
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({_quoted(table)})")}
        needed = {"key", "value", "updated_at"} if table == PREFERENCES else {"id", "timestamp"}
        if not columns >= needed:
            raise RecorderError(f"{path}: its table {table} is not that of the original system")


def _tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        " ORDER BY name"
    )
    return [str(name) for (name,) in found]


def _rows_of(connection: sqlite3.Connection, table: str) -> int:
    """Return the number of rows of a table; 0 if it is not imported and its module is missing."""
    try:
        return _count(connection, table)
    except sqlite3.OperationalError:
        if table in KINDS or table == PREFERENCES:
            raise
        return 0


def _count(connection: sqlite3.Connection, table: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()  # noqa: S608
    return int(count)


def _highest(connection: sqlite3.Connection, table: str) -> int:
    (highest,) = connection.execute(
        f"SELECT max(id) FROM {_quoted(table)}"  # noqa: S608
        " WHERE typeof(id) = 'integer' AND id <= ?",
        [_HIGHEST],
    ).fetchone()
    return max(highest or 0, 0)


def _chunks(original: _Original, table: str, key: str) -> Iterator[list[Cells]]:
    with _read_errors(original.path):
        yield from chunks(_rows(original.connection, table, key), lambda cells: cells.values())


def _rows(connection: sqlite3.Connection, table: str, key: str) -> Iterator[Cells]:
    cursor = connection.execute(f"SELECT * FROM {_quoted(table)} ORDER BY {key}")  # noqa: S608
    names = [column[0] for column in cursor.description]
    for row in cursor:
        yield dict(zip(names, row, strict=True))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
