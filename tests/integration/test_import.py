"""A database of the system before the recorder, taken over."""

import asyncio
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager, closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from jarvis_recorder.errors import RecordRefused
from jarvis_recorder.storage.legacy.importer import import_original
from jarvis_recorder.storage.legacy.targets import in_file, on_server
from jarvis_recorder.storage.postgres.store import open_store as open_server
from jarvis_recorder.storage.sqlite.lock import locked
from jarvis_recorder.storage.sqlite.store import open_store as open_file
from jarvis_recorder.wire.records import Event, Record, Turn
from jarvis_recorder.wire.rpc.params import ListIncidents
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import NOW, ask, clock
from tests.support.disks import fill_up, mounted
from tests.support.engines import POSTGRESQL, SQLITE, File, on_both, rows

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[1] / "samples" / "origin-2026-01.db"
TABLES = ("events", "conversations", "cluster_snapshots", "snapshot_measures", "preferences")
ONLINE = {
    SQLITE: "SELECT count(*) FROM conversations_fts WHERE conversations_fts MATCH 'online'",
    POSTGRESQL: "SELECT count(*) FROM conversations WHERE words @@ 'online'::tsquery",
}
IN_2030 = {SQLITE: "1900000000000000", POSTGRESQL: "to_timestamp(1900000000)"}


@pytest.fixture
def target(recorded):
    """The database that is imported into; at first there may be no file, or empty tables."""
    return recorded


@contextmanager
def changed_copy(path):
    """Copy the original's database; yield a connection that changes the copy."""
    shutil.copy(SAMPLE, path)
    path.chmod(0o600)
    with closing(sqlite3.connect(path)) as database, database:
        yield database


@pytest.fixture
def later(tmp_path):
    """A database of a later version: more columns, more tables, and what nobody had checked."""
    path = tmp_path / "later.db"
    with changed_copy(path) as db:
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
         "--set", f"store.url={target.url}"],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def tables(ended):
    return json.loads(ended.stdout)["tables"]


