"""A database or a broker that is away, hangs or confirms nothing."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from jarvis_recorder.ingest import dead_letter_publisher as dead_letters_module
from jarvis_recorder.ingest import intake as intake_module
from jarvis_recorder.ingest import recorder as recorder_module
from jarvis_recorder.ingest.recorder import OutageTooLong
from jarvis_recorder.telemetry.status import State
from jarvis_recorder.wire.records import identity_of
from tests.support.pipeline import (
    turns_of_the_loop,
)
from tests.support.publisher import event


async def test_an_unavailable_database_only_delays(pipeline, monkeypatch):
    monkeypatch.setattr(recorder_module, "_FIRST_RETRY_SECONDS", 0)
    pipeline.repository.failures = 3
    pipeline.receive("a", "b")

    with capture_logs() as logs:
        effects = await pipeline.run()

    assert effects == ["commit a,b", "ack to 2"]
    assert [line["event"] for line in logs].count("storage_unavailable") == 3
    assert [line["event"] for line in logs].count("storage_available") == 1
    assert pipeline.status.state is State.RECORDING


async def test_what_the_database_refuses_is_dead_lettered_alone(pipeline):
    pipeline.repository.unwanted = {"bad"}
    bad = json.dumps(event(id="b", summary="bad"))
    pipeline.receive("a")
    pipeline.deliver(f"[{bad}, {json.dumps(event(id='c'))}]".encode())

    effects = await pipeline.run()

    assert effects == ["commit a,b,c", "ack to 1", f"dead-letter {bad}", "ack 2"]
    assert pipeline.status.dead_letters == {"refused_by_storage": 1}


async def test_nothing_is_settled_while_the_database_is_away(pipeline, monkeypatch):
    monkeypatch.setattr(recorder_module, "_FIRST_RETRY_SECONDS", 0)
    pipeline.repository.failures = 10**9
    pipeline.receive("a", "junk", "b")
    working = asyncio.create_task(pipeline.recorder.run())
    while pipeline.status.state is not State.STORAGE_UNAVAILABLE:
        await asyncio.sleep(0)
    await turns_of_the_loop(20)

    assert pipeline.effects == []
    assert pipeline.consumer.outstanding == {1, 2, 3}

    pipeline.repository.failures = 0
    pipeline.intake.close()
    await working
    await pipeline.dead_letters.drain(5)

    assert pipeline.effects == ["commit a,b", "ack to 1", "ack 3", "dead-letter junk", "ack 2"]


async def test_an_outage_with_a_full_intake_gives_the_messages_back(pipeline, monkeypatch):
    """While the flow is paused nothing can be answered, not even the broker's heartbeats."""
    monkeypatch.setattr(intake_module, "MAX_BATCH_RECORDS", 1)
    monkeypatch.setattr(intake_module, "MAX_HELD_RECORDS", 2)
    pipeline.repository.failures = 10**9
    pipeline.receive("a", "b", "c")

    with pytest.raises(OutageTooLong) as outage:
        await pipeline.run()

    assert pipeline.consumer.outstanding == {1, 2, 3}
    assert [*map(identity_of, outage.value.records)] == ["a"]


async def test_a_commit_that_never_ends_gives_the_messages_back(pipeline, monkeypatch):
    """As of a server that is frozen, or waits for its standby."""
    monkeypatch.setattr(recorder_module, "HOLD_SECONDS", 0.0)
    monkeypatch.setattr(recorder_module, "_LEAST_PATIENCE_SECONDS", 0.01)
    pipeline.repository.disk.clear()
    pipeline.receive("a", "b")

    with pytest.raises(OutageTooLong) as outage:
        await pipeline.run()

    assert pipeline.consumer.outstanding == {1, 2}
    assert [*map(identity_of, outage.value.records)] == ["a", "b"]
    assert pipeline.status.state is State.STORAGE_UNAVAILABLE


async def test_a_hanging_commit_with_a_full_intake_gives_the_messages_back_sooner(
    pipeline, monkeypatch
):
    """A paused connection lives no longer than a silent one."""
    monkeypatch.setattr(intake_module, "MAX_HELD_RECORDS", 3)
    monkeypatch.setattr(recorder_module, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(pipeline.recorder, "_full_seconds", 0.01)
    pipeline.repository.disk.clear()
    pipeline.receive("a", "b")
    working = asyncio.create_task(pipeline.recorder.run())
    await asyncio.sleep(0.1)
    assert not working.done()

    pipeline.receive("c")
    with pytest.raises(OutageTooLong) as outage:
        async with asyncio.timeout(60):
            await working

    assert [*map(identity_of, outage.value.records)] == ["a", "b"]
    assert pipeline.consumer.outstanding == {1, 2, 3}


async def test_a_hanging_commit_that_keeps_a_large_delivery_waiting_gives_the_messages_back(
    pipeline, monkeypatch
):
    monkeypatch.setattr(intake_module, "_HELD_BESIDE_LARGE", 1)
    monkeypatch.setattr(recorder_module, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(pipeline.recorder, "_full_seconds", 0.01)
    pipeline.repository.disk.clear()
    pipeline.receive("a")
    pipeline.deliver(json.dumps(event(id="large", details="x" * 40_000)).encode())

    with pytest.raises(OutageTooLong):
        async with asyncio.timeout(60):
            await pipeline.recorder.run()

    pipeline.intake.abandon()
    assert pipeline.consumer.outstanding == {1, 2}


async def test_dead_letters_that_nobody_confirms_do_not_fill_the_memory(pipeline, monkeypatch):
    """Beyond the bound the broker buries them whole, for which it needs nothing from us."""
    monkeypatch.setattr(dead_letters_module, "MAX_HELD_BYTES", 2_500)
    monkeypatch.setattr(dead_letters_module, "_CONFIRM_SECONDS", 0.01)
    pipeline.publisher.confirming.clear()
    pipeline.receive("junk-1", "junk-2", "junk-3")
    pipeline.intake.close()

    await pipeline.recorder.run()
    await turns_of_the_loop(10)

    assert pipeline.effects == ["reject 3"]
    assert pipeline.consumer.outstanding == {1, 2}
    pipeline.publisher.confirming.set()
    await pipeline.dead_letters.drain(5)
    assert pipeline.consumer.outstanding == set()


async def test_dead_letters_wait_for_a_broker_that_confirms(pipeline, monkeypatch):
    monkeypatch.setattr(dead_letters_module, "MAX_HELD_BYTES", 2_500)
    pipeline.receive(*(f"junk-{number}" for number in range(20)))

    await pipeline.run()

    assert len(pipeline.publisher.published) == 20
    assert pipeline.consumer.outstanding == set()
