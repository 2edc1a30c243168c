"""The answers of the storage when it is probed while there is nothing to record."""

import asyncio
import os
import sqlite3
from contextlib import asynccontextmanager, closing

import pytest

from jarvis_recorder.errors import StorageDamaged, StorageUnavailable
from jarvis_recorder.monitoring.storage_probe import StorageProbe
from jarvis_recorder.ports import StorageHealth
from jarvis_recorder.storage.sqlite.store import open_store

SOUND = StorageHealth(0, 1, 2, 3)


@asynccontextmanager
async def running(watch: StorageProbe):
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_refusal_is_kept_until_it_takes_something_again():
    answers = [SOUND, StorageUnavailable("the database is locked"), SOUND]
    asked = asyncio.Event()

    async def probe() -> StorageHealth:
        answer = answers.pop(0)
        if not answers:
            asked.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch = StorageProbe(probe, pause_seconds=0.0)
    seen = []
    async with running(watch):
        while not asked.is_set():
            seen.append(watch.refusal)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert watch.refusal is None
    assert "the database is locked" in seen
    assert watch.health == SOUND


async def test_a_storage_that_hangs_is_silent_for_longer_and_longer():
    began = asyncio.Event()

    async def probe() -> StorageHealth:
        began.set()
        return await asyncio.get_running_loop().create_future()

    watch = StorageProbe(probe)
    async with running(watch):
        await began.wait()
        assert watch.silent_seconds == 0.0
        watch.answered_at -= 60.0
        assert watch.silent_seconds > 50.0


async def test_a_probe_finds_the_database_and_writes_nothing(database):
    async with open_store(database, lambda: 0) as store:
        before = database.with_name("recorder.db-wal").stat().st_size
        found = await store.health()
        assert found.announcements_waiting == 0
        assert found.database_bytes == database.stat().st_size
        assert found.wal_bytes == before == database.with_name("recorder.db-wal").stat().st_size
        assert found.free_bytes > 0


@pytest.mark.long
async def test_a_probe_finds_a_lock_and_its_end(database):
    async with open_store(database, lambda: 0) as store:
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailable, match="SQLITE_BUSY"):
                await store.health()
        assert await store.health()


async def test_a_probe_finds_a_file_system_that_was_made_read_only(database, monkeypatch):
    async with open_store(database, lambda: 0) as store:
        real = os.statvfs(database)
        flags = real.f_flag | os.ST_RDONLY
        values = [*real[:8], flags, *real[9:]]
        monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))
        with pytest.raises(StorageUnavailable, match="read-only"):
            await store.health()


async def test_a_probe_finds_a_file_that_was_moved_away(database):
    async with open_store(database, lambda: 0) as store:
        database.rename(database.with_name("elsewhere.db"))
        with pytest.raises((StorageDamaged, StorageUnavailable)):
            await store.health()
