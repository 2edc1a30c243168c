"""Which files are opened, how, and which are left alone."""

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from jarvis_recorder.errors import AnotherRecorder, ConfigurationError, StorageUnavailable
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite import connections, errors, files, upgrade
from jarvis_recorder.storage.sqlite.admin.integrity import verify
from jarvis_recorder.storage.sqlite.connections import open_to_write, page_counts, reading
from jarvis_recorder.storage.sqlite.lock import create_file, locked
from jarvis_recorder.storage.sqlite.store import open_store
from jarvis_recorder.storage.sqlite.writer import open_writer
from jarvis_recorder.storage.tables import metadata
from tests.support.disks import fill_up, mounted
from tests.support.files import leave_log, nothing

ORIGINAL = Path(__file__).parents[1] / "samples" / "origin-2026-01.db"


async def make(path: Path) -> None:
    async with open_store(path, lambda: 0):
        pass


async def test_a_new_database_is_for_its_owner_only(tmp_path):
    path = tmp_path / "state" / "recorder.db"

    await make(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def _is_described(name, kind, _):
    """Return whether SQLAlchemy can describe it: FTS5 keeps its words in tables of its own."""
    return not (kind == "table" and name.startswith("conversations_fts"))


async def test_the_migrations_build_exactly_the_tables(tmp_path):
    path = tmp_path / "recorder.db"
    await make(path)

    with reading(path) as connection:
        differences = compare_metadata(
            MigrationContext.configure(connection, opts={"include_name": _is_described}), metadata
        )

    assert differences == []


def test_the_head_named_in_the_code_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(Path(revisions.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)

    assert script.get_heads() == [revisions.HEAD]
    assert {revision.revision for revision in script.walk_revisions()} == set(revisions.REVISIONS)


async def test_a_second_recorder_is_refused(tmp_path):
    path = tmp_path / "recorder.db"
    async with open_store(path, lambda: 0):
        with pytest.raises(AnotherRecorder, match=r"recorder\.db is held by .*process \d+ since"):
            await make(path)


async def test_a_newer_database_is_left_alone(tmp_path):
    path = tmp_path / "recorder.db"
    await make(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(ConfigurationError, match="revision 9999, which this version does not know"):
        await make(path)


async def test_a_database_of_the_original_system_is_left_alone(tmp_path):
    path = tmp_path / "jarvis.db"
    shutil.copy(ORIGINAL, path)
    tables = "SELECT sql FROM sqlite_master ORDER BY name"
    with closing(sqlite3.connect(path)) as connection:
        before = connection.execute(tables).fetchall()

    with pytest.raises(ConfigurationError, match="jarvis-recorder import"):
        await make(path)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(tables).fetchall() == before


async def test_a_database_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")

    with pytest.raises(ConfigurationError, match="other tables"):
        await make(path)


async def test_a_file_that_is_no_database_is_a_clear_error(tmp_path):
    path = tmp_path / "recorder.db"
    path.write_bytes(b"this is not a database, but long enough to look like one" * 20)

    with pytest.raises(Exception, match="SQLITE_NOTADB"):
        await make(path)


async def make_older(path: Path) -> None:
    """Make a database as the first version did, with a turn in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revisions, "HEAD", "0001")
        async with open_writer(create_file(path)) as writer:
            await upgrade.upgrade(writer, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO conversations (session_id, timestamp, stamped, role, content,"
            " recorded_at) VALUES ('s', 0, 0, 'user', 'where is the old penguin?', 0)"
        )


async def test_what_was_recorded_before_the_search_is_found_by_it(tmp_path):
    path = tmp_path / "recorder.db"
    await make_older(path)

    await make(path)

    with closing(sqlite3.connect(path)) as connection:
        found = "SELECT rowid FROM conversations_fts WHERE conversations_fts MATCH 'penguin'"
        assert connection.execute(found).fetchall() == [(1,)]


async def make_old_search(path: Path) -> None:
    """Make a database as it was before the search knew every script, with three turns in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revisions, "HEAD", "0003")
        async with open_writer(create_file(path)) as writer:
            await upgrade.upgrade(writer, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO conversations (session_id, timestamp, stamped, role, content,"
            " recorded_at) VALUES ('s', 0, 0, 'user', ?, 0)",
            [("a penguin",), ("服务器过热了",), ("Der Pinguin fröstelt",)],
        )


async def test_what_was_recorded_before_is_found_in_every_script(tmp_path):
    path = tmp_path / "recorder.db"
    await make_old_search(path)

    await make(path)

    with closing(sqlite3.connect(path)) as connection:
        found = "SELECT rowid FROM conversations_fts WHERE conversations_fts MATCH ?"
        for words, number in (("penguin", 1), ('"过 热"', 2), ("frostelt", 3)):
            assert connection.execute(found, (words,)).fetchall() == [(number,)]


@pytest.mark.long
async def test_the_search_is_made_of_large_turns_in_little_memory(tmp_path):
    path = tmp_path / "recorder.db"
    await make_old_search(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO conversations (session_id, timestamp, stamped, role, content,"
            " recorded_at) VALUES ('s', ?, 0, 'user', ?, 0)",
            ((number, "ü" + f"{number:>99}" * 10_000) for number in range(1, 41)),
        )

    tracemalloc.start()
    try:
        await make(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 20_000_000


_UPGRADE_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from jarvis_recorder.storage.sqlite import search
from jarvis_recorder.storage.sqlite.admin.vacuum import make_or_upgrade

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

search.to_json = die
asyncio.run(make_or_upgrade(Path(sys.argv[1])))
"""


async def test_an_upgrade_that_is_killed_midway_is_made_whole_at_the_next_start(tmp_path):
    path = tmp_path / "recorder.db"
    await make_old_search(path)

    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _UPGRADE_AND_DIE, str(path), stdout=asyncio.subprocess.DEVNULL
    )
    assert await killed.wait() == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection:
        version = "SELECT version_num FROM alembic_version"
        assert connection.execute(version).fetchone() == ("0003",)
    await make(path)

    assert [check.problems for check in verify(path, nothing) if check.problems] == []


async def test_the_database_is_copied_before_an_upgrade(tmp_path):
    path = tmp_path / "recorder.db"
    await make_older(path)

    await make(path)

    copy = tmp_path / f"recorder.db.before-{revisions.HEAD}"
    assert copy.stat().st_mode & 0o777 == 0o600
    version = "SELECT version_num FROM alembic_version"
    with closing(sqlite3.connect(copy)) as kept, closing(sqlite3.connect(path)) as upgraded:
        assert kept.execute(version).fetchone() == ("0001",)
        assert upgraded.execute(version).fetchone() == (revisions.HEAD,)


async def test_no_upgrade_begins_without_room_for_the_copy(tmp_path, monkeypatch):
    path = tmp_path / "recorder.db"
    await make_older(path)
    usage = shutil._ntuple_diskusage(total=1, used=1, free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    with pytest.raises(StorageUnavailable, match="make room"):
        await make(path)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)


async def test_what_an_interrupted_upgrade_has_left_does_not_prevent_the_next(
    tmp_path, monkeypatch
):
    """Its copy, and the log of its transaction, take the room that the next one needs."""
    path = tmp_path / "recorder.db"
    await make_older(path)
    leave_log(path, events=200, first=0)
    with reading(path) as connection:
        room = page_counts(connection)
    size = room.pages * room.page_size
    path.with_name(f"recorder.db.before-{revisions.HEAD}").write_bytes(b"\0" * size)
    # Database, copy and changes fit, but neither a second copy nor the log.
    disk = size * 7 // 2
    assert path.with_name("recorder.db-wal").stat().st_size > size

    def usage(directory):
        used = sum(file.stat().st_size for file in directory.iterdir())
        return shutil._ntuple_diskusage(total=disk, used=used, free=max(0, disk - used))

    monkeypatch.setattr(shutil, "disk_usage", usage)

    await make(path)

    with closing(sqlite3.connect(path)) as connection:
        version = "SELECT version_num FROM alembic_version"
        assert connection.execute(version).fetchone() == (revisions.HEAD,)
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (200,)


async def test_of_the_copies_only_that_of_the_last_upgrade_stays(tmp_path):
    path = tmp_path / "recorder.db"
    await make_older(path)
    older = [tmp_path / f"{name}.before-0008" for name in ("recorder.db", "other.db")]
    for copy in older:
        copy.write_bytes(b"a copy")

    await make(path)

    assert [copy.exists() for copy in older] == [False, True]
    assert (tmp_path / f"recorder.db.before-{revisions.HEAD}").exists()


async def test_a_connection_whose_first_use_fails_still_ends_its_thread(tmp_path, monkeypatch):
    """Or the process would not end either."""
    before = set(threading.enumerate())

    def fail(_):
        raise ImportError("no such dialect")

    monkeypatch.setattr(connections, "_writing_engine", fail)
    connection = await open_to_write(create_file(tmp_path / "recorder.db"))
    with pytest.raises(ImportError):
        await connection.run(lambda _: None)
    await connection.close()

    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


def test_a_file_that_cannot_be_opened_leaves_no_thread_behind(tmp_path):
    """It would speak to an event loop that has ended, beneath the error."""
    for _ in range(20):
        with pytest.raises(StorageUnavailable):
            asyncio.run(refused(tmp_path / "none.db"))

        assert not [one for one in threading.enumerate() if "connection_worker" in one.name]


async def refused(path):
    with errors.translated_errors(path):
        await open_to_write(path)


async def test_a_disk_that_is_read_only_is_tried_again(tmp_path):
    """As after an error of the disk; 78 would tell systemd that no other start helps."""
    with mounted(tmp_path / "disk", 4) as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

        with pytest.raises(StorageUnavailable, match="Read-only file system"):
            async with open_store(disk / "recorder.db", lambda: 0):
                pass


async def test_on_a_full_disk_the_lock_is_held_all_the_same(tmp_path):
    """`db prune`, which makes room, needs it."""
    with mounted(tmp_path / "disk", 4) as disk:
        path = disk / "recorder.db"
        await make(path)
        files.sibling(path, ".lock").unlink(missing_ok=True)
        fill_up(disk)

        with locked(path), pytest.raises(AnotherRecorder), locked(path):
            pass


async def test_a_place_that_cannot_be_used_is_a_mistake_of_the_settings(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"store\.url"):
        async with open_store(tmp_path / "file" / "recorder.db", lambda: 0):
            pass
