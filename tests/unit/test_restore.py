"""A restore puts a whole database in place, or leaves the one before it there."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from jarvis_recorder.errors import (
    AnotherRecorder,
    ConfigurationError,
    StorageDamaged,
    StorageUnavailable,
)
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite import files, upgrade
from jarvis_recorder.storage.sqlite.admin.backup import backup
from jarvis_recorder.storage.sqlite.admin.restore import restore
from jarvis_recorder.storage.sqlite.lock import create_file, locked
from jarvis_recorder.storage.sqlite.writer import open_writer
from tests.support.files import ids, leave_log, make, nothing, overwrite, overwrite_pages


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database of 20 events, of which 10 are in its write-ahead log."""
    path = make(tmp_path / "state" / "recorder.db", 10)
    leave_log(path, 10, first=10)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A backup with other events."""
    other = make(tmp_path / "other.db", 7, first=1_000)
    return backup(other, tmp_path / "backups", None, nothing).path


OLD = {f"m{number}" for number in range(20)}
NEW = {f"m{number}" for number in range(1_000, 1_007)}


def test_the_backup_is_in_place_and_the_old_database_is_kept(database, saved):
    restored = restore(database, saved, nothing)

    assert ids(database) == NEW
    assert restored.kept is not None
    assert restored.kept.name.startswith("recorder.db.replaced-")
    assert ids(restored.kept) == OLD
    assert ids(saved) == NEW, "the backup stays"
    assert database.stat().st_mode & 0o777 == 0o600
    assert not files.sibling(database, ".restoring").exists()


def test_a_lost_database_is_restored_into_a_new_directory(tmp_path, saved):
    path = tmp_path / "new" / "state" / "recorder.db"

    assert restore(path, saved, nothing).kept is None

    assert ids(path) == NEW


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts for another user")
def test_what_root_restores_belongs_to_the_recorder(reachable, saved):
    path = reachable / "state" / "recorder.db"
    path.parent.mkdir()
    os.chown(path.parent, 4711, 4712)

    restore(path, saved, nothing)

    for file in (path, path.with_name("recorder.db.lock")):
        assert (file.stat().st_uid, file.stat().st_gid) == (4711, 4712)


def test_a_damaged_database_is_replaced_and_kept_with_its_log(database, saved):
    log = files.companions(database)[0].read_bytes()
    overwrite(database, 0, 100)
    overwrite(files.companions(database)[0], 0, 32)
    damaged = database.read_bytes()

    kept = restore(database, saved, nothing).kept

    assert ids(database) == NEW
    assert kept.read_bytes() == damaged
    assert files.companions(kept)[0].read_bytes()[32:] == log[32:]


def test_a_recorder_that_runs_is_not_robbed_of_its_database(database, saved):
    with locked(database), pytest.raises(AnotherRecorder):
        restore(database, saved, nothing)


@pytest.mark.long
def test_a_program_that_reads_the_database_is_named_as_the_obstacle(database, saved):
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM events").fetchone()
        with pytest.raises(StorageUnavailable, match="another program has the database open"):
            restore(database, saved, nothing)

    assert ids(database) == OLD
    assert not list(database.parent.glob("*.re*"))


def test_a_backup_that_is_damaged_is_refused(database, saved):
    overwrite_pages(saved, 4)

    with pytest.raises(StorageDamaged, match=saved.name):
        restore(database, saved, nothing)

    assert ids(database) == OLD


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "install that one"),
        ("ALTER TABLE alembic_version RENAME TO bookmarks", "belongs to the original system"),
        ("DELETE FROM alembic_version", "holds no tables"),
    ],
)
def test_a_backup_that_is_not_for_this_version_is_refused(database, saved, statement, message):
    with closing(sqlite3.connect(saved)) as connection, connection:
        connection.execute(statement)

    with pytest.raises(ConfigurationError, match=message):
        restore(database, saved, nothing)

    assert ids(database) == OLD


def test_the_database_itself_is_no_backup(database):
    with pytest.raises(ConfigurationError, match="is the database itself"):
        restore(database, database, nothing)
    with pytest.raises(StorageUnavailable, match="no such database"):
        restore(database, database.with_name("none.db"), nothing)


def test_what_an_interrupted_restore_left_is_neither_overwritten_nor_lost(database, saved):
    left = saved.rename(files.sibling(database, ".restoring"))
    link = database.with_name("link.db")
    link.symlink_to(left)

    for named in (left, link):
        with pytest.raises(ConfigurationError, match="move it to another name"):
            restore(database, named, nothing)

    assert ids(left) == NEW
    assert ids(database) == OLD
    restore(database, left.rename(database.with_name("mine.db")), nothing)
    assert ids(database) == NEW


def test_a_backup_of_an_older_schema_is_brought_to_the_newest(database, tmp_path):
    older = tmp_path / "older.db"

    async def make_older() -> None:
        async with open_writer(create_file(older)) as writer:
            await upgrade.upgrade(writer, older)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revisions, "HEAD", "0001")
        asyncio.run(make_older())

    restored = restore(database, older, nothing)

    assert restored.revision == "0001"
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert found == (revisions.HEAD,)
    assert sorted(path.name for path in database.parent.iterdir()) == [
        "recorder.db",
        "recorder.db.lock",
        restored.kept.name,
    ]


_KILLED_AT = """
import os, sqlite3, sys
from pathlib import Path
from jarvis_recorder.storage.sqlite.admin.restore import restore

left = int(sys.argv[3])

def counted(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return function(*arguments, **options)
    return call

for name in ("open", "fsync", "fdatasync", "link", "rename", "unlink"):
    setattr(os, name, counted(getattr(os, name)))
restore(Path(sys.argv[1]), Path(sys.argv[2]), lambda *_: None)
"""


@pytest.mark.slow
def test_killed_at_any_time_the_old_or_the_new_database_is_there(tmp_path, saved):
    """The process dies before each call in turn that changes a file or waits for the disk."""
    outcomes = []
    for at in range(100):
        path = make(tmp_path / str(at) / "recorder.db", 10)
        leave_log(path, 10, first=10)
        command = [sys.executable, "-c", _KILLED_AT, path, saved, str(at)]
        ended = subprocess.run(command, check=False).returncode
        found = ids(path)
        assert found in (OLD, NEW)
        outcomes.append(found == NEW)
        # Whatever was left in between is not in the way of the next one.
        restore(path, saved, nothing)
        assert ids(path) == NEW
        assert OLD in [ids(kept) for kept in path.parent.glob("*.replaced-*Z")]
        if ended == 0:
            break

    assert len(outcomes) > 8
    assert outcomes == sorted(outcomes), "from one moment on it is the new one"
    assert not outcomes[0]
    assert outcomes[-1]
