"""A step of the fold that fails, is refused or rolled back: it is done again, and nothing is lost."""

import asyncio

import pytest

from jarvis_recorder.errors import (
    DeadlineExceeded,
    RecordRefused,
)
from jarvis_recorder.storage.incidents import candidates
from jarvis_recorder.storage.incidents import keeper as incident_keeper
from jarvis_recorder.storage.queries.reading import Pace
from tests.support.archive import rows
from tests.support.incidents import (
    event,
    keep,
    listed,
    put,
    settle,
    snapshot,
    step_without_commit,
    the_one,
    up,
)
from tests.support.stored import SNAPSHOTS


async def test_a_fault_of_the_fold_ends_nothing_and_is_reported(store, monkeypatch, capsys):
    def fail(*_):
        raise OverflowError("date value out of range")

    with monkeypatch.context() as patched:
        patched.setattr(incident_keeper, "read_candidates", fail)
        patched.setattr(incident_keeper, "_AGAIN_SECONDS", 0.01)
        stop = asyncio.Event()
        running = asyncio.create_task(store.incidents.run(stop))
        await put(store, event(0))
        async with asyncio.timeout(30):
            while (await store.health()).incidents_failure is None:
                await asyncio.sleep(0.01)
    async with asyncio.timeout(30):
        while not await listed(store):
            await asyncio.sleep(0.02)
    stop.set()
    await running

    assert (await store.health()).incidents_failure is None
    assert "date value" not in capsys.readouterr().out, "an error may repeat what was recorded"


async def test_incidents_open_while_others_search(store, monkeypatch):
    """Scans have few threads, and may take them for as long as they like."""
    run = store.incidents._readers.run

    def run_next_to_scans(*given, pace=Pace.QUICK):
        assert pace is not Pace.SCAN, "it would wait for the others' scans"
        return run(*given, pace=pace)

    monkeypatch.setattr(store.incidents._readers, "run", run_next_to_scans)
    await keep(store, event(0), snapshots=[snapshot(60, ("pve1", "online"))])

    assert (await the_one(store)).state == "recovered"


async def test_events_that_wait_for_snapshots_in_vain_are_not_silent(store, monkeypatch):
    async def too_late(*_):
        raise DeadlineExceeded("others read")

    with monkeypatch.context() as patched:
        patched.setattr(store.incidents._snapshots, "read_some", too_late)
        await put(store, event(0, "[Monitor] THRESHOLD: cpu of pve1"))
        await settle(store)
        await put(store, event(1))
        with pytest.raises(DeadlineExceeded, match="newest snapshots"):
            for _ in range(20):
                await store.incidents.step()
        assert (await the_one(store)).kind == "THRESHOLD"
    await settle(store)

    assert len(await listed(store)) == 2


async def test_a_first_step_by_other_rules_may_fail_and_be_done_again(store, monkeypatch):
    await keep(store, event(0))
    await rows(store, "UPDATE incident_progress SET rules = 'other'")
    # A recorder that has just been started.
    monkeypatch.setattr(store.incidents, "_has_begun", False)

    await step_without_commit(store, monkeypatch)
    await settle(store)

    assert (await the_one(store)).count == 1


async def test_an_event_that_is_refused_is_left_out_alone(store, monkeypatch, capsys):
    read_event = candidates.read_event

    def read_without_kind(event, rules):
        found = read_event(event, rules)
        if found is None or event.node != "pve2":
            return found
        return found[0]._replace(kind=None), found[1]

    monkeypatch.setattr(candidates, "read_event", read_without_kind)
    await keep(store, event(0), event(1, node="pve2"), event(2, node="pve3"), up(3))

    assert {one.node: one.state for one in await listed(store)} == {
        "pve1": "recovered", "pve3": "open",
    }  # fmt: skip
    assert "incident_event_refused" in capsys.readouterr().out


async def test_a_step_that_is_refused_is_a_failure(store, monkeypatch):
    def refuse(*_):
        raise RecordRefused("it cannot be stored")

    monkeypatch.setattr(incident_keeper, "read_candidates", refuse)
    monkeypatch.setattr(incident_keeper, "_AGAIN_SECONDS", 0.01)
    stop = asyncio.Event()
    running = asyncio.create_task(store.incidents.run(stop))
    await put(store, event(0))
    async with asyncio.timeout(60):
        while (await store.health()).incidents_failure is None:
            await asyncio.sleep(0.01)
    stop.set()
    await running


@pytest.mark.parametrize("step", ["step", "_timed_step"])
async def test_what_a_rolled_back_step_has_looked_at_is_looked_at_again(store, monkeypatch, step):
    monkeypatch.setattr(incident_keeper, "_PATIENCE_SECONDS", 60.0)
    await keep(store, event(0))
    do = getattr(store.incidents, step)
    await do()
    await put(store, snapshot(60, ("pve1", "online")), topic=SNAPSHOTS)

    await step_without_commit(store, monkeypatch, do)
    await do()

    assert (await the_one(store)).state == "recovered"
