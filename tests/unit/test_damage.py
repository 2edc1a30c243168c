"""A damaged file is found before anything is recorded into it, and kept as it is."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jarvis_recorder.errors import AnotherRecorder, ConfigurationError, StorageDamaged, StorageMoved
from jarvis_recorder.storage.sqlite import damage, files
from jarvis_recorder.storage.sqlite.admin.backup import backup
from jarvis_recorder.storage.sqlite.admin.restore import restore
from jarvis_recorder.storage.sqlite.lock import locked
from jarvis_recorder.storage.sqlite.store import open_store
from tests.support.files import (
    PAGE,
    ids,
    leave_log,
    make,
    nothing,
    overwrite,
    overwrite_pages,
)
from tests.support.strangers import as_stranger

FRAME = 24 + PAGE


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return make(tmp_path / "state" / "recorder.db", 2_000)


def start(path: Path, failure: Exception | None = None) -> Path | None:
    """Open the store as a recorder does, have it fail, and return what is in quarantine."""

    async def opened() -> Path | None:
        async with open_store(path, lambda: 0) as store:
            if failure is not None:
                raise failure
            return damage.quarantined(store.path)

    return asyncio.run(opened())


def garbage_header(path: Path) -> None:
    overwrite(path, 0, 100)


def garbage_schema(path: Path) -> None:
    overwrite(path, 100, PAGE - 100)


def garbage_pages(path: Path) -> None:
    overwrite_pages(path, 20)


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def damaged_log(path: Path) -> None:
    """One byte in the second of many commits: SQLite forgets all from there on, silently."""
    leave_log(path, 50, first=2_000)
    overwrite(files.companions(path)[0], 32 + 5 * FRAME + 100, 1)


def damaged_log_header(path: Path) -> None:
    leave_log(path, 50, first=2_000)
    overwrite(files.companions(path)[0], 8, 4)


DAMAGES = [
    garbage_header,
    garbage_schema,
    garbage_pages,
    truncated,
    damaged_log,
    damaged_log_header,
]


@pytest.mark.parametrize("damaging", DAMAGES)
def test_a_damaged_file_is_found_at_every_start_and_not_touched(database, damaging):
    damaging(database)
    before = database.read_bytes()
    log = files.companions(database)[0]
    log_before = log.read_bytes() if log.exists() else b""

    for _ in range(2):
        with pytest.raises(StorageDamaged, match=r"db restore.*on_corruption=quarantine"):
            start(database)

    assert database.read_bytes() == before
    assert (log.read_bytes() if log.exists() else b"") == log_before


@pytest.mark.parametrize("damaging", DAMAGES)
def test_a_damaged_file_is_moved_aside_whole_and_a_new_one_begun(database, damaging):
    damaging(database)
    before = database.read_bytes()
    log = files.companions(database)[0]
    log_before = log.read_bytes() if log.exists() else b""
    with pytest.raises(StorageDamaged) as found:
        start(database)

    quarantine = damage.set_aside(database, found.value)

    assert (quarantine / database.name).read_bytes() == before
    if log_before:
        assert (quarantine / log.name).read_bytes() == log_before
    assert quarantine.name.startswith("recorder.db.quarantine-2")
    assert start(database) == quarantine
    assert ids(database) == set()


def test_a_quarantine_is_red_until_somebody_has_looked(database):
    garbage_header(database)
    with pytest.raises(StorageDamaged) as found:
        start(database)
    quarantine = damage.set_aside(database, found.value)
    assert start(database) == quarantine
    assert start(database) == quarantine, "after every restart"

    assert damage.acknowledge(database) == [quarantine]

    assert start(database) is None
    assert (quarantine / database.name).exists(), "nothing is removed"
    assert damage.acknowledge(database) == []


def test_a_second_damage_before_anyone_has_looked_stops(database):
    for _ in range(2):
        garbage_header(database)
        with pytest.raises(StorageDamaged) as found:
            start(database)
        if not damage.quarantined(database):
            damage.set_aside(database, found.value)
            start(database)

    with pytest.raises(StorageDamaged, match=r"before anyone has looked.*db acknowledge"):
        damage.set_aside(database, found.value)
    assert database.exists()


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_quarantine_that_was_interrupted_is_finished(database, monkeypatch, moved):
    """The database goes last: a new one must not be begun beside the old one's log."""
    leave_log(database, 5, first=2_000)
    garbage_header(database)
    overwrite(files.companions(database)[0], 0, 32)
    with pytest.raises(StorageDamaged) as found:
        start(database)
    rename = Path.rename
    left = iter(range(moved))

    def killed(path: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            damage.set_aside(database, found.value)

    with pytest.raises(StorageDamaged) as again:
        start(database)
    quarantine = damage.set_aside(database, again.value)

    assert {path.name for path in quarantine.iterdir()} >= {"recorder.db", "recorder.db-wal"}
    assert start(database) == quarantine


def test_damage_found_while_running_is_known_to_the_next_start(database):
    """Else a supervisor would start it again and again, and the broker count every delivery."""
    with pytest.raises(StorageDamaged, match="a bad page"):
        start(database, StorageDamaged("a bad page"))

    with pytest.raises(StorageDamaged, match=r"a bad page \(found at 2\d{7}T.*db acknowledge"):
        start(database)

    assert damage.acknowledge(database) == [database]
    assert start(database) is None


def test_a_file_put_in_its_place_is_not_the_damaged_one(database, tmp_path):
    saved = backup(database, tmp_path / "backups", None, nothing).path
    other = tmp_path / "other.db"
    shutil.copy(saved, other)
    garbage_header(database)
    with pytest.raises(StorageDamaged):
        start(database)

    other.replace(database)
    assert start(database) is None

    garbage_header(database)
    with pytest.raises(StorageDamaged):
        start(database)
    restore(database, saved, nothing)
    assert start(database) is None


def test_a_file_that_was_moved_while_recorded_into_is_not_quarantined(database):
    with pytest.raises(StorageMoved) as found:
        start(database, StorageMoved("moved"))

    with pytest.raises(StorageMoved):
        damage.set_aside(database, found.value)
    assert start(database) is None


def test_the_files_of_a_running_recorder_stay_where_they_are(database):
    with locked(database), pytest.raises(AnotherRecorder):
        damage.set_aside(database, StorageDamaged("a bad page"))


def test_a_log_that_was_not_closed_is_no_damage(database):
    leave_log(database, 50, first=2_000)

    assert start(database) is None

    assert len(ids(database)) == 2_050


@pytest.mark.parametrize("left", [100, FRAME + 50])
def test_what_a_power_cut_leaves_of_the_last_commit_is_no_damage(database, left):
    """Its sync never returned, so it was not acknowledged, and comes again from the broker."""
    leave_log(database, 50, first=2_000)
    log = files.companions(database)[0]
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - left)

    assert start(database) is None

    assert len(ids(database)) == 2_049


