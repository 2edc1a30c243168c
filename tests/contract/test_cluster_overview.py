"""`snapshots.overview`: the newest state of every cluster, and lines of its nodes."""

import json

from jarvis_recorder.wire.rpc.params import GetClusterOverview
from tests.contract.test_series import node
from tests.contract.test_series import snapshot as snapshot_after_start
from tests.support.archive import ask
from tests.support.stored import SNAPSHOTS, put
from tests.support.stored import at as after_start

_BEFORE = 6 * 3_600
"""The tests begin so long before the time of the stores' clock, rounded up to ten minutes."""


def at(seconds):
    return after_start(seconds - _BEFORE)


def snapshot(seconds=0.0, of="home", **state):
    return snapshot_after_start(seconds - _BEFORE, of, **state)


async def overview(store, since=0, **more):
    return await ask(store, GetClusterOverview(since=at(since), **more))


async def test_each_cluster_has_its_newest_snapshot_and_lines_of_its_nodes(store):
    await put(
        store,
        *(snapshot(one, **node(cpu)) for one, cpu in [(0, 0.5), (30, 0.25), (90, 0.75)]),
        snapshot(630, **node(1, mem=2, maxmem=4)),
        snapshot(0, of="lab", **node(0.5, name="one")),
        snapshot(86_400 * 365, of="lab", **node(0.9, name="one")),
        topic=SNAPSHOTS,
    )

    found = await overview(store)

    home, lab = found.clusters
    assert (home.cluster, home.usual_gap_seconds) == ("home", 60)
    assert home.snapshot.timestamp == at(630)
    assert home.first_at == at(0)
    assert home.snapshot.snapshot == node(1, mem=2, maxmem=4)
    (line,) = home.lines
    assert line.node == "pve1"
    assert [(point.at, point.cpu, point.mem) for point in line.points] == [
        (at(0), 0.5, None),
        (at(600), 1, 2),
    ]
    assert (lab.cluster, lab.usual_gap_seconds) == ("lab", None)
    assert lab.snapshot.timestamp == at(0), "one in the future is not shown"
    assert (found.bucket_seconds, found.truncated) == (600, False)


async def test_a_line_begins_at_the_time_given_and_has_no_more_points_than_asked_for(store):
    hours = [snapshot(3_600 * n, **node(n / 10)) for n in range(6)]
    await put(store, *hours, topic=SNAPSHOTS)

    found = await overview(store, since=3_600, points=3)

    (line,) = found.clusters[0].lines
    assert len(line.points) <= 3
    assert line.points[0].at == at(3_600)
    assert found.clusters[0].first_at == at(3_600)
    assert found.bucket_seconds % 600 == 0
    (later,) = (await overview(store, since=86_400 * 300)).clusters
    assert (later.lines, later.first_at) == ([], None)


async def test_a_large_body_is_left_out_and_named(store):
    large = {"nodes": [{"name": "pve1", "status": "online", "note": "x" * 70_000}]}
    await put(store, snapshot(0, **large), snapshot(0, of="lab", **node(0.5)), topic=SNAPSHOTS)

    home, lab = (await overview(store)).clusters

    assert (home.snapshot.snapshot, home.snapshot.omitted) == ({}, ["snapshot"])
    assert (lab.snapshot.snapshot, lab.snapshot.omitted) == (node(0.5), [])
    assert home.lines == [], "nothing of it was measured"


async def test_what_does_not_fit_is_said_to_be_left_out(store):
    many = [snapshot(0, of=f"cluster-{n:03}", **node(0.5)) for n in range(60)]
    await put(store, *many, topic=SNAPSHOTS)

    found = await overview(store)
    small = json.loads(
        await store.archive.answer(GetClusterOverview(since=at(0)), float("inf"), 4_096)
    )

    assert len(found.clusters) == 50
    assert found.truncated
    assert small["truncated"]
    assert len(json.dumps(small, separators=(",", ":"))) <= 4_096


async def test_a_cluster_has_lines_of_a_hundred_nodes(store):
    nodes = [{"name": f"node-{n:03}", "cpu": 0.5} for n in range(120)]
    await put(store, snapshot(0, nodes=nodes), topic=SNAPSHOTS)

    (home,) = (await overview(store)).clusters

    assert [line.node for line in home.lines] == [f"node-{n:03}" for n in range(100)]


async def test_without_snapshots_there_is_no_cluster(store):
    found = await overview(store, since=0)

    assert (found.clusters, found.truncated) == ([], False)
