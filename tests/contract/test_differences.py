"""`snapshots.diff`: what is added, removed and changed between two snapshots."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jarvis_recorder.demo import cluster
from jarvis_recorder.errors import InvalidParameter, NotFound, ResultTooLarge
from jarvis_recorder.storage.queries import differences as differences_module
from jarvis_recorder.storage.queries.differences import differences
from jarvis_recorder.wire.rpc.params import DiffSnapshots
from tests.support.archive import ask
from tests.support.exchanges import JSON
from tests.support.stored import SNAPSHOTS, at, put

MINUTE = cluster.MINUTE


async def put_snapshots(store, *states, of="home"):
    """Record a snapshot a second, the first at 0."""
    bodies = (
        {"snapshot": state, "cluster": of, "timestamp": at(second).isoformat()}
        for second, state in enumerate(states)
    )
    await put(store, *bodies, topic=SNAPSHOTS)


def paths(found):
    return [one.path for one in found]


def applied(found, value):
    """Return the second value, made from the first and the differences."""
    result = copy.deepcopy(value)
    for kind, path, _, new in found:
        if not path:
            return new
        *way, last = path
        place = result
        for step in way:
            place = element(place, step)
        if kind == "removed":
            remove(place, last)
        elif kind == "added" and isinstance(last, dict):
            place.append(new)
        elif isinstance(last, dict):
            place[place.index(element(place, last))] = new
        else:
            place[last] = new
    return result


def element(place, step):
    if not isinstance(step, dict):
        return place[step]
    (found,) = (one for one in place if step.items() <= one.items())
    return found


def remove(place, step):
    if isinstance(step, dict):
        place.remove(element(place, step))
    else:
        del place[step]


def plain(value):
    """Return a value with its lists of objects in one order: that of the elements says nothing."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        elements = [plain(one) for one in value]
        if elements and all(isinstance(one, dict) for one in elements):
            elements.sort(key=lambda one: json.dumps(one, sort_keys=True))
        return elements
    return value


names = st.sampled_from(["pve1", "pve2", "pve3"])
values = st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["on", "off"]) | JSON
parts = st.fixed_dictionaries({}, optional={"status": values, "cpu": values, "disks": JSON})
guests = st.lists(
    st.tuples(st.integers(100, 104), names, parts).map(
        lambda drawn: {"vmid": drawn[0], "node": drawn[1], **drawn[2]}
    ),
    max_size=4,
    unique_by=lambda one: one["vmid"],
)
storages = st.lists(
    st.tuples(st.sampled_from(["local", "nfs"]), names, parts).map(
        lambda drawn: {"storage": drawn[0], "node": drawn[1], **drawn[2]}
    ),
    max_size=4,
)
states = st.fixed_dictionaries(
    {"vms": guests, "storages": storages, "nodes": st.lists(parts, max_size=3)},
    optional={"quorum": JSON, "more": JSON},
)


@settings(max_examples=1_000, suppress_health_check=list(HealthCheck))
@given(states, states)
def test_the_differences_applied_to_the_first_give_the_second(first, second):
    found = list(differences(first, second))

    assert plain(applied(found, first)) == plain(second)
    assert list(differences(second, copy.deepcopy(second))) == []


def test_a_power_cut_is_the_node_and_its_guests_and_nothing_else():
    before = cluster.state(cluster.DOWN - 1)
    after = cluster.state(cluster.DOWN)

    found = list(differences(before, after, tolerance=0.05))

    guests = [{"vmid": vmid} for vmid in cluster.vmids_on("pve")]
    changed = [one.path[1] for one in found if one.path[0] != "quorum"]
    assert {one.kind for one in found} == {"changed"}
    assert [one for number, one in enumerate(changed) if one not in changed[:number]] == [
        {"name": "pve"}, *guests,
    ]  # fmt: skip
    assert [one.path for one in found if one.path[0] == "quorum"] == [("quorum", "nodes")]


