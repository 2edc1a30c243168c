"""`snapshots.series`: the measures of nodes, guests and storages over time."""

import sqlite3
from asyncio import CancelledError
from contextlib import closing
from datetime import timedelta
from itertools import pairwise

import psycopg
import pytest
from pydantic import ValidationError

from jarvis_recorder.errors import NoCopy, NotFound
from jarvis_recorder.retention_policy import DAY, RetentionPolicy
from jarvis_recorder.storage import series
from jarvis_recorder.storage.postgres.filling import Filling
from jarvis_recorder.storage.postgres.store import open_store as open_server
from jarvis_recorder.storage.sqlite.store import open_store as open_file
from jarvis_recorder.storage.tables import snapshot_measures
from jarvis_recorder.storage.transfer import copy_to_server
from jarvis_recorder.wire.rpc.params import ForecastMeasure, MeasureSeries
from jarvis_recorder.wire.times import to_micros
from tests.support.archive import ask, clock, prune, steps_of_pruning
from tests.support.stored import SNAPSHOTS, at, put


def snapshot(seconds=0.0, of="home", **state):
    return {"snapshot": state, "cluster": of, "timestamp": at(seconds).isoformat()}


def guest(vmid):
    return {"vms": [{"vmid": vmid, "status": "running", "cpu": 1}]}


def node(cpu, name="pve1", **more):
    return {"nodes": [{"name": name, "cpu": cpu, "status": "online", **more}]}


async def points(store, *measures, name="pve1", kind="node", seconds=3_600, **more):
    params = {"cluster": "home", "since": at(0), "until": at(seconds)} | more
    asked = MeasureSeries(kind=kind, name=name, measures=[*measures], **params)
    return (await ask(store, asked)).points


async def test_a_point_has_minimum_mean_and_maximum_of_its_stretch(store):
    await put(
        store,
        *(snapshot(one, **node(cpu)) for one, cpu in [(0, 0.5), (30, 0.25), (599, 0.75)]),
        snapshot(600, **node(1, status="offline")),
        topic=SNAPSHOTS,
    )

    first, second = await points(store, "cpu", "online")

    assert first.at == at(0)
    assert (first.cpu.min, first.cpu.mean, first.cpu.max) == (0.25, 0.5, 0.75)
    assert second.at == at(600)
    assert (second.cpu.mean, second.online.max) == (1, 0)
    assert second.mem is None


async def test_guests_and_storages_have_their_own_names_and_measures(store):
    state = {
        "vms": [{"vmid": 101, "status": "running", "mem": 2**40, "maxmem": 2**41}],
        "storages": [
            {"storage": "local", "node": "pve1", "used": 5, "total": 10},
            {"storage": "local", "node": "pve2", "disk": 7, "maxdisk": 10},
            {"storage": "ceph", "node": "pve1", "shared": 1, "used": 1, "total": 2},
        ],
    }
    await put(store, snapshot(0, **state), topic=SNAPSHOTS)

    (guest,) = await points(store, "mem", kind="guest", name="101")
    (first,) = await points(store, "used", kind="storage", name="pve1/local")
    (second,) = await points(store, "used", "total", kind="storage", name="pve2/local")
    (shared,) = await points(store, "used", kind="storage", name="ceph")

    assert guest.mem.mean == 2**40
    assert (first.used.mean, second.used.mean, shared.used.mean) == (5, 7, 1)
    assert second.total.mean == 10


async def test_a_load_that_decays_to_nothing_has_a_mean(store):
    """A server refuses a quotient that is too small to be told from 0."""
    await put(
        store, *(snapshot(one, **node(cpu)) for one, cpu in [(0, 5e-324), (30, 0)]), topic=SNAPSHOTS
    )

    (point,) = await points(store, "cpu")

    assert (point.cpu.min, point.cpu.mean, point.cpu.max) == (0, 0, 0)


async def test_what_is_delivered_again_counts_once_and_what_comes_late_counts(store):
    late = snapshot(10, **node(0.0)) | {"id": "late"}
    first, again = (snapshot(20, **node(1.0)) | {"id": "one"} for _ in range(2))
    await put(store, first, topic=SNAPSHOTS)
    await put(store, again, late, late, topic=SNAPSHOTS)

    found = await points(store, "cpu")

    assert [(one.cpu.min, one.cpu.mean, one.cpu.max) for one in found] == [(0, 0.5, 1)]


