"""Two batches under way at once."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from jarvis_recorder.errors import (
    NotTried,
    StorageDamaged,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.ingest import intake as intake_module
from jarvis_recorder.ingest import recorder as recorder_module
from jarvis_recorder.ingest.recorder import OutageTooLong
from jarvis_recorder.telemetry.status import State
from jarvis_recorder.wire.records import identity_of
from tests.support.pipeline import (
    Pipeline,
    finished,
    stored,
    turns_of_the_loop,
    until,
)
from tests.support.publisher import event


@pytest.fixture
def two_at_once(pipeline, monkeypatch):
    """A pipeline with batches of two records, on a disk that does not answer yet."""
    monkeypatch.setattr(intake_module, "MAX_BATCH_RECORDS", 2)
    monkeypatch.setattr(recorder_module, "_FIRST_RETRY_SECONDS", 0)
    pipeline.repository.disk.clear()
    return pipeline


async def recording_two(pipeline: Pipeline) -> asyncio.Task[None]:
    """Begin to record; return once two batches are under way."""
    working = asyncio.create_task(pipeline.recorder.run())
    await until(lambda: len(pipeline.repository.under_way) == 2)
    await turns_of_the_loop(10)
    assert len(pipeline.repository.under_way) == 2, "and no third"
    assert pipeline.effects == []
    return working


async def test_a_full_batch_is_handed_over_while_one_is_being_committed(two_at_once):
    two_at_once.receive(*"abcdefg")
    working = await recording_two(two_at_once)

    effects = await finished(two_at_once, working)

    assert [done for done in effects if done.startswith("commit")] == [
        "commit a,b", "commit c,d", "commit e,f", "commit g",
    ]  # fmt: skip
    assert [done for done in effects if done.startswith("ack")] == [
        "ack to 2", "ack to 4", "ack to 6", "ack to 7",
    ]  # fmt: skip
    for commit, ack in (("a,b", 2), ("c,d", 4), ("e,f", 6), ("g", 7)):
        assert effects.index(f"commit {commit}") < effects.index(f"ack to {ack}")


async def test_a_batch_that_is_not_full_waits_for_the_commit_and_grows(two_at_once):
    two_at_once.receive("a")
    working = asyncio.create_task(two_at_once.recorder.run())
    await until(lambda: len(two_at_once.repository.under_way) == 1)
    two_at_once.receive("b")
    await turns_of_the_loop(10)
    assert len(two_at_once.repository.under_way) == 1

    two_at_once.receive("c")
    await until(lambda: len(two_at_once.repository.under_way) == 2)

    effects = await finished(two_at_once, working)
    assert [done for done in effects if done.startswith("commit")] == ["commit a", "commit b,c"]


async def test_a_batch_is_acked_only_after_the_one_before_it(two_at_once, monkeypatch):
    """An ack covers all deliveries before it, committed or not."""
    two_at_once.receive(*"abcd")
    acked = asyncio.Event()
    settle = two_at_once.settlement.settle

    async def slowly(tag: int) -> None:
        await acked.wait()
        await settle(tag)

    monkeypatch.setattr(two_at_once.settlement, "settle", slowly)
    working = await recording_two(two_at_once)

    two_at_once.repository.disk.set()
    await until(lambda: "commit c,d" in two_at_once.effects)
    await turns_of_the_loop(10)
    assert two_at_once.effects == ["commit a,b", "commit c,d"]

    acked.set()
    assert await finished(two_at_once, working) == [
        "commit a,b", "commit c,d", "ack to 2", "ack to 4",
    ]  # fmt: skip


@pytest.mark.parametrize("failures", [1, 3])
async def test_after_a_failure_both_batches_are_tried_again_in_their_order(two_at_once, failures):
    two_at_once.receive(*"abcdef")
    two_at_once.repository.failures = failures
    working = await recording_two(two_at_once)

    with capture_logs() as logs:
        effects = await finished(two_at_once, working)

    assert stored(two_at_once) == "abcdef"
    assert [done for done in effects if done.startswith("ack")] == [
        "ack to 2", "ack to 4", "ack to 6",
    ]  # fmt: skip
    reports = [line["event"] for line in logs]
    assert reports.count("storage_unavailable") == failures
    assert reports.count("storage_available") == 1


async def test_a_failure_of_the_second_does_not_keep_the_first_from_being_acked(two_at_once):
    two_at_once.receive(*"abcdef")
    two_at_once.repository.outcomes = [None, StorageUnavailable("full"), StorageUnavailable("full")]
    working = await recording_two(two_at_once)

    effects = await finished(two_at_once, working)

    assert effects[:2] == ["commit a,b", "ack to 2"]
    assert stored(two_at_once) == "abcdef"


async def test_no_batch_is_handed_over_behind_one_that_is_tried_again(two_at_once, monkeypatch):
    """While the first waits for its next attempt, the second would be stored before it."""
    monkeypatch.setattr(recorder_module, "_FIRST_RETRY_SECONDS", 0.02)
    two_at_once.repository.failures = 1
    two_at_once.receive(*"ab")
    working = asyncio.create_task(two_at_once.recorder.run())
    two_at_once.repository.disk.set()
    await until(lambda: two_at_once.status.state is State.STORAGE_UNAVAILABLE)

    two_at_once.receive(*"cdef")

    await finished(two_at_once, working)
    assert stored(two_at_once) == "abcdef"


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("error", [StorageUncertain("sync"), StorageDamaged("corrupt")])
async def test_what_ends_the_process_leaves_nothing_acked_from_there_on(two_at_once, which, error):
    two_at_once.receive(*"abcdef")
    two_at_once.repository.outcomes = [None] * which + [error]
    working = await recording_two(two_at_once)

    with pytest.raises(type(error)):
        await finished(two_at_once, working)

    assert stored(two_at_once) == "ab" * which
    assert two_at_once.consumer.outstanding == set(range(2 * which + 1, 7))


async def test_an_outage_that_is_too_long_gives_both_batches_back(two_at_once, monkeypatch):
    monkeypatch.setattr(recorder_module, "HOLD_SECONDS", 0)
    two_at_once.receive(*"abcdef")
    two_at_once.repository.failures = 10**6
    working = await recording_two(two_at_once)

    with pytest.raises(OutageTooLong) as outage:
        await finished(two_at_once, working)

    assert "".join(str(identity_of(record)) for record in outage.value.records) == "ab"
    assert two_at_once.consumer.outstanding == {1, 2, 3, 4, 5, 6}
    assert not two_at_once.repository.under_way


async def test_an_outage_of_the_first_does_not_shorten_the_patience_with_the_second(
    two_at_once, monkeypatch
):
    two_at_once.receive(*"abcd")
    two_at_once.repository.outcomes = [StorageUnavailable("full"), None, StorageUnavailable("full")]
    working = await recording_two(two_at_once)
    longest = []
    report = two_at_once.recorder._report_outage
    monkeypatch.setattr(
        two_at_once.recorder,
        "_report_outage",
        lambda error, waiting, seconds: (longest.append(seconds), report(error, waiting, seconds)),
    )
    await asyncio.sleep(0.05)

    await finished(two_at_once, working)

    assert longest[0] >= 0.05 > longest[1]
    assert stored(two_at_once) == "abcd"


async def test_a_stop_records_both_batches_that_are_under_way(two_at_once):
    two_at_once.receive(*"abcd")
    working = await recording_two(two_at_once)
    two_at_once.intake.close()

    await finished(two_at_once, working)

    assert not two_at_once.consumer.outstanding
    await two_at_once.intake.settled()


async def test_when_the_connection_is_lost_both_batches_under_way_are_finished(two_at_once):
    two_at_once.receive(*"abcdef")
    working = await recording_two(two_at_once)
    two_at_once.consumer.gone = True
    two_at_once.intake.abandon()

    with capture_logs() as logs:
        assert await finished(two_at_once, working) == ["commit a,b", "commit c,d"]

    assert [line["event"] for line in logs].count("ack_lost") == 2


async def test_a_cancelled_recorder_acks_nothing(two_at_once):
    two_at_once.receive(*"abcd")
    working = await recording_two(two_at_once)

    working.cancel()
    two_at_once.repository.disk.set()
    with pytest.raises(asyncio.CancelledError):
        await working

    assert two_at_once.consumer.outstanding == {1, 2, 3, 4}
    assert not two_at_once.repository.under_way


async def test_refusals_of_two_batches_are_settled_with_their_own(two_at_once):
    two_at_once.receive("a", "junk", "b", "junk")
    working = await recording_two(two_at_once)

    effects = await finished(two_at_once, working)

    assert effects.index("commit a") < effects.index("ack to 1") < effects.index("ack 3")
    assert effects.index("commit b") < effects.index("ack 3")
    assert two_at_once.status.dead_letters == {"not_json": 2}
    assert not two_at_once.consumer.outstanding


@pytest.mark.parametrize(("limit", "value"), [("MAX_HELD_RECORDS", 4), ("MAX_HELD_BYTES", 500)])
async def test_both_batches_under_way_count_as_held(two_at_once, monkeypatch, limit, value):
    monkeypatch.setattr(intake_module, limit, value)
    two_at_once.receive(*"abcd")
    assert two_at_once.flow.effects == ["pause"]
    working = await recording_two(two_at_once)
    assert two_at_once.intake.is_full

    await finished(two_at_once, working)

    assert two_at_once.flow.effects == ["pause", "resume"]
    assert not two_at_once.intake.is_full


async def test_the_second_batch_is_held_until_it_is_settled_itself(two_at_once, monkeypatch):
    two_at_once.receive(*"abcd")
    acked = asyncio.Event()
    settle = two_at_once.settlement.settle

    async def slowly(tag: int) -> None:
        if tag == 4:
            await acked.wait()
        await settle(tag)

    monkeypatch.setattr(two_at_once.settlement, "settle", slowly)
    working = await recording_two(two_at_once)
    assert two_at_once.intake._held_records == 4

    two_at_once.repository.disk.set()
    await until(lambda: "ack to 2" in two_at_once.effects)
    await turns_of_the_loop(10)
    assert two_at_once.intake._held_records == 2

    acked.set()
    await finished(two_at_once, working)
    assert two_at_once.intake._held_records == two_at_once.intake._held_bytes == 0


async def test_the_first_is_not_tried_again_before_the_second_has_ended(two_at_once, monkeypatch):
    """Both at once would be in the wrong order."""
    ended = asyncio.Event()
    append = two_at_once.repository.append
    calls: list[str] = []

    async def slowly(records, recorded_at):
        calls.append("".join(str(identity_of(record)) for record in records))
        try:
            return await append(records, recorded_at)
        except NotTried:
            await ended.wait()
            raise

    monkeypatch.setattr(two_at_once.repository, "append", slowly)
    two_at_once.repository.failures = 1
    two_at_once.receive(*"abcd")
    working = await recording_two(two_at_once)
    two_at_once.repository.disk.set()
    await until(lambda: two_at_once.status.state is State.STORAGE_UNAVAILABLE)
    await turns_of_the_loop(20)
    assert calls == ["ab", "cd"]

    ended.set()
    await finished(two_at_once, working)
    assert calls == ["ab", "cd", "ab", "cd"]


async def test_what_is_abandoned_still_counts_what_is_under_way(two_at_once, monkeypatch):
    monkeypatch.setattr(intake_module, "MAX_HELD_RECORDS", 4)
    two_at_once.receive(*"abcdef")
    working = await recording_two(two_at_once)

    two_at_once.intake.abandon()
    assert two_at_once.intake.is_full

    await finished(two_at_once, working)
    await two_at_once.intake.settled()
    assert stored(two_at_once) == "abcd"


@pytest.mark.parametrize("large", ["first", "second"])
async def test_a_very_large_batch_is_under_way_alone(two_at_once, monkeypatch, large):
    monkeypatch.setattr(recorder_module, "_VERY_LARGE_BYTES", 5_000)
    for number in range(4):
        is_large = (number < 2) == (large == "first")
        body = event(id=f"{number}", details="x" * 3_000 * is_large)
        two_at_once.deliver(json.dumps(body).encode())
    working = asyncio.create_task(two_at_once.recorder.run())
    await until(lambda: len(two_at_once.repository.under_way) == 1)

    await turns_of_the_loop(20)
    assert len(two_at_once.repository.under_way) == 1

    await finished(two_at_once, working)
    assert stored(two_at_once) == "0123"