def test_a_migration_is_one_change():
    before = {"vms": [{"vmid": 101, "name": "a", "node": "pve1"}, {"vmid": 102, "node": "pve1"}]}
    after = {"vms": [{"vmid": 102, "node": "pve1"}, {"vmid": 101, "name": "a", "node": "pve2"}]}

    (one,) = differences(before, after)

    assert one == ("changed", ("vms", {"vmid": 101}, "node"), "pve1", "pve2")


@pytest.mark.parametrize(
    ("old", "new", "tolerance", "differs"),
    [
        (100, 105, 0.05, False),
        (100, 106, 0.05, True),
        (-100, 100, 0.5, True),
        (0, 0.001, 0.5, True),
        (1, 1.0, 0, False),
        (1, True, 1, True),
        (1, "1", 1, True),
        (10**400, 10**400 + 1, 0, True),
        (10**400, 1.5, 0.5, True),
    ],
)
def test_numbers_within_the_tolerance_are_the_same(old, new, tolerance, differs):
    assert bool(list(differences({"n": old}, {"n": new}, tolerance))) is differs


async def test_the_snapshots_in_force_are_compared(store):
    await put_snapshots(
        store,
        {"nodes": [{"name": "a", "cpu": 0.50}], "vms": [{"vmid": 1}]},
        {"nodes": [{"name": "a", "cpu": 0.51}], "vms": [{"vmid": 2, "name": "ü"}], "x": None},
    )

    answer = await ask(store, DiffSnapshots(from_=at(0.5), to=at(60), tolerance=0.1))
    exact = await ask(store, DiffSnapshots(from_=at(0), to=at(1)))
    none = await ask(store, DiffSnapshots(from_=at(5), to=at(60)))

    assert [(one.path, one.value) for one in answer.added] == [
        (["vms", {"vmid": 2}], {"vmid": 2, "name": "ü"}), (["x"], None),
    ]  # fmt: skip
    assert [(one.path, one.value) for one in answer.removed] == [
        (["vms", {"vmid": 1}], {"vmid": 1})
    ]
    assert answer.changed == []
    assert (answer.before.timestamp, answer.after.timestamp) == (at(0), at(1))
    assert [(one.path, one.from_, one.to) for one in exact.changed] == [
        (["nodes", {"name": "a"}, "cpu"], 0.5, 0.51)
    ]
    assert (none.added, none.removed, none.changed) == ([], [], [])


async def test_a_time_before_the_first_snapshot_and_an_unnamed_cluster_are_refused(store):
    await put_snapshots(store, {"n": 1})
    with pytest.raises(NotFound):
        await ask(store, DiffSnapshots(from_=at(-1), to=at(5)))

    await put_snapshots(store, {"n": 1}, of="lab")
    with pytest.raises(InvalidParameter, match="'home', 'lab'"):
        await ask(store, DiffSnapshots(from_=at(0), to=at(5)))
    with pytest.raises(NotFound):
        await ask(store, DiffSnapshots(from_=at(0), to=at(5), cluster="none such"))


async def test_snapshots_and_results_that_are_too_large_are_refused(store):
    large = "x" * (differences_module.MOST_BYTES // 2)
    await put_snapshots(
        store,
        {"n": list(range(5_000))},
        {"n": list(range(1, 5_001))},
        {"n": large},
        {"n": f"{large}x"},
        {"n": [0] * differences_module.MOST_VALUES},
        {"n": large * 3},
    )

    with pytest.raises(ResultTooLarge) as refused:
        await ask(store, DiffSnapshots(from_=at(0), to=at(1)), room=100_000)
    assert "larger tolerance" in refused.value.hint
    for first, second in ((2, 3), (3, 4), (1, 5)):
        with pytest.raises(ResultTooLarge, match="too large to be compared"):
            await ask(store, DiffSnapshots(from_=at(first), to=at(second)))
    same = await ask(store, DiffSnapshots(from_=at(3), to=at(3.5)))
    assert same.changed == []


@pytest.mark.parametrize("tolerance", [-0.1, 1.1, float("nan")])
def test_a_tolerance_is_a_part(tolerance):
    with pytest.raises(ValidationError):
        DiffSnapshots(from_=at(0), to=at(1), tolerance=tolerance)
