"""A database of the system before the recorder, taken over."""

import asyncio
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from jarvis_recorder.storage.legacy import importer
from jarvis_recorder.storage.sqlite.lock import locked

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[1] / "samples" / "origin-2026-01.db"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "state" / "recorder.db"


@pytest.fixture
def later(tmp_path):
    """A database of a later version: more columns, more tables, and what nobody had checked."""
    path = tmp_path / "later.db"
    shutil.copy(SAMPLE, path)
    path.chmod(0o600)
    with closing(sqlite3.connect(path)) as db, db:
        for column in ("input_tokens INTEGER", "output_tokens INTEGER", "cost_usd TEXT"):
            db.execute(f"ALTER TABLE conversations ADD COLUMN {column}")
        db.execute("ALTER TABLE events ADD COLUMN vm_id INTEGER")
        db.execute("CREATE TABLE tool_runs (id INTEGER PRIMARY KEY, what TEXT)")
        db.executemany("INSERT INTO tool_runs (what) VALUES (?)", [("a",), ("b",)])
        db.execute(
            "UPDATE conversations SET input_tokens = 10, output_tokens = 20, "
            "cost_usd = '0.000123450' WHERE id = 1"
        )
        db.execute("UPDATE events SET vm_id = 104, details = 'no JSON' WHERE id = 2")
        db.execute("UPDATE events SET timestamp = '2026-01-26T08:00:05.250+01:00' WHERE id = 3")
        db.execute("UPDATE events SET source = 'unheard of' WHERE id = 4")
        db.execute("UPDATE events SET timestamp = 'yesterday' WHERE id = 5")
        db.execute("UPDATE events SET summary = CAST(x'61ff62' AS TEXT) WHERE id = 6")
        db.execute("UPDATE events SET summary = 'a' || char(0) || 'b' WHERE id = 7")
    return path


