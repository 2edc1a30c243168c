"""A backup is whole and verified, or it is not there."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from jarvis_recorder.errors import ConfigurationError, NoCopy, NoRoom, StorageUnavailable
from jarvis_recorder.storage.sqlite import damage, files
from jarvis_recorder.storage.sqlite.admin import backup as backups
from jarvis_recorder.storage.sqlite.admin.backup import backup
from tests.support.files import add, ids, leave_log, make, nothing


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return make(tmp_path / "state" / "recorder.db", 100)


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_backup_is_one_file_for_its_owner_that_holds_everything(database, to):
    leave_log(database, 5, first=100)

    made = backup(database, to, None, nothing)

    assert names(to) == [made.path.name]
    assert backups._NAME.fullmatch(made.path.name)
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert to.stat().st_mode & 0o777 == 0o700
    assert ids(made.path) == {f"m{number}" for number in range(105)}
    assert made.rows["events"] == 105
    assert names(to) == [made.path.name], "reading it leaves nothing beside it"


def test_a_backup_is_one_snapshot_whatever_is_written_meanwhile(database, to):
    add(database, 60_000, first=100)
    written = []

    def write(doing: str, done: int, total: int) -> None:
        if doing == "copying":
            add(database, 10, first=100_000 + 10 * len(written))
            written.append(done)

    made = backup(database, to, None, write)

    assert len(written) > 1, "it was copied in several steps"
    assert ids(made.path) == {f"m{number}" for number in range(60_100)}


def test_a_backup_never_empties_the_write_ahead_log(database, to):
    """Only the recorder's own connection may: SQLite before 3.51.3 has a bug there."""
    leave_log(database, 5, first=100)
    before = files.companions(database)[0].read_bytes()

    backup(database, to, None, nothing)

    assert files.companions(database)[0].read_bytes() == before


def test_the_oldest_beyond_the_number_kept_are_removed(database, to):
    made = [backup(database, to, 2, nothing) for _ in range(4)]

    assert names(to) == [each.path.name for each in made[2:]]
    assert made[3].removed == [made[1].path]


def test_until_a_quarantine_is_acknowledged_no_backup_is_removed(database, to):
    """The older ones have the history of the database that was damaged."""
    before = [backup(database, to, None, nothing).path for _ in range(2)]
    quarantine = database.with_name("recorder.db.quarantine-20261123T000000.000000Z")
    quarantine.mkdir()

    made = backup(database, to, 1, nothing)

    assert (made.removed, made.quarantine) == ([], quarantine)
    assert names(to) == [each.name for each in (*before, made.path)]

    damage.acknowledge(database)
    last = backup(database, to, 1, nothing)

    assert last.quarantine is None
    assert names(to) == [last.path.name]


def test_the_quarantine_of_a_database_that_a_link_names_is_found(database, to, tmp_path):
    quarantine = database.with_name("recorder.db.quarantine-20261123T000000.000000Z")
    quarantine.mkdir()
    link = tmp_path / "link.db"
    link.symlink_to(database)

    assert backup(link, to, 1, nothing).quarantine == quarantine


def test_what_is_not_a_backup_is_never_removed(database, to):
    to.mkdir()
    others = ["recorder.db", "recorder-2020.db", "recorder-20200101T000000.000000Z.db.gz", "notes"]
    for name in others:
        (to / name).write_text("mine")
    link = to / "recorder-20200101T000000.000000Z.db"
    link.symlink_to(to / "notes")

    made = [backup(database, to, 1, nothing) for _ in range(2)]

    assert names(to) == sorted([*others, link.name, made[1].path.name])


def test_a_clock_set_back_does_not_cost_the_new_backup(database, to):
    to.mkdir()
    ahead = to / "recorder-29991231T235959.000000Z.db"
    shutil.copy(database, ahead)

    made = backup(database, to, 1, nothing)

    assert names(to) == [made.path.name]


def test_backups_of_a_clock_ahead_cost_none_that_is_newer(database, to):
    """A file that the clock has dated ahead is removed before any other."""
    to.mkdir()
    ahead = [to / f"recorder-2999010{number}T000000.000000Z.db" for number in (1, 2)]
    no_day = to / "recorder-99999999T999999.999999Z.db"
    for path in (*ahead, no_day):
        path.touch()

    made = [backup(database, to, 4, nothing).path for _ in range(3)]

    assert {*to.iterdir()} == {*made, no_day}


def test_a_copy_that_is_not_sound_is_no_backup_and_removes_none(database, to):
    kept = backup(database, to, 1, nothing)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'events'")

    with pytest.raises(NoCopy, match="not sound, and is no backup"):
        backup(database, to, 1, nothing)

    assert names(to) == [kept.path.name]
    assert len(ids(kept.path)) == 100


def test_without_room_nothing_is_left_behind(database, to, monkeypatch):
    usage = shutil._ntuple_diskusage(total=1, used=1, free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    with pytest.raises(NoRoom, match="10 are free"):
        backup(database, to, None, nothing)

    assert names(to) == []


def test_what_a_killed_backup_has_left_is_removed_by_the_next(database, to):
    to.mkdir()
    (to / ".recorder-20200101T000000.000000Z.db.unfinished").write_text("half")

    made = backup(database, to, None, nothing)

    assert names(to) == [made.path.name]


def test_two_backups_into_one_directory_do_not_meet(database, to):
    def again(doing: str, _: int, __: int) -> None:
        if doing == "copying":
            with pytest.raises(NoCopy, match="another backup is being made here"):
                backup(database, to, None, nothing)

    backup(database, to, None, again)

    assert len(names(to)) == 1


def test_an_interrupted_backup_leaves_nothing(database, to):
    def interrupt(doing: str, _: int, __: int) -> None:
        if doing.startswith("checking"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup(database, to, None, interrupt)

    assert names(to) == []


def test_a_directory_that_cannot_be_made_is_a_clear_error(database, tmp_path):
    with pytest.raises(ConfigurationError, match="name a directory"):
        backup(database, tmp_path / "no" / "such", None, nothing)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="File exists"):
        backup(database, tmp_path / "file", None, nothing)


def test_a_database_that_is_not_there_makes_no_directory(tmp_path, to):
    with pytest.raises(StorageUnavailable, match="no such database"):
        backup(tmp_path / "none.db", to, None, nothing)

    assert not to.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_disk_that_fills_up_meanwhile_is_a_clear_error(database, to, monkeypatch):
    import subprocess

    to.mkdir()
    add(database, 20_000, first=100)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", to], check=True)
    monkeypatch.setattr(files, "require_room", lambda *_: None)
    try:
        with pytest.raises(NoRoom, match="no room for a copy"):
            backup(database, to, None, nothing)
        assert names(to) == []
    finally:
        subprocess.run(["umount", "--lazy", to], check=True)