async def test_the_points_are_bounded_and_hold_every_value(store):
    await put(
        store, *(snapshot(600 * one, **node(one)) for one in range(100)), topic=SNAPSHOTS
    )  # fmt: skip

    found = await points(store, "cpu", seconds=60_000, points=7)

    assert len(found) == 7
    assert found[0].cpu.min == 0
    assert found[-1].cpu.max == 99
    assert {two.at - one.at for one, two in pairwise(found)} == {timedelta(seconds=9_000)}


async def test_an_unknown_object_has_no_points_and_another_cluster_has_its_own(store):
    await put(store, snapshot(0, **node(1)), snapshot(0, "lab", **node(2)), topic=SNAPSHOTS)

    assert await points(store, "cpu", name="pve9") == []
    assert [one.cpu.max for one in await points(store, "cpu", cluster="lab")] == [2]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": "storage", "measures": ["cpu"]}, "a storage has no cpu: it has used, total"),
        ({"measures": ["temperature"]}, "Input should be 'cpu'"),
        ({"measures": []}, "at least 1 item"),
        ({"points": 1_001}, "less than or equal to 1000"),
        ({"until": at(0)}, "until must be later than since"),
    ],
)
def test_what_cannot_be_answered_is_refused(changes, why):
    params = {"kind": "node", "name": "pve1", "measures": ["cpu"], "since": at(0), "until": at(1)}

    with pytest.raises(ValidationError, match=why):
        MeasureSeries(**params | changes)


def pool(used, total=100):
    return {"storages": [{"storage": "nfs", "used": used, "total": total}]}


async def foretold(store, **params):
    asked = {"kind": "storage", "name": "nfs", "measure": "used", "cluster": "home"} | params
    return await ask(store, ForecastMeasure(**asked))


async def test_a_storage_that_fills_is_foretold_and_one_that_does_not_is_not(store):
    await put(
        store,
        *(snapshot(86_400 * day, **pool(10 + day)) for day in range(-29, 1)),
        *(snapshot(86_400 * day, "lab", **pool(50)) for day in range(-29, 1)),
        topic=SNAPSHOTS,
    )

    found = await foretold(store)
    sooner = await foretold(store, limit=20)
    flat = await foretold(store, cluster="lab")

    assert (found.growing, found.value, found.limit) == (True, 10, 100)
    assert found.per_day == pytest.approx(1)
    assert found.measured_at == at(0)
    assert found.soonest_at <= found.full_at <= found.latest_at
    assert abs(found.full_at - at(90 * 86_400)) < timedelta(hours=1)
    assert abs(sooner.full_at - at(10 * 86_400)) < timedelta(hours=1)
    assert (flat.growing, flat.per_day, flat.full_at) == (False, None, None)


async def test_a_snapshot_of_the_future_ends_no_forecast(store):
    days = [snapshot(86_400 * day, **pool(10 + day)) for day in range(-29, 1)]
    await put(store, *days, topic=SNAPSHOTS)
    before = await foretold(store)

    await put(store, snapshot(86_400 * 400, **pool(70)), topic=SNAPSHOTS)

    assert await foretold(store) == before
    only_ahead = [snapshot(86_400 * (400 + day), "lab", **pool(10 + day)) for day in range(30)]
    await put(store, *only_ahead, topic=SNAPSHOTS)
    assert (await foretold(store, cluster="lab")).growing, "the publisher's clock was always ahead"


@pytest.mark.parametrize("away", [-1, 0, 1])
async def test_a_storage_that_was_away_is_foretold_by_what_it_held(store, away):
    """One that is away is said to hold nothing of a size of nothing; it may be so at the end."""
    days = [snapshot(86_400 * day, **pool(10 + day)) for day in range(-29, 1)]
    await put(store, *days, topic=SNAPSHOTS)
    before = await foretold(store)

    gone = [snapshot(86_400 * away + 3_600, **pool(0, total=0)), snapshot(0, "lab", **pool(0, 0))]
    await put(store, *gone, topic=SNAPSHOTS)

    assert (before.growing, before.value, before.limit) == (True, 10, 100)
    assert await foretold(store) == before
    with pytest.raises(NotFound, match="no snapshot has this measure"):
        await foretold(store, cluster="lab")