def content(target):
    return {table: target.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4") for table in TABLES}


@on_both
def test_the_sample_is_taken_whole_and_twice_is_as_once(target, engine):
    first = jarvis(target, SAMPLE, "--json")
    once = content(target)
    second = jarvis(target, SAMPLE, "--json")

    assert (first.returncode, second.returncode) == (0, 0)
    counts = {"conversations": 60, "cluster_snapshots": 8, "events": 120, "preferences": 3}
    assert {name: one["taken"] for name, one in tables(first).items()} == counts
    assert {name: one["already"] for name, one in tables(second).items()} == counts
    assert content(target) == once
    for table in ("events", "conversations"):
        query = f"SELECT id FROM {table} ORDER BY id"
        assert target.rows(query) == rows(SAMPLE, query)
    query = "SELECT summary, node, severity, resolved, resolved_by FROM events ORDER BY id"
    assert target.rows(query) == rows(SAMPLE, query)
    at = "SELECT strftime('%s', timestamp) * 1000000 FROM events ORDER BY id"
    assert target.rows("SELECT timestamp FROM events ORDER BY id") == rows(SAMPLE, at)
    assert target.rows(ONLINE[engine])[0][0] > 0
    assert once["snapshot_measures"]


@on_both
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
    assert target.rows("SELECT cost_usd, input_tokens FROM conversations WHERE id = 1") == [
        ("0.000123450", 10)
    ]
    ((details, extra),) = target.rows("SELECT details, extra FROM events WHERE id = 2")
    assert (json.loads(details), json.loads(extra)) == ("no JSON", {"vm_id": 104})
    assert target.rows("SELECT timestamp FROM events WHERE id = 3") == [(1769410805250000,)]
    assert tables(again)["events"]["taken"] == 0


@on_both
def test_a_bad_value_in_an_optional_column_costs_no_row(target, tmp_path):
    path = tmp_path / "odd.db"
    with changed_copy(path) as db:
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
        ((*values, extra),) = target.rows(query)
        return *values, json.loads(extra)

    turns = "conversations"
    assert kept(turns, "tokens_used, cost_usd", 1) == (
        None, None, {"tokens_used": "many", "cost_usd": "-1"},
    )  # fmt: skip
    assert kept(turns, "model", 2) == (None, {"model": "a\\xff"})
    assert kept("events", "severity", 1) == ("info", {"severity": "notice"})
    assert kept("events", "severity", 2) == ("info", {"severity": "purple"})
    assert kept("events", "node", 3) == (None, {"node": "a\\x00"})
    assert kept("events", "details", 4) == (None, {"details": "00ff"})
    assert kept("events", "resolved, resolved_at, resolved_by", 5) == (
        1, None, "me", {"resolved_at": "late"},
    )  # fmt: skip


@on_both
def test_a_text_that_no_database_takes_costs_its_row_or_nothing(target, tmp_path):
    path = tmp_path / "odd.db"
    with changed_copy(path) as db:
        db.execute("ALTER TABLE conversations ADD COLUMN more TEXT")
        db.execute("UPDATE conversations SET more = 'a' || char(0) WHERE id = 1")
        db.execute(
            "UPDATE events SET resolved = 1, resolved_by = 'a' || char(0) || 'b' WHERE id = 5"
        )
        db.executemany(
            "INSERT INTO preferences VALUES (CAST(? AS TEXT), CAST(? AS TEXT), '2026-01-26 10:00')",
            [(b"value", b"a\xff"), (b"value.0", b"a\0"), (b"key\xff", b"a"), (b"key\0", b"a")],
        )

    ended = jarvis(target, path, "--json")

    assert tables(ended)["preferences"] == {
        "rows": 7, "taken": 3, "already": 0,
        "left": {"a text is not Unicode": 2, "a text holds a NUL character": 2},
    }  # fmt: skip
    assert target.rows("SELECT resolved_by FROM events WHERE id = 5") == [("a\\x00b",)]
    ((extra,),) = target.rows("SELECT extra FROM conversations WHERE id = 1")
    # PostgreSQL reads no member of a JSON that has \u0000 anywhere.
    assert json.loads(extra) == {"more": "a\\x00"}


@on_both
def test_a_row_that_the_database_refuses_is_left_alone(target, engine, database):
    @asynccontextmanager
    async def refusing():
        async with in_file(database) if engine == SQLITE else on_server(target.url) as opened:

            def insert(connection, table, values):
                opened.insert(connection, table, values)
                if table.name == "events" and any(row["id"] == 77 for row in values):
                    raise RecordRefused

            yield opened._replace(insert=insert)

    report = asyncio.run(import_original(SAMPLE, refusing(), lambda *_: None))

    assert report["events"].left == {"the database refuses the row": 1}
    assert (report["events"].taken, report["events"].already) == (119, 0)
    assert target.rows("SELECT count(*) FROM events WHERE id <> 77") == [(119,)]


@on_both
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


def test_no_room_for_a_copy_of_a_file_with_a_log_is_said(later, tmp_path):
    """/tmp is small in a container, and the file is sound."""
    later.with_name("later.db-wal").write_bytes(b"x" * 100)
    with mounted(tmp_path / "disk", 1) as disk:
        fill_up(disk, but=4_096)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(disk))
            ended = jarvis(File(tmp_path / "recorder.db"), later)

    assert ended.returncode == 1
    assert "TMPDIR names another directory" in ended.stderr