def jarvis(target, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", "import", *map(str, arguments),
         "--set", f"store.url=sqlite:///{target}"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def tables(ended):
    return json.loads(ended.stdout)["tables"]


def rows(path, query):
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def dump(path):
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def test_the_sample_is_taken_whole_and_twice_is_as_once(target):
    first = jarvis(target, SAMPLE, "--json")
    once = dump(target)
    second = jarvis(target, SAMPLE, "--json")

    assert (first.returncode, second.returncode) == (0, 0)
    counts = {"conversations": 60, "cluster_snapshots": 8, "events": 120, "preferences": 3}
    assert {name: one["taken"] for name, one in tables(first).items()} == counts
    assert {name: one["already"] for name, one in tables(second).items()} == counts
    assert dump(target) == once
    for table in ("events", "conversations"):
        query = f"SELECT id FROM {table} ORDER BY id"
        assert rows(target, query) == rows(SAMPLE, query)
    query = "SELECT summary, node, severity, resolved, resolved_by FROM events ORDER BY id"
    assert rows(target, query) == rows(SAMPLE, query)
    at = "SELECT strftime('%s', timestamp) * 1000000 FROM events ORDER BY id"
    assert rows(target, "SELECT timestamp FROM events ORDER BY id") == rows(SAMPLE, at)
    found = rows(
        target,
        "SELECT count(*) FROM conversations_fts WHERE conversations_fts MATCH 'online'",
    )
    assert found[0][0] > 0


def test_a_later_one_is_taken_but_for_what_breaks_a_rule(target, later):
    ended = jarvis(target, later, "--json")
    again = jarvis(target, later, "--json")

    assert ended.returncode == 1
    events = tables(ended)["events"]
    assert (events["taken"], sum(events["left"].values())) == (116, 4)
    assert events["left"] == {
        "source: Input should be 'monitor', 'user', 'jarvis' or 'system'": 1,
        "timestamp: a time must be RFC 3339, such as 2026-01-31T08:00:00Z": 1,
        "a text is not Unicode": 1,
        "a text holds a NUL character": 1,
    }
    assert tables(ended)["tool_runs"]["left"] == {"a table that is not the original's own": 2}
    assert rows(target, "SELECT cost_usd, input_tokens FROM conversations WHERE id = 1") == [
        ("0.000123450", 10)
    ]
    ((details, extra),) = rows(target, "SELECT details, extra FROM events WHERE id = 2")
    assert (json.loads(details), json.loads(extra)) == ("no JSON", {"vm_id": 104})
    assert rows(target, "SELECT timestamp FROM events WHERE id = 3") == [(1769410805250000,)]
    assert tables(again)["events"]["taken"] == 0


def test_a_bad_value_in_an_optional_column_costs_no_row(target, tmp_path):
    path = tmp_path / "odd.db"
    shutil.copy(SAMPLE, path)
    path.chmod(0o600)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE conversations ADD COLUMN cost_usd TEXT")
        db.execute("UPDATE conversations SET tokens_used = 'many', cost_usd = '-1' WHERE id = 1")
        db.execute("UPDATE conversations SET model = CAST(x'61ff' AS TEXT) WHERE id = 2")
        db.execute("UPDATE conversations SET tokens_used = 12.0 WHERE id = 3")
        db.execute("UPDATE events SET severity = 'notice' WHERE id = 1")
        db.execute("UPDATE events SET severity = 'purple' WHERE id = 2")
        db.execute("UPDATE events SET node = 'a' || char(0) WHERE id = 3")
        db.execute("UPDATE events SET details = x'00ff' WHERE id = 4")
        db.execute(
            "UPDATE events SET resolved = 1, resolved_at = 'late', resolved_by = 'me' WHERE id = 5"
        )

    ended = jarvis(target, path, "--json")

    assert ended.returncode == 0, ended.stderr
    assert {name: one["taken"] for name, one in tables(ended).items()} == {
        "conversations": 60, "cluster_snapshots": 8, "events": 120, "preferences": 3,
    }  # fmt: skip

    def kept(table, columns, number):
        query = f"SELECT {columns}, extra FROM {table} WHERE id = {number}"
        ((*values, extra),) = rows(target, query)
        return *values, json.loads(extra)

    turns = "conversations"
    assert kept(turns, "tokens_used, cost_usd", 1) == (
        None, None, {"tokens_used": "many", "cost_usd": "-1"},
    )  # fmt: skip
    assert kept(turns, "model", 2) == (None, {"model": "a\\xff"})
    assert kept("events", "severity", 1) == ("info", {"severity": "notice"})
    assert kept("events", "severity", 2) == ("info", {"severity": "purple"})
    assert kept("events", "node", 3) == (None, {"node": "a\0"})
    assert kept("events", "details", 4) == (None, {"details": "00ff"})
    assert kept("events", "resolved, resolved_at, resolved_by", 5) == (
        1, None, "me", {"resolved_at": "late"},
    )  # fmt: skip


def test_the_source_is_untouched_and_its_log_is_read_too(target, later, tmp_path):
    directory = tmp_path / "source"
    directory.mkdir()
    with closing(sqlite3.connect(later)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        with db:
            db.execute("INSERT INTO preferences VALUES ('in.the.log', '1', '2026-01-26 10:00:00')")
        for file in (later, later.with_name("later.db-wal")):
            shutil.copy(file, directory)

    def state():
        return {
            file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
            for file in directory.iterdir()
        }

    before = state()
    ended = jarvis(target, directory / "later.db", "--json")

    assert tables(ended)["preferences"]["taken"] == 4
    assert state() == before


def test_ids_that_are_taken_become_new_ones(target, tmp_path):
    jarvis(target, SAMPLE)
    other = tmp_path / "other.db"
    shutil.copy(SAMPLE, other)
    other.chmod(0o600)
    with closing(sqlite3.connect(other)) as db, db:
        db.execute("UPDATE events SET timestamp = datetime(timestamp, '+1 day')")

    ended = jarvis(target, other, "--json")

    assert tables(ended)["events"]["taken"] == 120
    assert rows(target, "SELECT min(id), max(id), count(*) FROM events") == [(1, 240, 240)]


def test_an_import_that_was_interrupted_is_completed(target):
    seen = []

    def interrupt(done, total):
        seen.append((done, total))
        if done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(importer.import_original(SAMPLE, target, interrupt))
    ended = jarvis(target, SAMPLE, "--json")

    assert seen[-1][1] == 191
    assert sum(one["taken"] + one["already"] for one in tables(ended).values()) == 191
    assert rows(target, "SELECT count(*) FROM events") == [(120,)]


def test_a_preference_that_is_newer_here_stays(target, later):
    jarvis(target, SAMPLE)
    with closing(sqlite3.connect(target)) as db, db:
        db.execute("UPDATE preferences SET value = 'mine', updated_at = 1900000000000000")
    with closing(sqlite3.connect(later)) as db, db:
        db.execute("INSERT INTO preferences VALUES ('', 'no key', '2026-01-26 10:00:00')")

    ended = jarvis(target, later, "--json")

    assert rows(target, "SELECT DISTINCT value FROM preferences") == [("mine",)]
    assert tables(ended)["preferences"]["left"] == {"a key that is not 1 to 255 characters": 1}


def test_what_is_no_original_is_refused(target, tmp_path):
    text = tmp_path / "text.db"
    text.write_text("no database" * 100)
    empty = tmp_path / "empty.db"
    sqlite3.connect(empty).close()
    jarvis(target, SAMPLE)
    for source, why in (
        (tmp_path / "nowhere.db", "no such file"),
        (text, "cannot be read as a SQLite database"),
        (empty, "none of the tables"),
        (target, "a recorder's own database"),
    ):
        ended = jarvis(tmp_path / "other.db", source)
        assert ended.returncode == 1
        assert why in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_a_recorder_that_runs_keeps_its_database(target):
    jarvis(target, SAMPLE)
    with locked(target):
        ended = jarvis(target, SAMPLE)

    assert ended.returncode == 75
    assert "stop that one first" in ended.stderr


def test_people_read_a_table(target, later):
    ended = jarvis(target, later)

    assert "TABLE" in ended.stdout
    assert "events: 1 left: a text is not Unicode" in ended.stdout
