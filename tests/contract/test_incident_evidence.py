"""Snapshots as evidence for events: of which cluster, node, guest and storage."""

from jarvis_recorder.wire.rpc import params
from tests.support.archive import ask
from tests.support.incidents import crashed, event, keep, listed, snapshot, the_one, up
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