async def test_of_a_size_of_nothing_no_limit_is_made(store):
    await put(
        store, snapshot(0, **pool(5, total=0)), snapshot(0, "lab", **node(0)), topic=SNAPSHOTS
    )

    with pytest.raises(NotFound, match="name one"):
        await foretold(store)
    assert (await foretold(store, limit=10)).value == 5
    idle = await foretold(store, cluster="lab", kind="node", name="pve1", measure="cpu")
    assert (idle.value, idle.limit) == (0, 1)


async def test_an_unknown_storage_is_not_foretold(store):
    await put(store, snapshot(0, **node(1)), topic=SNAPSHOTS)

    with pytest.raises(NotFound, match="no snapshot has this measure"):
        await foretold(store)
    with pytest.raises(NotFound, match="name one"):
        await put(store, snapshot(0, **node(1, mem=5)), topic=SNAPSHOTS)
        await foretold(store, kind="node", name="pve1", measure="mem")


STRANGE = [
    {},
    {"nodes": 5, "vms": [None, 5, {"vmid": True, "cpu": 1}], "storages": {}},
    {"nodes": [{"name": "pve1", "cpu": "1", "mem": True, "disk": 1e300, "status": 5}]},
    {"nodes": [{"name": "n" * 300, "cpu": 1}, {"cpu": 1}]},
]


async def test_a_snapshot_of_any_shape_is_recorded(store):
    bodies = [snapshot(one, **state) for one, state in enumerate(STRANGE)]

    await put(store, *bodies, topic=SNAPSHOTS)

    assert await points(store, "cpu", "mem", "disk", "online") == []


async def test_a_large_snapshot_is_recorded_without_measures(store, monkeypatch):
    monkeypatch.setattr(series, "MOST_BYTES", 60)

    await put(store, snapshot(0, **node(1, more="x" * 60)), topic=SNAPSHOTS)

    assert await points(store, "cpu") == []


# The tables of revision 0006 and of those after it.
SINCE_THEN = (
    "snapshot_measures", "dead_letters", "incident_conditions", "incident_signals",
    "incident_actions", "incidents", "silences", "incident_progress",
)  # fmt: skip


async def test_an_upgrade_measures_the_stored_snapshots(path, monkeypatch):
    monkeypatch.setattr(series, "_AT_ONCE", 2)
    async with open_file(path, clock) as store:
        await put(store, *(snapshot(one, **node(one)) for one in range(5)), topic=SNAPSHOTS)
        before = await points(store, "cpu", "online")
    with closing(sqlite3.connect(path)) as database, database:
        for table in SINCE_THEN:
            database.execute(f"DROP TABLE {table}")
        database.execute("UPDATE alembic_version SET version_num = '0005'")

    async with open_file(path, clock) as store:
        assert await points(store, "cpu", "online") == before

    assert before[0].cpu.mean == 2


async def test_an_upgrade_of_a_server_measures_the_stored_snapshots(postgres):
    with postgres.database() as url:
        async with open_server(url, clock) as store:
            await put(store, *(snapshot(one, **node(one)) for one in range(5)), topic=SNAPSHOTS)
            before = await points(store, "cpu", "online")
        with psycopg.connect(url, autocommit=True) as database:
            for table in SINCE_THEN:
                database.execute(f"DROP TABLE {table}")
            database.execute("UPDATE alembic_version SET version_num = '0005'")

        async with open_server(url, clock) as store:
            assert await points(store, "cpu", "online") == before


def quiet(*_):
    pass


@pytest.fixture
async def thinned(path):
    """A file with the measures of more snapshots than are left."""
    async with open_file(path, clock) as store:
        stretch = [snapshot(60 * one, **node(one), **guest(105)) for one in range(10)]
        await put(store, *stretch, topic=SNAPSHOTS)
        await prune(store, RetentionPolicy(snapshots_hourly_after=1), to_micros(at(0)) + 3 * DAY)
    return path


async def moved_points(url):
    async with open_server(url, clock) as store:
        found = await points(store, "cpu")
    return [(one.cpu.min, one.cpu.mean, one.cpu.max) for one in found]


async def test_a_move_to_a_server_takes_the_measures_along(thinned, postgres_url):
    async with open_file(thinned, clock) as store:
        before = await points(store, "cpu", "online")

    moved = await copy_to_server(thinned, postgres_url, quiet)

    async with open_server(postgres_url, clock) as store:
        assert await points(store, "cpu", "online") == before
    assert [one.cpu.mean for one in before] == [4.5]
    assert moved.rows["cluster_snapshots"] == 1
    assert moved.rows["snapshot_measures"] == 2


