"""The integrity checks of a database file, from the pages to the values."""

import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pydantic_core import from_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Table,
    column,
    func,
    inspect,
    not_,
    or_,
    select,
    table,
    text,
    type_coerce,
)

from jarvis_recorder.errors import ConfigurationError, StorageDamaged, StorageUnavailable
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite import connections, files
from jarvis_recorder.storage.sqlite.files import Report
from jarvis_recorder.storage.tables import (
    Instant,
    cluster_snapshots,
    conversations,
    events,
    metadata,
    preferences,
)
from jarvis_recorder.wire.times import EARLIEST, LATEST

_MAX_PROBLEMS: Final = 20
_JSON: Final = (
    events.c.details,
    events.c.extra,
    conversations.c.tool_calls,
    conversations.c.extra,
    cluster_snapshots.c.extra,
)
_RECORDED: Final = (events, conversations, cluster_snapshots)
_CACHE: Final = "PRAGMA cache_size = -64000"

# The rows in the search index, which FTS5 lists in a table of its own.
_found_by_search: Final = table("conversations_fts_docsize", column("id", Integer))

_Problems = Iterator[str]


class IntegrityCheck(NamedTuple):
    """One check and the problems it found, if any."""

    name: str
    about: str
    problems: tuple[str, ...]


def verify(path: Path, report: Report) -> list[IntegrityCheck]:
    """
    Run every check on a database file, which a recorder may write meanwhile.

    Each check is a transaction of its own, so that the log can be emptied between them.

    Raises:
        StorageUnavailable: There is no such file, or it cannot be opened or read now.
        ConfigurationError: The file may not be read.
    """
    files.require_file(path)
    return [_run(path, name, _CHECKS[name], report) for name in _CHECKS]


def require_sound(path: Path, names: tuple[str, ...], report: Report) -> None:
    """
    Make sure that the checks of these names find nothing.

    Raises:
        StorageDamaged: One does; the message names the first problem.
    """
    for name in names:
        for problem in _run(path, name, _CHECKS[name], report).problems:
            raise StorageDamaged(f"{path}: {name}: {problem}")


def counts(path: Path) -> Mapping[str, int]:
    """Return the number of rows in each table."""
    with connections.reading(path) as connection:
        return {
            each.name: connection.execute(select(func.count()).select_from(each)).scalar_one()
            for each in (*_RECORDED, preferences)
        }


class _Checking(NamedTuple):
    about: str
    find: Callable[[Connection], _Problems]


def _run(path: Path, name: str, checking: _Checking, report: Report) -> IntegrityCheck:
    report(f"checking {name}", 0, 0)
    try:
        with connections.reading(path) as connection:
            connection.exec_driver_sql(_CACHE)
            found = tuple(checking.find(connection))
    except StorageDamaged as error:
        found = (str(error),)
    except StorageUnavailable as error:
        if not _is_in_the_content(error):
            raise
        found = (str(error),)
    return IntegrityCheck(name, checking.about, found)


def _is_in_the_content(error: StorageUnavailable) -> bool:
    """Say if a statement failed for what the file holds, such as a table without a column."""
    cause = getattr(error.__cause__, "orig", error.__cause__)
    return isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode == sqlite3.SQLITE_ERROR


def _structure(connection: Connection) -> _Problems:
    check = text(f"PRAGMA integrity_check({_MAX_PROBLEMS})")
    for line in connection.execute(check).scalars():
        if line != "ok":
            yield str(line)


def _foreign_keys(connection: Connection) -> _Problems:
    for row in connection.execute(text("PRAGMA foreign_key_check")):
        yield f"{row[0]}: row {row[1]} points to none in {row[2]}"


def _schema(connection: Connection) -> _Problems:
    revision = revisions.current_revision(connection)
    try:
        found = revisions.age_of(revision)
    except ConfigurationError as error:
        yield str(error)
        return
    if found is revisions.SchemaAge.NOTHING:
        yield "there are no tables: `jarvis-recorder db upgrade` makes them"
    if found is revisions.SchemaAge.CURRENT:
        for name in sorted(set(metadata.tables) - set(inspect(connection).get_table_names())):
            yield f"the table {name} is missing"


def _search(connection: Connection) -> _Problems:
    if not _has(connection, _found_by_search.name):
        return
    turns, found = conversations.c.id, _found_by_search.c.id
    missing = select(func.count()).where(turns.not_in(select(found)))
    left_over = select(func.count()).where(found.not_in(select(turns)))
    if count := connection.execute(missing).scalar_one():
        yield f"{count} turns are not found by it"
    if count := connection.execute(left_over).scalar_one():
        yield f"it finds {count} turns that are gone"


def _json(connection: Connection) -> _Problems:
    for each in _JSON:
        if not _has(connection, each.table.name):
            continue
        wrong = each.is_not(None) & not_(func.json_valid(each))
        yield from _bad_rows(connection, each.table, each.name, wrong)


def _snapshots(connection: Connection) -> _Problems:
    if not _has(connection, cluster_snapshots.name):
        return
    raw = type_coerce(cluster_snapshots.c.snapshot, Integer())
    # One by one: each may have megabytes.
    for number, content, size in connection.execute(
        select(cluster_snapshots.c.id, raw, cluster_snapshots.c.size_bytes)
    ):
        try:
            body = zlib.decompress(content)
            if len(body) != size or not isinstance(from_json(body), dict):
                yield f"cluster_snapshots: row {number}: not the snapshot that was recorded"
        except (zlib.error, ValueError, TypeError):
            yield f"cluster_snapshots: row {number}: cannot be read"


def _times(connection: Connection) -> _Problems:
    for each in (*_RECORDED, preferences):
        if not _has(connection, each.name):
            continue
        for moment in each.c:
            if isinstance(moment.type, Instant):
                raw = type_coerce(moment, Integer())
                wrong = or_(func.typeof(raw) != "integer", not_(raw.between(EARLIEST, LATEST)))
                yield from _bad_rows(connection, each, moment.name, moment.is_not(None) & wrong)


def _bad_rows(
    connection: Connection, of: Table, name: str, wrong: ColumnElement[bool]
) -> _Problems:
    key = next(iter(of.primary_key))
    found = select(func.count(), func.min(key)).select_from(of).where(wrong)
    count, first = tuple(connection.execute(found).one())
    if count:
        rows = "1 row" if count == 1 else f"{count} rows"
        yield f"{of.name}.{name}: {rows}, the first {first}"


def _has(connection: Connection, name: str) -> bool:
    return inspect(connection).has_table(name)


_CHECKS: Final[Mapping[str, _Checking]] = {
    "structure": _Checking("every page and every index entry", _structure),
    "schema": _Checking("a revision this version knows, all its tables", _schema),
    "keys": _Checking("nothing points to what is not there", _foreign_keys),
    "search": _Checking("the index of words is in step with the turns", _search),
    "json": _Checking("details, tool calls, unknown fields are JSON", _json),
    "snapshots": _Checking("each unpacks to the size it was recorded with", _snapshots),
    "times": _Checking("within the years 1 to 9999", _times),
}
COPIED: Final = ("structure", "schema", "keys", "search")
"""The checks of a copy; its values are copied as they are."""
RESTORABLE: Final = ("structure", "schema")
"""The checks a backup must pass to be restored: enough when there is nothing better."""
