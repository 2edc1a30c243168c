"""The commands around the database file: what they print, and what they end with."""

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from jarvis_recorder import cli
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite.admin.backup import newest_backup
from tests.support.files import ids, make, overwrite


class Shell:
    """`jarvis-recorder db …` within this process on one database."""

    def __init__(self, database: Path, monkeypatch, capsys) -> None:
        self.database = database
        self._patch = monkeypatch
        self._captured = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        words = ["db", *map(str, arguments), f"--set=store.url=sqlite:///{self.database}"]
        self._patch.setattr(sys, "argv", ["jarvis-recorder", *words])
        self._captured.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code or 0, *self._captured.readouterr())

    def json(self, *arguments: object) -> dict:
        return json.loads(self(*arguments, "--json")[1])


@pytest.fixture
def db(tmp_path, monkeypatch, capsys) -> Shell:
    for name in os.environ:
        if name.startswith("JARVIS_RECORDER"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    # What it set up would outlive the output that this test captures.
    monkeypatch.setattr("jarvis_recorder.runtime.logging.configure", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "80")
    return Shell(make(tmp_path / "state" / "recorder.db", 10), monkeypatch, capsys)


def test_a_backup_is_made_and_restored(db, tmp_path):
    to = tmp_path / "backups"
    code, out, err = db("backup", "--to", to)
    assert (code, err) == (0, "")
    (first,) = to.iterdir()
    assert out.startswith(f"{first}: ")
    assert "10 rows, verified" in out

    made = db.json("backup", "--to", to, "--keep", 1)
    assert made["removed"] == [str(first)]
    assert made["rows"]["events"] == 10

    code, out, err = db("restore", made["path"])
    (kept,) = db.database.parent.glob("*.replaced-*Z")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{db.database}: restored from {made['path']}",
        f"{kept}: the database before; delete it when you no longer need it",
    ]
    assert ids(db.database) == ids(kept)

    assert db.json("restore", made["path"])["revision"] == revisions.HEAD


def test_a_backup_says_that_a_quarantine_keeps_the_older_ones(db, tmp_path):
    quarantine = db.database.with_name("recorder.db.quarantine-20261123T000000.000000Z")
    quarantine.mkdir()
    to = tmp_path / "backups"

    made = db.json("backup", "--to", to, "--keep", 1)
    code, out, err = db("backup", "--to", to, "--keep", 1)

    assert (made["removed"], made["quarantine"]) == ([], str(quarantine))
    assert (code, err) == (0, "")
    (line,) = out.splitlines()[1:]
    assert line.startswith(f"{quarantine}: the database before was damaged; until ")
    assert "db acknowledge" in line
    assert len([*to.iterdir()]) == 2


def test_a_backup_needs_a_directory_and_keeps_one_at_least(db, tmp_path):
    assert db("backup")[0] == 2
    assert db("backup", "--to", tmp_path, "--keep", 0)[0] == 2
    code, _, err = db("backup", "--to", tmp_path / "no" / "such")
    assert (code, len(err.splitlines())) == (78, 1)


def test_backups_lie_in_a_directory_whose_name_is_not_utf_8(db, tmp_path):
    """A mount that an old system has named: its bytes are the name."""
    to = tmp_path / os.fsdecode(b"b\xff")
    assert db("backup", "--to", to)[0] == 0

    made = db.json("backup", "--to", to, "--keep", 1)

    assert [str(path) for path in to.iterdir()] == [made["path"]]
    assert newest_backup(db.database) == Path(made["path"])
    assert not list(db.database.parent.glob("*.unfinished"))


def test_a_sound_file_is_said_to_be(db):
    code, out, err = db("verify")

    assert (code, err) == (0, "")
    assert "structure" in out
    assert "damaged" not in out
    found = db.json("verify")
    assert found["sound"] is True
    assert {check["name"] for check in found["checks"]} >= {"structure", "search", "json", "times"}


def test_a_damaged_file_ends_with_1_and_every_line_is_harmless(db):
    with closing(sqlite3.connect(db.database)) as connection, connection:
        connection.execute("UPDATE events SET details = '{' WHERE id = 3")

    code, out, err = db("verify", db.database)

    assert (code, err) == (1, "")
    assert "events.details: 1 row, the first 3" in out
    assert db.json("verify")["sound"] is False


@pytest.mark.parametrize("revision", revisions.REVISIONS[:-1])
def test_a_database_before_its_upgrade_is_counted_and_not_pruned(db, monkeypatch, revision):
    """In the new program, before the service has been started again."""
    db.database = db.database.with_name("older.db")
    with monkeypatch.context() as patch:
        patch.setattr(revisions, "HEAD", revision)
        assert db("upgrade")[0] == 0
    prune = ("prune", "--set=retention.info=30")

    for command in ((*prune, "--dry-run"), (*prune, "--yes")):
        code, _, err = db(*command)
        assert (code, len(err.splitlines())) == (78, 1)
        assert f"{db.database}: its schema is older" in err
        assert "jarvis-recorder db upgrade" in err
    for command in (("stats",), ("stats", "--exact"), ("verify",)):
        code, out, err = db(*command)
        assert (code, err) == (0, "")
        assert out
    assert db.json("stats")["revision"] == revision


def test_a_database_that_is_a_circle_of_links_is_a_wrong_setting(db):
    db.database = db.database.with_name("circle.db")
    db.database.symlink_to(db.database)

    code, out, err = db("upgrade")

    assert (code, out) == (78, "")
    assert err == f"jarvis-recorder: {db.database}: its links lead in a circle: name the file\n"


def test_a_directory_that_is_a_circle_of_links_is_a_wrong_setting(db):
    circle = db.database.with_name("circle")
    circle.symlink_to(circle)
    db.database = circle / "recorder.db"

    code, out, err = db("upgrade")

    assert (code, out) == (78, "")
    assert err.startswith(f"jarvis-recorder: {db.database}: Too many levels of symbolic links")


def test_a_file_that_is_no_database_ends_with_1(db):
    overwrite(db.database, 0, 100)

    code, out, err = db("verify")

    assert (code, err) == (1, "")
    assert "SQLITE_NOTADB" in out
    assert db("stats")[0] == 1


def test_the_figures_are_shown_and_reported(db):
    code, out, err = db("stats")
    assert (code, err) == (0, "")
    assert "≈ ROWS" in out
    assert "events" in out
    assert "≈" not in db("stats", "--exact")[1]
    found = db.json("stats", "--exact")
    (events,) = (each for each in found["tables"] if each["name"] == "events")
    assert (events["rows"], events["oldest"]) == (10, "1970-01-01T00:00:00+00:00")


def test_vacuuming_says_what_it_brought(db):
    code, out, err = db("vacuum")
    assert (code, err) == (0, "")
    assert " → " in out
    assert db.json("vacuum")["after_bytes"] == db.database.stat().st_size


def test_what_was_damaged_is_acknowledged(db):
    assert "nothing was found damaged" in db("acknowledge")[1]
    quarantine = db.database.with_name("recorder.db.quarantine-20261123T000000.000000Z")
    quarantine.mkdir()

    code, out, err = db("acknowledge")

    assert (code, out, err) == (0, f"{quarantine}: acknowledged\n", "")
    assert db.json("acknowledge")["acknowledged"] == []
