"""The statistics of a database file: revision, rows, times and sizes."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection, LargeBinary, Table, cast, func, inspect, select, text

from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite import connections, files
from jarvis_recorder.storage.table_stats import TableStats
from jarvis_recorder.storage.tables import metadata

_SAMPLE: Final = 500
_SEARCHED: Final = "conversations"
# Sizes of tables with their indexes. The search index has tables of its own.
_SIZES: Final = text("""
    SELECT coalesce(m.tbl_name, d.name), sum(d.pgsize), sum(d.unused)
    FROM dbstat AS d LEFT JOIN sqlite_schema AS m ON m.name = d.name
    WHERE d.aggregate = 1 GROUP BY 1
""")


class FileState(NamedTuple):
    """The state of a database file; `revision` is None if it has no tables yet."""

    revision: str | None
    size_bytes: int


class FileStats(NamedTuple):
    """
    A database file, its tables largest first.

    If not exact, rows are estimated as the range of ids, and bytes by the size of the newest
    rows. `unused_bytes` are idle space within pages in use, known only if bytes are exact.
    """

    path: Path
    revision: str | None
    exact_rows: bool
    exact_bytes: bool
    tables: tuple[TableStats, ...]
    size_bytes: int
    wal_bytes: int
    page_size: int
    pages: int
    free_pages: int
    unused_bytes: int | None


class _Room(NamedTuple):
    """The bytes of each table by name, and the unused ones, None if unknown."""

    taken: Mapping[str, int]
    unused: int | None


def state(path: Path) -> FileState:
    """
    Return the state of the file, without changing it.

    Raises:
        ConfigurationError: It is not a recorder database.
        StorageUnavailable: There is no such file, or it cannot be read.
    """
    files.require_file(path)
    with connections.reading(path) as connection:
        revision = revisions.current_revision(connection)
    return FileState(revision, files.size(path))


def stats(path: Path, *, exact: bool) -> FileStats:
    """
    Return the statistics of a file: estimates at once, or with `exact` by reading all of it.

    Raises:
        ConfigurationError: It is not a recorder database.
        StorageUnavailable: There is no such file, or it cannot be read.
    """
    files.require_file(path)
    with connections.reading(path) as connection:
        revision = revisions.current_revision(connection)
        pages, free, page_size, _ = connections.page_counts(connection)
        there = inspect(connection).get_table_names()
        tables = [each for each in metadata.sorted_tables if each.name in there]
        rows = {
            each.name: _count(connection, each) if exact else _span(connection, each)
            for each in tables
        }
        room = _measured(connection) if exact and _has_dbstat(connection) else None
        if room is None:
            used = (pages - free) * page_size
            room = _Room(_shares(connection, tables, rows, used), None)
        found = [
            TableStats(
                each.name,
                rows[each.name],
                room.taken.get(each.name, 0),
                *_extent(connection, each),
            )
            for each in tables
        ]
    return FileStats(
        path,
        revision,
        exact,
        room.unused is not None,
        tuple(sorted(found, key=lambda each: each.size_bytes, reverse=True)),
        files.size(path),
        files.size(files.companions(path)[0]),
        page_size,
        pages,
        free,
        room.unused,
    )


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _span(connection: Connection, table: Table) -> int:
    """Return the size of the range of ids."""
    if "id" not in table.c:
        return _count(connection, table)
    first = connection.execute(select(func.min(table.c.id))).scalar_one()
    last = connection.execute(select(func.max(table.c.id))).scalar_one()
    return 0 if first is None else int(last - first) + 1


def _extent(connection: Connection, table: Table) -> tuple[datetime | None, datetime | None]:
    if "timestamp" not in table.c:
        return None, None
    # One query each: for min and max together SQLite would read every row, not the index's ends.
    oldest = connection.execute(select(func.min(table.c.timestamp))).scalar_one()
    newest = connection.execute(select(func.max(table.c.timestamp))).scalar_one()
    return oldest, newest


def _has_dbstat(connection: Connection) -> bool:
    options = connection.exec_driver_sql("PRAGMA compile_options").scalars()
    return "ENABLE_DBSTAT_VTAB" in options


def _measured(connection: Connection) -> _Room:
    """Measure every table exactly, by reading every page of the file."""
    taken: dict[str, int] = {}
    unused = 0
    for name, size, idle in connection.execute(_SIZES):
        owner = _SEARCHED if name.startswith(f"{_SEARCHED}_fts") else name
        taken[owner] = taken.get(owner, 0) + size
        unused += idle
    return _Room(taken, unused)


def _shares(
    connection: Connection, tables: list[Table], rows: Mapping[str, int], used: int
) -> dict[str, int]:
    """Divide the bytes in use among the tables by the size of their newest rows."""
    weights = {each.name: rows[each.name] * _row_bytes(connection, each) for each in tables}
    total = sum(weights.values())
    return {name: round(used * weight / total) if total else 0 for name, weight in weights.items()}


def _row_bytes(connection: Connection, table: Table) -> float:
    # An older schema lacks some.
    there = {each["name"] for each in inspect(connection).get_columns(table.name)}
    lengths = [
        func.coalesce(func.length(cast(each, LargeBinary)), 0)
        for each in table.c
        if each.name in there
    ]
    newest = select(sum(lengths, start=lengths.pop()).label("bytes")).limit(_SAMPLE)
    if "id" in table.c:
        newest = newest.order_by(table.c.id.desc())
    average = select(func.avg(newest.subquery().c.bytes))
    return float(connection.execute(average).scalar_one() or 0.0)