def test_a_last_commit_of_which_only_a_part_reached_the_disk_is_no_damage(database):
    leave_log(database, 50, first=2_000)
    log = files.companions(database)[0]
    overwrite(log, log.stat().st_size - 2 * FRAME + 100, 1)

    assert start(database) is None


def test_what_an_older_log_has_left_behind_is_no_damage(database):
    """A log begins anew at its front, over frames that were checkpointed long ago."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM events").fetchone()
        other.execute("ROLLBACK")
        with closing(sqlite3.connect(database, isolation_level=None)) as writer:
            for summary in "abcdefghij":
                writer.execute("UPDATE events SET summary = ? WHERE id = 1", (summary,))
            writer.execute("PRAGMA wal_checkpoint(RESTART)")
            writer.execute("UPDATE events SET summary = 'new' WHERE id = 1")
        copy = database.with_name("copy.db")
        shutil.copy(database, copy)
        shutil.copy(files.companions(database)[0], files.companions(copy)[0])

    assert files.companions(copy)[0].stat().st_size > 10 * FRAME
    assert start(copy) is None


def test_a_large_file_is_looked_at_for_a_bounded_time(database, monkeypatch):
    monkeypatch.setattr(damage, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(damage, "_LOOK_EVERY_OPERATIONS", 1)

    damage.look(database)


def test_looking_keeps_its_own_snapshot(tmp_path, monkeypatch):
    """Closing a file drops every lock of the process on it, those of SQLite's readers too."""
    path = tmp_path / "recorder.db"
    killed = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('PRAGMA journal_mode = WAL'); db.execute('CREATE TABLE t (a)');"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", killed, path], check=True)
    checkpoint = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=0);"
        "print(db.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()[0])"
    )
    busy = []

    def meanwhile(_):
        ran = subprocess.run(
            [sys.executable, "-c", checkpoint, path], check=True, capture_output=True, text=True
        )
        busy.append(ran.stdout)
        return []

    monkeypatch.setattr(damage, "_quick_check", meanwhile)
    damage.look(path)

    assert busy == ["1\n"]


def test_a_user_who_may_not_acknowledge_is_told_so(reachable):
    path = make(reachable / "state" / "recorder.db", 1)
    path.parent.chmod(0o700)

    with pytest.raises(ConfigurationError, match="Permission denied"):
        as_stranger(damage.acknowledge, path)
