"""Recoveries that snapshots show after a backlog, however little of it a step looks at."""

import itertools

import pytest

from jarvis_recorder.storage.incidents import evidence as incident_evidence
from jarvis_recorder.storage.incidents import fold as incident_fold
from jarvis_recorder.storage.incidents.evidence import NewestSnapshots
from tests.support.incidents import (
    crashed,
    event,
    history,
    keep,
    listed,
    put,
    settle,
    snapshot,
    step_without_commit,
    the_one,
)
from tests.support.stored import SNAPSHOTS, at

GUESTS = (101, 102, 103, 104)
AGAIN = 3_700
BOUNDS = {
    "_MOST_SEARCHES": incident_evidence, "_MOST_BYTES": incident_evidence,
    "_MOST_RECOVERED": incident_fold,
}  # fmt: skip


def up_at(vmid):
    return 180 + 720 * (vmid - GUESTS[0])


def shown(seconds):
    """Return a snapshot of guests that come up one after the other."""
    states = [(vmid, "running" if seconds >= up_at(vmid) else "stopped") for vmid in GUESTS]
    return snapshot(seconds, guests=states)


async def told(store, vmid):
    found = await history(store, f"pve1/VM_CRASHED/{vmid}")
    return [(one.state, one.at) for one in found.transitions]


@pytest.mark.parametrize("is_rolled_back", [True, False])
@pytest.mark.parametrize("bound", BOUNDS)
async def test_each_recovers_when_it_did_however_little_a_step_reads(
    store, monkeypatch, bound, is_rolled_back
):
    """All alerts come at once: guests that crashed, came up and crashed again."""
    monkeypatch.setattr(BOUNDS[bound], bound, 1)
    await put(store, *(crashed(0, vmid) for vmid in GUESTS))
    await put(store, *(crashed(AGAIN, vmid, id=f"{vmid}") for vmid in GUESTS))
    await put(store, *map(shown, range(60, 3_660, 60)), topic=SNAPSHOTS)
    if is_rolled_back:
        await store.incidents.step()
        for _ in range(8):
            await step_without_commit(store, monkeypatch)
            await store.incidents.step()
    await settle(store)

    for vmid in GUESTS:
        assert await told(store, vmid) == [
            ("open", at(0)), ("recovered", at(up_at(vmid))), ("open", at(AGAIN)),
        ]  # fmt: skip


@pytest.mark.parametrize("bound", BOUNDS)
async def test_a_restart_loses_no_recovery_that_a_step_has_left(store, monkeypatch, bound):
    """Two problems come late, and one between them that was over by the second."""
    await keep(store, event(0))
    seconds = range(60, 3_600, 60)
    up = [snapshot(n, ("pve1", "offline" if n % 1_200 < 300 else "online")) for n in seconds]
    await keep(store, snapshots=up)
    assert (await the_one(store)).recovered_at == at(300)
    monkeypatch.setattr(BOUNDS[bound], bound, 1)
    await put(store, event(1_200, id="1"), event(2_400, id="2"))
    for _ in range(3):
        monkeypatch.setattr(store.incidents, "_snapshots", NewestSnapshots())
        for _ in range(3):
            await store.incidents.step()
    await settle(store)

    assert [(one.state, one.at) for one in (await history(store)).transitions] == [
        ("open", at(0)), ("recovered", at(300)), ("open", at(1_200)), ("recovered", at(1_500)),
        ("open", at(2_400)), ("recovered", at(2_700)),
    ]  # fmt: skip


async def test_of_many_that_are_up_again_a_step_ends_a_few_and_reads_alerts_as_well(
    store, monkeypatch
):
    """Each step has a newer snapshot, and none begins with those that were looked at again."""
    monkeypatch.setattr(incident_fold, "_MOST_RECOVERED", 2)
    guests = range(101, 108)
    await keep(store, *(crashed(0, vmid) for vmid in guests))
    await store.incidents.step()
    left, opened = [7], []
    while left[-1]:
        minutes = len(left)
        all_up = snapshot(60 * minutes, guests=[(vmid, "running") for vmid in guests])
        await put(store, all_up, topic=SNAPSHOTS)
        await put(store, event(60 * minutes, node=f"pve{minutes}0"))
        for _ in range(2):
            await store.incidents.step()
            left.append(len(await listed(store, kind="VM_CRASHED", state=["open", "unknown"])))
        opened.append(len(await listed(store, kind="NODE_DOWN")))

    assert max(before - after for before, after in itertools.pairwise(left)) == 2
    # On a server an event is final once others that were being stored with it are.
    assert opened[-1] >= len(opened) - 1
    assert {one.recovered_at for one in await listed(store, kind="VM_CRASHED")} == {at(60)}
