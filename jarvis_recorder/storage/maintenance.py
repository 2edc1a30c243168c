"""Looking after a database file while no recorder, or while one, has it open."""

from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import text

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.storage import schema, sqlite
from jarvis_recorder.storage.writer import open_writer

_MAX_PROBLEMS: Final = 20


class State(NamedTuple):
    """What a database file is; `revision` is None where it holds no tables yet."""

    revision: str | None
    size_bytes: int


async def upgrade(path: Path) -> str | None:
    """
    Make or migrate the file, which no recorder may hold, and return the revision it had.

    Raises:
        AnotherRecorder: Another process holds it.
        ConfigurationError: It is no database of the recorder's, or a newer one.
        StorageUnavailable: It is locked, or there is no room for the copy.
    """
    with sqlite.readable_errors(path):
        path = sqlite.create_file(path)
    with sqlite.locked(path):
        async with open_writer(path) as writer:
            return await schema.upgrade(writer, path)


def state(path: Path) -> State:
    """
    Return what the file is, without changing it.

    Raises:
        ConfigurationError: It is no database of the recorder's.
        StorageUnavailable: There is no such file, or it cannot be read.
    """
    _require(path)
    with sqlite.reading(path) as connection:
        revision = schema.current_revision(connection)
    return State(revision, _size(path))


def problems(path: Path) -> list[str]:
    """
    Return what is wrong with the file, nothing if it is sound and at the newest revision.

    Reads the whole file in one transaction; a recorder may go on meanwhile.

    Raises:
        ConfigurationError: It is no database of the recorder's, or a newer one.
        StorageUnavailable: There is no such file, or it cannot be read.
        StorageDamaged: It is so broken that it cannot be read at all.
    """
    _require(path)
    with sqlite.reading(path) as connection:
        check = text(f"PRAGMA integrity_check({_MAX_PROBLEMS})")
        lines = [str(line) for line in connection.execute(check).scalars()]
        revision = schema.current_revision(connection)
    found = [] if lines == ["ok"] else lines
    if schema.judge(revision) is not schema.Found.CURRENT:
        found.append(
            f"the schema is at revision {revision or 'none'}, not {schema.HEAD}: "
            "run `jarvis-recorder db upgrade`"
        )
    return found


def _size(path: Path) -> int:
    return path.stat().st_size


def _require(path: Path) -> None:
    with sqlite.readable_errors(path):
        is_there = path.is_file()
    if not is_there:
        raise StorageUnavailable(
            f"{path}: no such database: `jarvis-recorder run` or `jarvis-recorder db upgrade` "
            "makes it; store.url names another"
        )
