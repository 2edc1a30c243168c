"""The reports of damage in a file, and of its place."""

import os
import shutil
import sqlite3
import tracemalloc
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite import files
from jarvis_recorder.storage.sqlite.admin.integrity import verify
from jarvis_recorder.storage.sqlite.lock import create_file
from tests.support.disks import fill_up, mounted
from tests.support.files import leave_log, make, nothing, overwrite, overwrite_pages


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with 10 events, 2 turns and a snapshot."""
    path = make(tmp_path / "recorder.db", 10)
    change(
        path,
        "INSERT INTO conversations (session_id, timestamp, stamped, role, content, recorded_at)"
        " VALUES ('s', 0, 0, 'user', 'where is the penguin?', 0),"
        " ('s', 1, 0, 'assistant', 'in the fridge', 0)",
    )
    change(
        path,
        "INSERT INTO cluster_snapshots (cluster, timestamp, stamped, snapshot, size_bytes,"
        " recorded_at) VALUES ('', 0, 0, ?, 9, 0)",
        zlib.compress(b'{"n": 17}'),
    )
    return path


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def problems(path: Path) -> dict[str, str]:
    """Return the first problem of each check that finds one."""
    found = verify(path, nothing)
    return {check.name: check.problems[0] for check in found if check.problems}


def test_a_sound_file_passes_every_check(database):
    found = verify(database, nothing)

    assert [check.name for check in found if check.problems] == []
    assert len(found) == 7


@pytest.mark.parametrize(
    ("statement", "check", "problem"),
    [
        ("UPDATE events SET details = '{' WHERE id > 8", "json", "events.details: 2 rows, the first 9"),
        ("UPDATE conversations SET tool_calls = 'no' WHERE id = 2", "json", "conversations.tool_calls: 1 row, the first 2"),
        ("UPDATE cluster_snapshots SET snapshot = x'00'", "snapshots", "row 1: cannot be read"),
        ("UPDATE cluster_snapshots SET size_bytes = 8", "snapshots", "row 1: not the snapshot"),
        ("UPDATE events SET timestamp = 'yesterday' WHERE id = 3", "times", "events.timestamp: 1 row, the first 3"),
        ("UPDATE events SET resolved_at = 9000000000000000000", "times", "events.resolved_at: 10 rows"),
        ("INSERT INTO preferences VALUES ('k', 'v', -9000000000000000000, 'me', 1)", "times", "preferences.updated_at: 1 row, the first k"),
        ("DELETE FROM conversations_fts_docsize WHERE id = 1", "search", "1 turns are not found"),
        ("DROP TABLE outbox", "schema", "the table outbox is missing"),
        ("UPDATE alembic_version SET version_num = '9999'", "schema", "revision 9999"),
    ],
)  # fmt: skip
def test_each_check_finds_what_it_is_there_for(database, statement, check, problem):
    change(database, statement)

    found = problems(database)

    assert list(found) == [check]
    assert problem in found[check]


def test_a_column_that_is_gone_is_a_problem(database):
    change(database, "ALTER TABLE events DROP COLUMN details")

    assert "details" in problems(database)["json"]


def test_a_sound_file_that_cannot_be_opened_now_is_not_called_damaged(database, tmp_path):
    """On a full disk SQLite has no room for its index of the log."""
    with mounted(tmp_path / "disk", 4) as disk:
        path = disk / "recorder.db"
        leave_log(shutil.copy(database, path), 1, first=100)
        files.companions(path)[1].unlink()
        fill_up(disk)

        with pytest.raises(StorageUnavailable):
            verify(path, nothing)


def test_a_turn_that_only_the_search_knows_is_found(database):
    change(database, "INSERT INTO conversations_fts_docsize (id, sz) VALUES (99, x'01')")

    assert problems(database) == {"search": "it finds 1 turns that are gone"}


def test_an_index_that_is_out_of_step_is_found(database):
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'node', 'summary')"
            " WHERE name = 'ix_events_node_timestamp'"
        )

    assert "ix_events_node_timestamp" in problems(database)["structure"]


def test_a_damaged_file_is_reported_check_by_check(database):
    overwrite_pages(database, 3)

    assert "structure" in problems(database)


def test_a_file_that_is_no_database_fails_every_check(database):
    overwrite(database, 0, 100)

    found = problems(database)

    assert "SQLITE_NOTADB" in found["structure"]
    assert len(found) == 7


def test_a_file_without_tables_is_distinguished_from_a_damaged_one(tmp_path):
    path = create_file(tmp_path / "recorder.db")

    found = problems(path)

    assert list(found) == ["schema"]
    assert "db upgrade" in found["schema"]


def test_an_older_file_is_sound(database, monkeypatch):
    monkeypatch.setattr(revisions, "HEAD", "9999")
    monkeypatch.setattr(revisions, "REVISIONS", (*revisions.REVISIONS, "9999"))

    assert problems(database) == {}


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(StorageUnavailable):
        verify(tmp_path / "recorder.db", nothing)

    assert list(tmp_path.iterdir()) == []


def test_large_snapshots_are_checked_one_by_one(database):
    """A hundred of the largest at once would be more than the service may take."""
    for number in range(1, 41):
        change(
            database,
            "INSERT INTO cluster_snapshots (cluster, timestamp, stamped, snapshot, size_bytes,"
            " recorded_at) VALUES ('', ?, 0, ?, 9, 0)",
            number,
            os.urandom(1_000_000),
        )

    tracemalloc.start()
    try:
        verify(database, nothing)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 10_000_000
