"""Snapshots as evidence for events: of which cluster, node, guest and storage."""

import pytest

from jarvis_recorder.storage.tables import incident_signals
from jarvis_recorder.wire.rpc import params
from tests.support.archive import ask, reads_of_transactions
from tests.support.incidents import (
    crashed,
    event,
    history,
    keep,
    listed,
    snapshot,
    the_one,
    up,
)
from tests.support.stored import at


async def test_an_unnamed_cluster_is_that_of_events_that_name_none(store):
    """The guest is in the cluster without a name, and in another."""
    shown = [
        snapshot(20, guests=[(105, "running")], of=""),
        snapshot(20, guests=[(105, "running"), (106, "running")], of="lab"),
    ]
    await keep(store, crashed(0, 105), crashed(0, 106), snapshots=shown)

    states = {one.object: one.state for one in await listed(store)}

    assert states == {"105": "recovered", "106": "open"}


async def test_a_name_in_two_clusters_is_no_evidence_unless_the_event_names_one(store):
    both = [snapshot(20, ("pve1", "online"), of=name) for name in ("home", "lab")]
    await keep(store, event(10), event(10, cluster="lab"), snapshots=both)

    states = {one.cluster: one.state for one in await listed(store)}

    assert states == {None: "open", "lab": "recovered"}


def storages(seconds, *shown, of="home"):
    """Return a snapshot of storages, each with its name, its node, whether it is shared, its status."""
    names = ("storage", "node", "shared", "status")
    return {
        "cluster": of, "timestamp": at(seconds).isoformat(),
        "snapshot": {"storages": [dict(zip(names, one, strict=True)) for one in shown]},
    }  # fmt: skip


async def test_a_snapshot_of_a_shared_storage_is_evidence_for_an_event_of_one_node(store):
    down = [
        event(n, "[Monitor] STORAGE_DOWN: nfs is not reachable", id=f"d{n}") for n in (0, 100, 200)
    ]
    shown = [
        storages(n, ("nfs", "pve1", 1, "available" if n % 100 else "unknown"))
        for n in (0, 50, 100, 150, 200)
    ]
    await keep(store, *down, snapshots=shown)
    still = await the_one(store)
    await keep(store, snapshots=[storages(300, ("nfs", "pve1", 1, "available"))])

    incident = await the_one(store)

    # Of the backlog too, each recovery counts.
    assert (still.state, still.evidence_at) == ("open", at(200))
    assert (incident.state, incident.recovered_at) == ("recovered", at(300))
    found = await ask(store, params.GetIncident(key=incident.key))
    assert [one.state for one in found.transitions] == ["open", "recovered"] * 3


async def test_a_shared_storage_is_up_if_it_is_so_on_all_nodes(store):
    await keep(store, event(0, "[Monitor] STORAGE_DOWN: nfs is not reachable"))
    states = []
    for seconds, on_pve1 in ((20, "unknown"), (40, "available")):
        shown = [("nfs", "pve1", 1, on_pve1), ("nfs", "pve2", 1, "available")]
        await keep(store, snapshots=[storages(seconds, *shown)])
        states.append((await the_one(store)).state)

    assert states == ["open", "recovered"]


async def test_the_storage_of_a_node_comes_before_a_shared_one_of_its_name(store):
    shown = [
        storages(20, ("local", "pve1", 0, "unknown")),
        storages(20, ("local", "pve7", 1, "available"), of="lab"),
    ]
    await keep(store, event(0, "[Monitor] STORAGE_DOWN: local"), snapshots=shown)

    assert (await the_one(store)).state == "open"


async def test_guests_on_a_node_that_is_down_are_part_of_its_incident(store):
    await keep(store, crashed(0, 105), event(3), crashed(4, 106), crashed(4, 107, node="pve2"))

    found = {one.object: one for one in await listed(store)}

    assert found["105"].caused_by == found["106"].caused_by == found[None].key
    assert found["107"].caused_by is None


async def test_a_guest_that_had_failed_alone_before_is_part_of_its_node_too(store):
    day = 86_400
    started = crashed(600, id="up").copy() | {
        "type": "status", "severity": "info", "summary": "[Monitor] VM_STARTED: mail (105) runs",
    }  # fmt: skip
    await keep(store, crashed(0, id="alone"), started)
    await keep(store, event(day), crashed(day + 2, id="with"))

    assert (await the_one(store, kind="VM_CRASHED")).caused_by is not None


async def test_a_guest_that_failed_while_its_node_was_up_is_part_of_nothing(store):
    """The node was down before, and is again: its incident is the same."""
    hour = 3_600
    await keep(store, event(0), up(600), crashed(9 * hour), event(24 * hour, id="again"))

    assert (await the_one(store, kind="VM_CRASHED")).caused_by is None


async def test_what_was_so_of_a_node_is_looked_up_once_for_its_guests(store):
    nodes = ("pve1", "pve2")
    guests = [crashed(5 + n, 100 + n, node=nodes[n % 2]) for n in range(20)]
    await keep(store, *(event(0, node=node) for node in nodes), *guests)

    with reads_of_transactions(incident_signals) as reads:
        found = await listed(store, limit=100)

    causes = [one.caused_by for one in found if one.object]
    assert {*causes} == {one.key for one in found if not one.object}
    assert (len(causes), reads) == (20, [2])


async def test_guests_that_failed_in_and_between_outages_are_told_apart(store):
    """A page finds for each of them what it finds for that one alone."""
    hour = 3_600
    alerts = [event(0), event(300), event(4 * hour), event(90 * hour)]
    ends = [up(600), up(700), up(5 * hour)]
    failures = [-300, -60, 5, 420, 700, 1_300, hour, 4.5 * hour, 6 * hour, 91 * hour, 300 * hour]
    guests = [crashed(seconds, 100 + n) for n, seconds in enumerate(failures)]
    await keep(store, *alerts, *ends, *guests)

    found = await listed(store, kind="VM_CRASHED")
    alone = [(await history(store, one.key)).incident for one in found]
    newer, older = [one.key for one in await listed(store, kind="NODE_DOWN")]

    causes = [one.caused_by for one in sorted(found, key=lambda one: int(one.object))]
    assert causes == [None, *[older] * 4, None, None, older, None, newer, newer]
    assert [one.caused_by for one in found] == [one.caused_by for one in alone]


@pytest.mark.parametrize("is_reported_again", [False, True])
async def test_a_guest_that_is_closed_and_opened_by_hand_stays_a_part_of_its_node(
    store, is_reported_again
):
    """The node is up by then: that somebody did so is no failure of the guest."""
    await keep(store, event(-7_200), crashed(-7_195), up(-3_600))
    before = await the_one(store, kind="VM_CRASHED")
    await ask(store, params.ResolveIncident(key=before.key))
    await ask(store, params.ReopenIncident(key=before.key))
    if is_reported_again:
        await keep(store, crashed(600, id="again"))

    after = await the_one(store, kind="VM_CRASHED")

    assert after.caused_by == before.caused_by == (await the_one(store, kind="NODE_DOWN")).key


async def test_a_guest_that_fails_again_after_its_end_is_a_part_of_what_was_so_then(store):
    started = crashed(600, id="up") | {
        "type": "status", "severity": "info", "summary": "[Monitor] VM_STARTED: mail (105) runs",
    }  # fmt: skip
    await keep(store, event(0), crashed(5), up(500), started, crashed(3_600, id="again"))

    assert (await the_one(store, kind="VM_CRASHED")).caused_by is None
