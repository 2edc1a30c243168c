"""Backups of a database that is recorded into as fast as it comes."""

import asyncio
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jarvis_recorder.storage.sqlite.admin.restore import restore
from tests.support.files import ids, nothing
from tests.support.publisher import Oracle
from tests.support.recorder import RecorderProcess, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

_BACKUPS = 3


def back_up(recorder: RecorderProcess, to: Path) -> Path:
    """Run `db backup` as an operator's timer does, and return what it made."""
    command = [
        "db",
        "backup",
        "--to",
        to,
        "--json",
        f"--set=store.url=sqlite:///{recorder.path}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "jarvis_recorder", *command],
        capture_output=True,
        text=True,
        # With the lowest priority, next to a recorder under load.
        timeout=240,
        check=True,
    )
    return Path(json.loads(done.stdout)["path"])


def acked(recorder: RecorderProcess) -> int:
    """Return how many events were recorded and acked; it logs a batch when that is done."""
    return sum(line["stored"] for line in recorder.logged("batch_committed"))


async def test_every_backup_holds_all_that_was_acked_before_it_began(
    amqp_url, start_recorder, tmp_path
):
    recorder = start_recorder(amqp_url, "log.level=debug")
    await asyncio.to_thread(recorder.wait_for, "recording")
    oracle = Oracle(amqp_url)
    publishing = asyncio.create_task(oracle.run())
    made = []
    for _ in range(_BACKUPS):
        await asyncio.sleep(1.0)
        before = await asyncio.to_thread(acked, recorder)
        recorded = {one for (one,) in recorder.rows("SELECT message_id FROM events")}
        path = await asyncio.to_thread(back_up, recorder, tmp_path / "backups")
        made.append((path, before, recorded))
    oracle.stop()
    await publishing

    def all_recorded() -> bool:
        return oracle.confirmed <= {
            one for (one,) in recorder.rows("SELECT message_id FROM events")
        }

    await asyncio.to_thread(wait_until, all_recorded, "every confirmed message is recorded")
    assert recorder.stop() == 0
    held = []
    for path, before, recorded in made:
        restored = tmp_path / "restored" / path.stem / "recorder.db"
        await asyncio.to_thread(restore, restored, path, nothing)
        held.append(ids(restored))
        assert before > 0
        assert len(held[-1]) >= before
        assert held[-1] >= recorded
        assert held[-1] <= oracle.attempted
    assert all(earlier < later for earlier, later in itertools.pairwise(held))


async def test_a_restored_database_continues_where_the_backup_ended(
    amqp_url, start_recorder, tmp_path
):
    """Messages still in the broker are recorded; those in the backup are not stored twice."""
    recorder = start_recorder(amqp_url)
    await asyncio.to_thread(recorder.wait_for, "recording")
    oracle = Oracle(amqp_url)
    publishing = asyncio.create_task(oracle.run())
    await asyncio.to_thread(wait_until, lambda: recorder.count() > 500, "some are recorded")
    path = await asyncio.to_thread(back_up, recorder, tmp_path / "backups")
    recorder.kill()
    confirmed_late = len(oracle.confirmed)
    await asyncio.to_thread(
        wait_until, lambda: len(oracle.confirmed) > confirmed_late + 500, "some wait in the queue"
    )
    await asyncio.to_thread(restore, recorder.path, path, nothing)
    oracle.stop()
    await publishing
    kept = ids(recorder.path)

    again = start_recorder(amqp_url)
    await asyncio.to_thread(again.wait_for, "recording")
    await asyncio.to_thread(wait_until, lambda: again.count() > len(kept) + 400, "the rest")
    assert again.stop() == 0

    assert ids(again.path) > kept
    assert again.rows("SELECT count(*) - count(DISTINCT message_id) FROM events") == [(0,)]