async def test_the_measures_of_a_recorder_on_the_server_are_added_once(
    thinned, postgres_url, monkeypatch
):
    """Before those of the file are copied, and after that, whose copying is interrupted."""
    insert = Filling.insert_measures

    async def interrupted(self, rows, highest):
        async with open_server(postgres_url, clock) as store:
            await put(store, snapshot(1, **node(20)), topic=SNAPSHOTS)
            await insert(self, rows[:1], highest)
            await insert(self, rows, highest)
            await put(store, snapshot(2, **node(34)), topic=SNAPSHOTS)
        raise CancelledError

    monkeypatch.setattr(Filling, "insert_measures", interrupted)
    with pytest.raises(CancelledError):
        await copy_to_server(thinned, postgres_url, quiet)
    monkeypatch.setattr(Filling, "insert_measures", insert)
    for _ in range(2):
        await copy_to_server(thinned, postgres_url, quiet)

    assert await moved_points(postgres_url) == [(0, (45 + 20 + 34) / 12, 34)]


async def test_measures_that_an_earlier_version_copied_without_are_made_whole(
    thinned, postgres_url
):
    """It had added up the snapshots that were left."""
    await copy_to_server(thinned, postgres_url, quiet)
    with psycopg.connect(postgres_url, autocommit=True) as database:
        database.execute("UPDATE snapshot_measures SET cpu_count = 1, cpu_sum = 9, cpu_low = 9")

    await copy_to_server(thinned, postgres_url, quiet)

    assert await moved_points(postgres_url) == [(0, 4.5, 9)]


async def test_measures_that_differ_are_no_copy(thinned, postgres_url):
    await copy_to_server(thinned, postgres_url, quiet)
    with psycopg.connect(postgres_url, autocommit=True) as database:
        database.execute("UPDATE snapshot_measures SET cpu_low = 1")

    with pytest.raises(NoCopy, match="snapshot_measures differs"):
        await copy_to_server(thinned, postgres_url, quiet)


@pytest.mark.parametrize("at_once", [1, 2, 500])
async def test_measures_go_with_the_last_snapshot_of_their_stretch(store, monkeypatch, at_once):
    monkeypatch.setattr(series, "_ROWS_AT_ONCE", at_once)
    await put(
        store,
        *(snapshot(one, "lab", **node(one)) for one in (0, 1_300)),
        *(snapshot(one, **node(one)) for one in (0, 300, 700, 1_300, 90_000)),
        topic=SNAPSHOTS,
    )
    keeping = RetentionPolicy(snapshots_hourly_after=1)
    after = to_micros(at(0)) + 3 * DAY

    await prune(store, keeping, after)

    left = await points(store, "cpu", seconds=100_000)
    assert [(one.at, one.cpu.min) for one in left] == [(at(1_200), 1_300), (at(90_000), 90_000)]
    assert [one.at for one in await points(store, "cpu", cluster="lab")] == [at(1_200)]


async def test_measures_of_very_many_objects_go_a_few_at_a_time(store, monkeypatch):
    guests = [{"vmid": vmid, "status": "running", "cpu": 1} for vmid in range(1_200)]
    many = [snapshot(seconds, vms=guests) for seconds in (0, 700)]
    await put(store, *many, snapshot(90_000, **node(1)), topic=SNAPSHOTS)
    at_once = steps_of_pruning(monkeypatch, snapshot_measures)

    await prune(store, RetentionPolicy(snapshots=1), to_micros(at(0)) + 3 * DAY)

    assert sum(at_once) == 2_400
    assert max(at_once) <= 500
    assert len(await points(store, "cpu", seconds=100_000)) == 1


async def test_the_later_measures_of_an_object_are_passed_over(store, monkeypatch):
    """A year of an object is 52,000 rows, and only the first ones can have lost their snapshots."""
    monkeypatch.setattr(series, "_ROWS_AT_ONCE", 2)
    new = [snapshot(90_000 + 600 * one, **node(1), **guest(105)) for one in range(40)]
    await put(store, snapshot(0, **node(1), **guest(105)), *new, topic=SNAPSHOTS)
    at_once = steps_of_pruning(monkeypatch, snapshot_measures)

    await prune(store, RetentionPolicy(snapshots=1), to_micros(at(0)) + 2 * DAY)

    assert sum(at_once) == 2
    assert len(at_once) < 10