@on_both
def test_what_the_original_had_not_committed_is_not_taken(target, later, tmp_path):
    """It was killed within a transaction, of which a part was in the file already."""
    directory = tmp_path / "source"
    directory.mkdir()
    with closing(sqlite3.connect(later, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN")
        db.execute("UPDATE conversations SET content = 'lost' || printf('%.*c', 3000, 'x')")
        for file in (later, later.with_name("later.db-journal")):
            shutil.copy(file, directory)
    assert b"lostxxx" in (directory / "later.db").read_bytes()
    before = {file: file.read_bytes() for file in directory.iterdir()}

    ended = jarvis(target, directory / "later.db", "--json")

    assert tables(ended)["conversations"]["taken"] == 60
    assert target.rows("SELECT count(*) FROM conversations WHERE content LIKE 'lost%'") == [(0,)]
    assert {file: file.read_bytes() for file in directory.iterdir()} == before


def test_a_damaged_file_is_named(target, later):
    """Its first pages are sound."""
    with closing(sqlite3.connect(later)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with later.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)

    ended = jarvis(target, later)

    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert f"{later}: cannot be read as a SQLite database: " in ended.stderr
    assert "malformed" in ended.stderr


@on_both
def test_ids_that_are_taken_become_new_ones(target, tmp_path):
    jarvis(target, SAMPLE)
    other = tmp_path / "other.db"
    with changed_copy(other) as db:
        db.execute("UPDATE events SET timestamp = datetime(timestamp, '+1 day')")

    ended = jarvis(target, other, "--json")

    assert tables(ended)["events"]["taken"] == 120
    assert target.rows("SELECT min(id), max(id), count(*) FROM events") == [(1, 240, 240)]


@on_both
def test_an_import_that_was_interrupted_is_completed(target, engine, database):
    seen = []

    def interrupt(done, total):
        seen.append((done, total))
        if done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opening = in_file(database) if engine == SQLITE else on_server(target.url)
        asyncio.run(import_original(SAMPLE, opening, interrupt))
    ended = jarvis(target, SAMPLE, "--json")

    assert seen[-1][1] == 191
    assert sum(one["taken"] + one["already"] for one in tables(ended).values()) == 191
    assert target.rows("SELECT count(*) FROM events") == [(120,)]


@on_both
def test_large_rows_are_brought_some_at_a_time(target, engine, database, later):
    """A chunk is one transaction, and all of it is in memory."""
    with closing(sqlite3.connect(later)) as db, db:
        db.execute(
            "UPDATE conversations SET content = printf('%.*c', 1000000, 'x')"
            " WHERE id IN (SELECT id FROM conversations LIMIT 20)"
        )
    seen = [0]

    opening = in_file(database) if engine == SQLITE else on_server(target.url)
    asyncio.run(import_original(later, opening, lambda done, _: seen.append(done)))

    snapshots, turns = target.rows(
        "SELECT (SELECT count(*) FROM cluster_snapshots), count(*) FROM conversations"
    )[0]
    assert [after - before for before, after in pairwise(seen)][:4] == [snapshots, 9, 9, turns - 18]


@on_both
def test_a_preference_that_is_newer_here_stays(target, later, engine):
    jarvis(target, SAMPLE)
    target.execute(f"UPDATE preferences SET value = 'mine', updated_at = {IN_2030[engine]}")
    with closing(sqlite3.connect(later)) as db, db:
        db.execute("INSERT INTO preferences VALUES ('', 'no key', '2026-01-26 10:00:00')")

    ended = jarvis(target, later, "--json")

    assert target.rows("SELECT DISTINCT value FROM preferences") == [("mine",)]
    assert tables(ended)["preferences"]["left"] == {"a key that is not 1 to 255 characters": 1}


@on_both
async def test_what_is_recorded_later_is_numbered_behind_what_was_imported(
    target, engine, database
):
    jarvis(target, SAMPLE)
    body = Event(type="status", severity="info", source="monitor", summary="later")
    opened = open_file(database, clock) if engine == SQLITE else open_server(target.url, clock)
    async with opened as store:
        await store.repository.append([Record(Kind.EVENT, "later", NOW, False, body, None)], NOW)

    assert target.rows("SELECT id FROM events WHERE summary = 'later'")[0][0] > 120


@on_both
async def test_an_id_that_leaves_no_room_is_not_kept(target, engine, database, tmp_path):
    source = tmp_path / "highest.db"
    with changed_copy(source) as db:
        for table in ("events", "conversations"):
            db.execute(f"UPDATE {table} SET id = 9223372036854775807 WHERE id = 3")
            db.execute(f"UPDATE {table} SET id = -7 WHERE id = 4")
    jarvis(target, source)
    event = Event(type="status", severity="info", source="monitor", summary="later")
    turn = Turn(session_id="s", role="user", content="später")
    opened = open_file(database, clock) if engine == SQLITE else open_server(target.url, clock)
    async with opened as store:
        records = [
            Record(kind, "later", NOW, False, body, None)
            for kind, body in ((Kind.EVENT, event), (Kind.TURN, turn))
        ]
        outcome = await store.repository.append(records, NOW)

    assert outcome.stored == 2
    for table, count in (("events", 121), ("conversations", 61)):
        bounds = target.rows(f"SELECT min(id), max(id), count(*) FROM {table}")
        assert bounds == [(1, count + 2, count)], table


@on_both
async def test_alerts_that_come_behind_the_events_already_read_become_incidents(
    target, engine, database, tmp_path
):
    """Even if the import ends early: the rest may never be brought."""
    original = tmp_path / "alerts.db"
    with changed_copy(original) as db:
        db.execute("DELETE FROM events WHERE id > 2")
        db.execute(
            "UPDATE events SET type = 'alert', severity = 'critical', resolved = 0,"
            " node = 'old' || id, summary = 'NODE_DOWN: old' || id || ' is down'"
        )

    def opened():
        return open_file(database, clock) if engine == SQLITE else open_server(target.url, clock)

    async def incidents(store):
        for _ in range(4):
            while await store.incidents.step():
                pass
        return {one.node for one in (await ask(store, ListIncidents())).incidents}

    async with opened() as store:
        body = Event(type="status", severity="info", source="monitor", summary="well")
        named = [Record(Kind.EVENT, f"e{one}", NOW + one, False, body, None) for one in range(9)]
        await store.repository.append(named, NOW)
        assert await incidents(store) == set()
    target.execute("DELETE FROM events WHERE id < 5")

    def interrupt(done, _):
        if target.rows("SELECT count(*) FROM events WHERE id < 3") == [(2,)]:
            raise RuntimeError

    opening = in_file(database) if engine == SQLITE else on_server(target.url)
    with pytest.raises(RuntimeError):
        await import_original(original, opening, interrupt)
    async with opened() as store:
        assert await incidents(store) == {"old1", "old2"}


def test_what_is_no_original_is_refused(target, database, tmp_path):
    text = tmp_path / "text.db"
    text.write_text("no database" * 100)
    empty = tmp_path / "empty.db"
    sqlite3.connect(empty).close()
    jarvis(target, SAMPLE)
    for source, why in (
        (tmp_path / "nowhere.db", "no such file"),
        (text, "cannot be read as a SQLite database"),
        (empty, "none of the tables"),
        (database, "a recorder's own database"),
    ):
        ended = jarvis(File(tmp_path / "other.db"), source)
        assert ended.returncode == 1
        assert why in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_tables_of_another_form_are_left_or_refused(target, tmp_path):
    ids, settings = tmp_path / "ids.db", tmp_path / "settings.db"
    with closing(sqlite3.connect(ids)) as db, db:
        db.execute("CREATE TABLE events (id TEXT, timestamp TEXT)")
        db.execute("INSERT INTO events VALUES ('x', '2026-01-26 10:00:00'), (NULL, NULL)")
    with closing(sqlite3.connect(settings)) as db, db:
        db.execute("CREATE TABLE preferences (key TEXT, value TEXT)")

    left, refused = (jarvis(target, path, "--json") for path in (ids, settings))

    assert tables(left)["events"]["left"] == {"an id that is no integer": 2}
    assert refused.returncode == 1
    assert "its table preferences is not that of the original system" in refused.stderr


def test_a_table_of_a_module_that_is_missing_is_left(target, tmp_path):
    original = tmp_path / "original.db"
    shutil.copy(SAMPLE, original)
    with closing(sqlite3.connect(original)) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "INSERT INTO sqlite_master VALUES ('table', 'vectors', 'vectors', 0,"
            " 'CREATE VIRTUAL TABLE vectors USING vec0(of)')"
        )

    found = tables(jarvis(target, original, "--json"))

    assert found["vectors"]["rows"] == 0
    assert found["events"]["taken"] == 120


def test_a_recorder_that_runs_keeps_its_database(target, database):
    jarvis(target, SAMPLE)
    with locked(database):
        ended = jarvis(target, SAMPLE)

    assert ended.returncode == 75
    assert "stop that one first" in ended.stderr


def test_people_read_a_table(target, later):
    ended = jarvis(target, later)

    assert "TABLE" in ended.stdout
    assert "events: 1 left: a text is not Unicode" in ended.stdout
