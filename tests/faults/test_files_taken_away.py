"""No acknowledged row is lost when somebody takes one of the database's files away."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from jarvis_recorder.errors import StorageMoved
from jarvis_recorder.storage.sqlite import files, writer
from jarvis_recorder.storage.sqlite.admin.backup import backup
from jarvis_recorder.storage.sqlite.admin.restore import restore
from jarvis_recorder.storage.sqlite.connections import read_only
from jarvis_recorder.storage.sqlite.store import open_store
from tests.support.files import add, ids, leave_log, make, nothing
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker


async def record(url: str, recorder, count: int, name: str) -> set[str]:
    """Publish events and wait until they are acknowledged; return their identities."""
    names = {f"{name}-{number}" for number in range(count)}
    before = recorder.count()
    await publish(url, *((EVENT_KEY, event(), {"message_id": one}) for one in sorted(names)))
    await asyncio.to_thread(wait_until, lambda: recorder.count() == before + count, "recorded")
    return names


def log_of(database: Path) -> Path:
    return files.companions(database)[0]


async def ended(recorder) -> str:
    """Wait until it has ended by itself; return the last thing it said."""
    assert await asyncio.to_thread(recorder.process.wait, 30) == 1
    return str(list(recorder.lines())[-1])


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
async def test_an_idle_recorder_notices_within_seconds_that_its_log_is_gone(
    amqp_url, start_recorder, database, suffix
):
    recorder = start_recorder(amqp_url, "http.listen=")
    recorder.wait_for("recording")
    names = await record(amqp_url, recorder, 200, "before")

    files.sibling(database, suffix).unlink()

    said = await ended(recorder)
    assert f"recorder.db{suffix}" in said
    assert "all that was recorded is in the database" in said
    assert ids(database) == names


async def test_nothing_is_acknowledged_after_the_log_is_gone_and_all_is_there_after_a_power_cut(
    amqp_url, start_recorder, database
):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    names = await record(amqp_url, recorder, 200, "before")
    log_of(database).unlink()
    after = {f"after-{number}" for number in range(200)}
    await publish(amqp_url, *((EVENT_KEY, event(), {"message_id": one}) for one in sorted(after)))
    with_log = recorder.process
    await asyncio.to_thread(wait_until, lambda: with_log.poll() is not None, "it ends")

    again = start_recorder(amqp_url)
    again.wait_for("recording")
    await asyncio.to_thread(wait_until, lambda: again.count() == 400, "what was not acked, too")
    again.kill()

    assert ids(database) == names | after


async def test_a_database_that_was_moved_while_running_holds_everything(
    amqp_url, start_recorder, database, tmp_path
):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    names = await record(amqp_url, recorder, 200, "kept")
    moved = database.rename(tmp_path / "moved.db")

    assert "wherever it is now" in await ended(recorder)
    assert ids(moved) == names
    # And begins again with a new one.
    again = start_recorder(amqp_url)
    again.wait_for("recording")
    assert again.stop() == 0
    assert ids(moved) == names


async def test_a_database_put_in_place_of_the_open_one_gets_nothing_of_its_log(
    amqp_url, start_recorder, database, tmp_path
):
    other = await asyncio.to_thread(make, tmp_path / "other.db", 20)
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    await record(amqp_url, recorder, 200, "lost")

    other.rename(database)

    assert "replaced" in await ended(recorder)
    assert ids(database) == {f"m{number}" for number in range(20)}
    assert list(database.parent.glob("recorder.db.replaced-*-wal"))


async def test_a_log_without_its_database_is_not_deleted_by_the_next_start(
    amqp_url, start_recorder, database, tmp_path
):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    names = await record(amqp_url, recorder, 200, "kept")
    recorder.kill()
    moved = database.rename(tmp_path / "moved.db")

    again = start_recorder(amqp_url)

    said = await ended(again)
    assert "recorder.db-wal" in said
    assert "put that back" in said
    assert not database.exists()
    moved.rename(database)
    back = start_recorder(amqp_url)
    back.wait_for("recording")
    assert back.stop() == 0
    assert ids(database) == names


async def test_no_second_recorder_comes_in_where_the_lock_file_was_removed(
    amqp_url, start_recorder, database
):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    files.sibling(database, ".lock").unlink()

    second = start_recorder(amqp_url)

    assert await asyncio.to_thread(second.process.wait, 30) == 75
    await record(amqp_url, recorder, 20, "goes-on")
    assert recorder.stop() == 0


def orphaned(tmp_path: Path) -> tuple[Path, bytes]:
    """A log with commits whose database was moved away."""
    path = make(tmp_path / "state" / "recorder.db", 10)
    leave_log(path, 10, first=10)
    path.rename(tmp_path / "moved.db")
    return path, log_of(path).read_bytes()


@pytest.mark.parametrize(
    "command",
    [
        ("db", "upgrade"),
        ("db", "verify"),
        ("db", "stats"),
        ("db", "current"),
        ("db", "backup"),
        ("doctor",),
        ("db", "vacuum"),
        ("db", "prune", "--yes", "--set=retention.info=1"),
        ("import", str(Path(__file__).parents[1] / "samples" / "origin-2026-01.db")),
    ],
    ids=lambda command: command[min(1, len(command) - 1)],
)
@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
def test_no_command_deletes_a_log_without_its_database(tmp_path, command, empty):
    path, log = orphaned(tmp_path)
    if empty:
        path.touch(mode=0o600)

    done = subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", *command, f"--set=store.url=sqlite:///{path}"],
        check=False, capture_output=True, timeout=60,
    )  # fmt: skip

    assert done.returncode != 0
    assert log_of(path).read_bytes() == log
    # These two do not come so far as to look for it.
    if command[0] != "import" and command[1:] != ("backup",):
        assert b"recorder.db-wal is there" in done.stdout + done.stderr


def test_a_restore_keeps_a_log_that_has_no_database(tmp_path):
    path, log = orphaned(tmp_path)
    saved = backup(make(tmp_path / "other.db", 3), tmp_path / "backups", None, nothing).path

    kept = restore(path, saved, nothing).kept

    assert kept.read_bytes() == log
    assert ids(path) == {"m0", "m1", "m2"}


async def test_a_log_that_a_reader_keeps_busy_is_saved_once_it_has_ended(database):
    """The reader is another program, with a snapshot from before the last commits."""
    await asyncio.to_thread(make, database, 5)
    reader = subprocess.Popen(
        [sys.executable, "-c", _READER, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        await asyncio.to_thread(reader.stdout.readline)
        async with open_store(database, lambda: 0) as store:
            await store.writer.run(lambda c: c.exec_driver_sql("UPDATE events SET summary = 'x'"))
            log_of(database).unlink()
            noticing = asyncio.create_task(store.upkeep.run(asyncio.Event()))
            await asyncio.sleep(0)
            reader.stdin.close()
            with pytest.raises(StorageMoved, match="is in the database"):
                await noticing
    finally:
        os.kill(reader.pid, signal.SIGKILL)
        await asyncio.to_thread(reader.wait)
        reader.stdout.close()

    add(database, 0)
    assert ids(database) == {f"m{number}" for number in range(5)}


async def test_a_log_that_cannot_be_saved_is_kept_from_the_file_that_took_the_name(
    database, tmp_path, monkeypatch
):
    """The database is elsewhere, and a reader keeps its log from being brought into it."""
    monkeypatch.setattr(writer, "_TRIES_TO_SAVE", 1)
    await asyncio.to_thread(make, database, 5)
    other = await asyncio.to_thread(make, tmp_path / "other.db", 3, 100)
    with closing(read_only(database)) as reader:
        async with open_store(database, lambda: 0) as store:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            await store.writer.run(lambda c: c.exec_driver_sql("UPDATE events SET summary = 'x'"))
            database.rename(tmp_path / "moved.db")
            other.rename(database)

            with pytest.raises(StorageMoved, match="replaced"):
                await store.writer.require_files()

            assert list(database.parent.glob("recorder.db.replaced-*-wal"))
            assert not files.size(log_of(database))
    assert ids(database) == {"m100", "m101", "m102"}


_READER = """
import sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM events").fetchone()
print("reading", flush=True)
sys.stdin.read()
"""
