"""The rows in a file and the room they take, as quick estimates or exactly."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from jarvis_recorder.errors import AnotherRecorder, NoRoom
from jarvis_recorder.storage.sqlite.admin import vacuum
from jarvis_recorder.storage.sqlite.admin.stats import stats
from jarvis_recorder.storage.sqlite.lock import create_file, locked
from jarvis_recorder.wire.times import to_datetime
from tests.support.files import add, ids, make, nothing


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with 2 000 events, every second of which was deleted, and a few turns."""
    path = make(tmp_path / "recorder.db", 2_000)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM events WHERE id % 2 = 0 OR id <= 1000")
        connection.executemany(
            "INSERT INTO conversations (session_id, timestamp, stamped, role, content,"
            " recorded_at) VALUES ('s', ?, 0, 'user', 'words', 0)",
            [(number,) for number in range(20)],
        )
    return path


def test_estimates_are_made_without_reading_everything(database):
    found = stats(database, exact=False)

    tables = {each.name: each for each in found.tables}
    assert not found.exact_rows
    assert tables["events"].rows == 999, "as many numbers as there are from the first to the last"
    assert tables["conversations"].rows == 20
    assert found.tables[0].name == "events"
    used = (found.pages - found.free_pages) * found.page_size
    assert sum(each.size_bytes for each in found.tables) == pytest.approx(used, abs=10)
    assert found.unused_bytes is None


def test_exact_figures_are_counted(database):
    found = stats(database, exact=True)

    tables = {each.name: each for each in found.tables}
    assert tables["events"].rows == 500
    assert tables["events"].oldest == to_datetime(1_000)
    assert tables["events"].newest == to_datetime(1_998)
    assert tables["events"].size_bytes > 100_000
    assert tables["conversations"].size_bytes > 5 * found.page_size, "with what the search needs"
    assert found.exact_bytes
    assert 0 < found.unused_bytes < found.size_bytes
    assert found.free_pages > 0
    assert found.size_bytes == database.stat().st_size


def test_a_file_without_tables_holds_nothing(tmp_path):
    found = stats(create_file(tmp_path / "recorder.db"), exact=True)

    assert (found.revision, found.tables, found.pages) == (None, (), 0)


def test_vacuuming_gives_back_what_is_free(database):
    before = ids(database)

    done = vacuum.vacuum(database, nothing)

    assert done.after_bytes == database.stat().st_size < done.before_bytes
    assert stats(database, exact=True).free_pages == 0
    assert ids(database) == before


def test_vacuuming_waits_for_no_recorder_and_begins_without_room_never(database, monkeypatch):
    import shutil

    with locked(database), pytest.raises(AnotherRecorder):
        vacuum.vacuum(database, nothing)
    usage = shutil._ntuple_diskusage(total=1, used=1, free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoRoom, match="vacuuming needs"):
        vacuum.vacuum(database, nothing)

    add(database, 1, first=5_000)
