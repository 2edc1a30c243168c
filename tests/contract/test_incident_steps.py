"""Bounds of one step of the fold: events, snapshots, conditions."""

import pytest

from jarvis_recorder.incidents import state as incident_state
from jarvis_recorder.incidents.rules import load_rules
from jarvis_recorder.incidents.state import next_incidents
from jarvis_recorder.storage.incidents import evidence as incident_evidence
from jarvis_recorder.storage.incidents import fold as incident_fold
from jarvis_recorder.storage.series import values_of
from jarvis_recorder.storage.sqlite.store import open_store as open_file
from jarvis_recorder.wire.rpc import params
from tests.support.archive import ask, clock, rows
from tests.support.incidents import (
    announced,
    crashed,
    event,
    keep,
    listed,
    put,
    settle,
    snapshot,
    stale,
    the_one,
)
from tests.support.stored import SNAPSHOTS, at


async def reached(store):
    ((upto,),) = await rows(store, "SELECT reached FROM incident_progress")
    return upto


async def test_a_step_reads_no_more_of_large_events_than_it_may(store):
    """None of them says anything of a condition; the last one does, and is found."""
    large = {"type": "action", "source": "system", "details": {"log": "x" * 300_000}}
    for n in range(3):
        await put(store, *({**large, "summary": f"action {n} {m}"} for m in range(10)))
    await put(store, event(0))
    steps, before = [], -1
    for _ in range(4):
        while await store.incidents.step() or await reached(store) > before:
            before, upto = await reached(store), before
            steps.append(before - upto)

    assert max(steps) <= 8, "each may read two million characters"
    assert (await the_one(store)).count == 1


@pytest.fixture
def read_of_snapshots(monkeypatch):
    """The bytes of the snapshots that were read as evidence, one by one."""
    read = []

    def noted(cluster, moment, packed, size_bytes):
        read.append(size_bytes)
        return values_of(cluster, moment, packed, size_bytes)

    monkeypatch.setattr(incident_evidence, "values_of", noted)
    return read


async def test_a_step_reads_few_snapshots_and_an_incident_none_again(store, read_of_snapshots):
    """Of twelve clusters, each as large as three in a step."""
    for n in range(12):
        shown = snapshot(20, (f"pve{n}", "online"), of=f"c{n}")
        shown["snapshot"]["log"] = ["x" * 360_000]
        await put(store, shown, topic=SNAPSHOTS)
    await put(store, event(0, node="pve11"))
    steps = []
    for _ in range(40):
        before = len(read_of_snapshots)
        await store.incidents.step()
        steps.append(sum(read_of_snapshots[before:]))
    first = await the_one(store)
    read_of_snapshots.clear()
    await keep(store, event(0, node="pve10"), event(0, node="pve99"))

    assert 0 < max(steps) < 2_000_000, "a million bytes, and the one that goes beyond"
    assert (first.state, first.recovered_at) == ("recovered", at(20))
    assert {one.node: one.state for one in await listed(store)} == {
        "pve11": "recovered", "pve10": "recovered", "pve99": "open",
    }  # fmt: skip
    # As the only one of its stretch that shows the object, when it first was up.
    assert len(read_of_snapshots) <= 1


async def test_the_last_of_many_clusters_is_evidence_too(store):
    many = [snapshot(20, (f"pve{n}", "online"), of=f"c{n:03}") for n in range(120)]
    await keep(store, event(0, node="pve119"), event(0, node="both"), snapshots=many)
    both = [snapshot(20, ("both", "online"), of=f"c{n:03}") for n in (121, 122)]
    await keep(store, snapshots=both)

    states = {one.node: one.state for one in await listed(store)}

    assert states == {"pve119": "recovered", "both": "open"}


async def test_of_more_objects_than_are_kept_only_named_clusters_are_evidence(store, monkeypatch):
    monkeypatch.setattr(incident_evidence, "_MOST_OBJECTS", 1, raising=False)
    shown = [snapshot(20, (f"pve{n}", "online"), of=f"c{n}") for n in range(2)]
    await keep(store, event(0, node="pve0", cluster="c0"), event(0, node="pve0"), snapshots=shown)

    states = {one.cluster: one.state for one in await listed(store)}

    assert states == {"c0": "recovered", None: "open"}


@pytest.fixture
def folded_signals(monkeypatch):
    """The signals that were folded, one by one."""
    folded = []

    def noted(before, signal, *args, **options):
        folded.append(signal)
        return next_incidents(before, signal, *args, **options)

    monkeypatch.setattr(incident_state, "next_incidents", noted)
    return folded


def flaps(vmid):
    """Return a guest that crashes and starts four times, in order."""
    for n in range(4):
        yield crashed(n * 100, vmid, id=f"{vmid} c{n}")
        started = f"[Monitor] VM_STARTED: mail ({vmid}) runs"
        yield event(n * 100 + 50, started, type="status", severity="info", id=f"{vmid} s{n}")


async def test_late_signals_of_many_conditions_are_folded_again_step_by_step(
    store, monkeypatch, folded_signals
):
    """Each second problem comes late; of each condition there are eight signals."""
    monkeypatch.setattr(incident_fold, "_MOST_FOLDED", 10, raising=False)
    stories = [[*flaps(100 + n)] for n in range(6)]
    await keep(store, *(one for story in stories for one in story if not one["id"].endswith("c1")))
    told = await announced(store)
    await put(store, *(one for story in stories for one in story if one["id"].endswith("c1")))
    steps = []
    for _ in range(20):
        folded_signals.clear()
        await store.incidents.step()
        steps.append(len(folded_signals))

    assert max(steps) <= 10 + 8, "one may go beyond, and the next does not begin"
    assert await stale(store) == 0
    assert {(one.count, one.state, one.flapping) for one in await listed(store)} == {
        (4, "recovered", True)
    }
    assert len(await listed(store)) == 6
    assert await announced(store) == told


async def test_what_a_step_leaves_to_the_next_is_shown_as_at_once(store, monkeypatch):
    monkeypatch.setattr(incident_fold, "_MOST_FOLDED", 1)
    both = [snapshot(20, ("pve1", "online"), of=name) for name in ("home", "lab")]
    await keep(store, event(10), event(10, cluster="lab"), snapshots=both)

    states = {one.cluster: one.state for one in await listed(store)}

    assert states == {None: "open", "lab": "recovered"}


async def test_what_a_step_leaves_to_the_next_is_not_told_after_other_rules(path, monkeypatch):
    monkeypatch.setattr(incident_fold, "_MOST_FOLDED", 1)
    async with open_file(path, clock) as store:
        await keep(store, *(crashed(n, 100 + n) for n in range(5)))
        told = await announced(store)
    async with open_file(path, clock, rules=load_rules(None, 47)) as store:
        await settle(store)

        assert len(await listed(store)) == len(told) == 5
        assert await announced(store) == told
        await keep(store, crashed(9, 109))
        assert len(await announced(store)) == 6


async def test_a_step_folds_one_condition_again_of_which_events_were_resolved(store):
    await keep(store, *(crashed(0, 100 + n) for n in range(4)))
    for one in (await ask(store, params.ListEvents())).events:
        await ask(store, params.ResolveEvent(id=one.id, resolved_by="anna"))
    left = [await stale(store)]
    while left[-1]:
        assert await store.incidents.step() is (left[-1] > 1)
        left.append(await stale(store))

    assert left == [4, 3, 2, 1, 0]
    assert {one.state for one in await listed(store)} == {"resolved"}
