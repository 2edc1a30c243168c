"""Incidents on both engines: the same state whatever the order, the redelivery, the restart."""

import asyncio
import itertools
import random
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import select

from jarvis_recorder.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidParameter,
    NotFound,
    RecordRefused,
    StorageUnavailable,
)
from jarvis_recorder.incidents import state as incident_state
from jarvis_recorder.incidents.rules import load_rules
from jarvis_recorder.incidents.state import next_incidents
from jarvis_recorder.retention_policy import RetentionPolicy
from jarvis_recorder.storage import (
    expired_rows,
    incident_evidence,
    incident_fold,
    incident_pruning,
    incident_renewal,
)
from jarvis_recorder.storage import incidents as incident_keeper
from jarvis_recorder.storage.incident_pruning import FORGOTTEN
from jarvis_recorder.storage.postgres import horizon as server_horizon
from jarvis_recorder.storage.postgres import pruner as server_pruner
from jarvis_recorder.storage.postgres.store import open_store as open_server
from jarvis_recorder.storage.queries.reading import Pace
from jarvis_recorder.storage.series import values_of
from jarvis_recorder.storage.sqlite import pruner as file_pruner
from jarvis_recorder.storage.sqlite.store import open_store as open_file
from jarvis_recorder.storage.tables import incident_conditions, incident_signals
from jarvis_recorder.storage.transfer import copy_to_server
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.times import to_datetime, to_micros
from tests.contract.test_archive import EVENTS, SNAPSHOTS, at
from tests.contract.test_archive import put as record
from tests.support.archive import NOW, ask, clock, rows, steps_of_pruning


def event(seconds, summary="[Monitor] NODE_DOWN: pve1 changed from online to offline", **fields):
    return {
        "type": "alert", "severity": "critical", "source": "monitor", "node": "pve1",
        "summary": summary, "timestamp": at(seconds).isoformat(),
    } | fields  # fmt: skip


def up(seconds, **fields):
    summary = "[Monitor] NODE_UP: pve1 changed from offline to online"
    return event(seconds, summary, type="status", severity="info", **fields)


def crashed(seconds, vmid=105, **fields):
    summary = f"[Monitor] VM_CRASHED: mail ({vmid}) is gone"
    return event(seconds, summary, severity="error", **fields)


def snapshot(seconds, *nodes, guests=(), of="home"):
    return {
        "cluster": of, "timestamp": at(seconds).isoformat(),
        "snapshot": {
            "nodes": [{"name": name, "status": status} for name, status in nodes],
            "vms": [{"vmid": vmid, "status": status, "node": "pve1"} for vmid, status in guests],
        },
    }  # fmt: skip


async def put(store, *bodies, topic=EVENTS):
    """Record messages when the newest of them is sent."""
    times = [body["timestamp"] for body in bodies if "timestamp" in body]
    newest = max((to_micros(datetime.fromisoformat(one)) for one in times), default=NOW)
    await record(store, *bodies, topic=topic, recorded_at=max(NOW, newest))


async def keep(store, *events, snapshots=()):
    """Record events and snapshots, and fold them."""
    if events:
        await put(store, *events)
    if snapshots:
        await put(store, *snapshots, topic=SNAPSHOTS)
    await settle(store)


async def settle(store):
    # On a server an event is final once others that were being stored with it are.
    for _ in range(4):
        while await store.incidents.step():
            pass


async def listed(store, **given):
    return (await ask(store, params.ListIncidents(**given))).incidents


async def the_one(store, **given):
    (incident,) = await listed(store, **given)
    return incident


async def announced(store):
    return [one.routing_key for one in await store.outbox.waiting(1_000)]


async def test_an_incident_says_what_where_since_when_and_how_often(store):
    await keep(store, event(0), event(60), event(30, severity="error"))

    incident = await the_one(store)

    assert incident.key == "pve1/NODE_DOWN@" + at(0).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert (incident.state, incident.severity, incident.count) == ("open", "critical", 3)
    assert (incident.kind, incident.node, incident.object) == ("NODE_DOWN", "pve1", None)
    assert (incident.first_at, incident.last_at) == (at(0), at(60))
    assert (incident.guessed, incident.evidence_at, incident.caused_by) == (True, None, None)


async def test_eight_pairs_are_one_incident_that_flaps(store):
    pairs = [one for n in range(8) for one in (event(n * 300), up(n * 300 + 120))]
    await keep(store, *pairs)

    incident = await the_one(store, state="flapping")

    assert (incident.count, incident.flapping, incident.state) == (8, True, "recovered")
    assert incident.recovered_at == at(7 * 300 + 120)


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_any_redelivery_any_restart_give_the_same_state(store, seed):
    begin = -5 * 86_400
    story = [
        *(event(begin + n * 300, id=f"d{n}") for n in range(8)),
        *(up(begin + n * 300 + 120, id=f"u{n}") for n in range(7)),
        *(crashed(begin + n * 200, id=f"c{n}") for n in range(5)),
        event(0, id="later"),
    ]
    draw = random.Random(seed)
    shuffled = draw.sample(story, len(story)) + draw.sample(story, 5)
    for one in shuffled:
        await put(store, one)
        if draw.random() < 0.5:
            await store.incidents.step()
    await settle(store)

    found = {one.key: one for one in await listed(store)}

    assert sorted((one.kind, one.count, one.state, one.flapping) for one in found.values()) == [
        ("NODE_DOWN", 1, "open", False),
        ("NODE_DOWN", 8, "resolved", True),
        ("VM_CRASHED", 5, "open", False),
    ]


async def test_a_newer_snapshot_recovers_and_an_older_one_leaves_it_unknown(store):
    await keep(store, event(10), snapshots=[snapshot(0, ("pve1", "online"))])
    unknown = await the_one(store)
    await keep(store, snapshots=[snapshot(20, ("pve1", "offline"))])
    still = await the_one(store)
    await keep(store, snapshots=[snapshot(30, ("pve1", "online"))])
    recovered = await the_one(store)

    assert (unknown.state, unknown.evidence_at) == ("unknown", at(0))
    assert (still.state, still.evidence_at) == ("open", at(20))
    assert (recovered.state, recovered.recovered_at) == ("recovered", at(30))


async def test_after_a_backlog_it_recovered_when_a_snapshot_first_showed_it(store):
    shown = [snapshot(n, ("pve1", "online" if n >= 60 else "offline")) for n in range(0, 7_200, 30)]
    await keep(store, event(10), snapshots=shown)

    incident = await the_one(store)

    assert (incident.state, incident.recovered_at) == ("recovered", at(60))
    assert incident.evidence_at == at(7_170)


@pytest.mark.parametrize("at_once", [True, False])
async def test_after_a_backlog_it_has_recovered_as_often_as_without_one(store, at_once):
    """Six times down and up, of which events tell only that it is down."""
    down = [event(n * 300, id=f"d{n}") for n in range(6)]
    shown = [
        snapshot(n, ("pve1", "offline" if n % 300 < 100 else "online"))
        for n in range(10, 1_810, 30)
    ]
    shuffled = random.Random(1).sample(down, 6)
    if at_once:
        await put(store, *shown, topic=SNAPSHOTS)
    await keep(store, *shuffled, snapshots=() if at_once else shown)

    incident = await the_one(store)

    assert (incident.count, incident.flapping, incident.state) == (6, True, "recovered")
    assert incident.recovered_at == at(1_600)


@pytest.mark.parametrize("at_once", [True, False])
async def test_it_has_recovered_even_if_the_newest_snapshot_shows_it_down_again(store, at_once):
    shown = [snapshot(20, ("pve1", "online")), snapshot(40, ("pve1", "offline"))]
    if at_once:
        await keep(store, event(10), snapshots=shown)
    else:
        await keep(store, event(10))
        # The first shows it down, and that is over by the next look.
        await keep(store, snapshots=[snapshot(15, ("pve1", "offline"))])
        await keep(store, snapshots=shown)

    incident = await the_one(store)

    assert (incident.state, incident.recovered_at) == ("recovered", at(20))
    assert await announced(store) == ["recorder.incident.opened", "recorder.incident.recovered"]


async def test_one_that_is_opened_again_ends_with_the_next_snapshot_and_not_with_an_older(store):
    await keep(store, event(0), snapshots=[snapshot(60, ("pve1", "online"))])
    key = (await the_one(store)).key
    await ask(store, params.ReopenIncident(key=key))
    await keep(store, crashed(70))
    still = await the_one(store, kind="NODE_DOWN")
    await keep(store, snapshots=[snapshot(120, ("pve1", "online"))])
    ended = await the_one(store, kind="NODE_DOWN")

    assert (still.state, ended.state) == ("open", "recovered")
    assert ended.recovered_at == at(120)


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_event_dated_years_ahead_counts_when_it_was_recorded(store, at_once):
    """The clock of a node is thirty years ahead for a moment."""
    wrong = "2056-11-23T08:00:00Z"
    story = [
        event(0, id="ahead", timestamp=wrong),
        event(1_800, "[Monitor] NODE_UP: pve1", type="status", timestamp=wrong, id="well"),
        event(3_600, id="real"),
        up(7_200),
    ]
    for some in [story] if at_once else [[one] for one in story]:
        await record(store, *some)
        await settle(store)

    incident = await the_one(store)

    assert (incident.count, incident.state, incident.recovered_at) == (2, "recovered", at(7_200))
    assert incident.first_at.replace(microsecond=0) == to_datetime(NOW)


@pytest.mark.parametrize("ahead_too", [0, 7_200])
async def test_a_snapshot_whose_clock_is_ahead_ends_no_outage_that_came_after_it(store, ahead_too):
    """Its clock is two hours ahead; that of the events is right, or just as far ahead."""

    async def fail(seconds):
        now = NOW + seconds * 1_000_000
        await record(store, event(seconds + ahead_too, id=f"{seconds}"), recorded_at=now)
        await settle(store)
        assert (await the_one(store)).state in ("open", "unknown")

    async def show(seconds, status):
        now = NOW + seconds * 1_000_000
        shown = snapshot(seconds + 7_200, ("pve1", status))
        await record(store, shown, topic=SNAPSHOTS, recorded_at=now)
        await settle(store)

    await show(-60, "online")
    await fail(0)
    await show(60, "offline")
    await show(300, "online")
    assert (await the_one(store)).recovered_at == at(300 + ahead_too)
    await fail(1_800)
    await show(1_860, "offline")
    assert (await the_one(store)).state == "open"
    await show(3_600, "online")
    assert (await the_one(store)).recovered_at == at(3_600 + ahead_too)
    # Opened again by hand, it is not ended by what was shown before.
    await ask(store, params.ReopenIncident(key="pve1/NODE_DOWN"))
    await settle(store)
    assert (await the_one(store)).state == "open"


async def test_events_of_a_wrong_clock_that_were_recorded_at_once_keep_their_order(store):
    ahead = {"timestamp": "2056-11-23T08:00:00Z"}
    story = [event(0, id="1"), up(0, id="2"), event(0, id="3")]
    await record(store, *(one | ahead for one in story))
    await settle(store)

    assert (await the_one(store)).state == "open"


async def test_problems_at_the_end_of_time_do_not_end_the_fold(store):
    """A snapshot in the future shows the object up, in a stretch that reaches beyond the last time."""
    far = "9999-12-31T23:55:00Z"
    shown = [snapshot(0, ("pve1", "online")), snapshot(0, ("pve1", "online")) | {"timestamp": far}]
    last = "9999-12-31T23:59:59.999999Z"
    await keep(store, snapshots=shown)
    await keep(store, *(event(0, id=f"e{n}", timestamp=last) for n in range(2)))

    assert (await the_one(store)).count == 2
    assert store.incidents.failure is None


async def test_a_fault_of_the_fold_ends_nothing_and_is_reported(store, monkeypatch, capsys):
    def fail(*_):
        raise OverflowError("date value out of range")

    with monkeypatch.context() as patched:
        patched.setattr(incident_keeper, "_candidates", fail)
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


async def step_without_commit(store, monkeypatch, step=None):
    """Do a step that is rolled back as its transaction ends."""
    run = store.writer.run

    async def run_without_commit(work):
        def fail_at_the_end(connection):
            work(connection)
            raise StorageUnavailable("the commit failed")

        return await run(fail_at_the_end)

    with monkeypatch.context() as patched:
        patched.setattr(store.writer, "run", run_without_commit)
        with pytest.raises(StorageUnavailable):
            await (step or store.incidents.step)()


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
    read_event = incident_keeper.read_event

    def read_without_kind(event, rules):
        found = read_event(event, rules)
        if found is None or event.node != "pve2":
            return found
        return found[0]._replace(kind=None), found[1]

    monkeypatch.setattr(incident_keeper, "read_event", read_without_kind)
    await keep(store, event(0), event(1, node="pve2"), event(2, node="pve3"), up(3))

    assert {one.node: one.state for one in await listed(store)} == {
        "pve1": "recovered", "pve3": "open",
    }  # fmt: skip
    assert "incident_event_refused" in capsys.readouterr().out


async def test_a_step_that_is_refused_is_a_failure(store, monkeypatch):
    def refuse(*_):
        raise RecordRefused("it cannot be stored")

    monkeypatch.setattr(incident_keeper, "_candidates", refuse)
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


async def test_what_says_each_minute_that_it_is_well_leaves_little(store):
    beats = [
        event(n * 60, f"HEARTBEAT: monitor {n % 2}", type="status", severity="info", id=f"h{n}")
        for n in range(4 * 24 * 60)
    ]
    await put(store, *beats)
    await settle(store)
    kept = await rows(store, "SELECT count(*) FROM incident_signals")
    await keep(store, event(4 * 86_400, "HEARTBEAT_MISSED: monitor", details={"service": "x"}))

    # Those of the last two days, and one each hour before.
    assert await listed(store, kind="HEARTBEAT") == []
    assert kept[0][0] < 2 * 24 * 60 + 200


async def test_signals_of_what_never_was_a_problem_go_with_their_events(store):
    await keep(store, up(0))
    await pruned(store, info=1)

    for table in ("incident_signals", "incident_conditions"):
        assert await rows(store, f"SELECT * FROM {table}") == []


async def test_the_history_of_one_that_is_over_ends_with_it(store):
    await keep(store, event(0), *(up(n * 30) for n in range(1, 100)))

    found = await ask(store, params.GetIncident(key="pve1/NODE_DOWN", limit=500))

    assert [one.timestamp for one in found.events] == [at(30), at(0)]


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


async def test_what_was_seen_stays_so_over_a_restart_and_a_further_problem(store):
    await keep(store, event(0))
    key = (await the_one(store)).key
    seen = await ask(store, params.AcknowledgeIncident(key=key, by="anna", note="on my way"))
    await keep(store, event(60))

    incident = await the_one(store)

    assert seen.incident.state == incident.state == "acknowledged"
    assert (incident.acknowledged_by, incident.note, incident.count) == ("anna", "on my way", 2)
    await keep(store, up(120))
    assert (await the_one(store)).acknowledged_by is None


async def test_an_incident_is_closed_and_opened_again(store):
    await keep(store, event(0))
    key = (await the_one(store)).key

    closed = await ask(store, params.ResolveIncident(key=key, by="anna"))
    again = await ask(store, params.ResolveIncident(key=key, by="bert"))
    opened = await ask(store, params.ReopenIncident(key=key))

    assert (closed.incident.state, closed.incident.resolved_by) == ("resolved", "anna")
    assert again == closed
    assert (opened.incident.state, opened.incident.resolved_by) == ("open", None)
    assert await announced(store) == [
        "recorder.incident.opened", "recorder.incident.resolved", "recorder.incident.opened",
    ]  # fmt: skip


async def test_what_people_did_counts_after_an_event_that_came_late(store):
    await keep(store, event(60))
    key = (await the_one(store)).key
    await ask(store, params.ResolveIncident(key=key, by="anna"))
    await keep(store, event(0))

    incident = await the_one(store)
    found = await ask(store, params.GetIncident(key=key))

    assert (incident.state, incident.count, incident.first_at) == ("resolved", 2, at(0))
    # The key from before the late event still names it.
    assert found.incident == incident


async def test_the_last_event_resolved_closes_the_incident_until_it_is_opened_again(store):
    await keep(store, event(0), event(60))
    newest, older = (await ask(store, params.ListEvents())).events

    async def state_after(request):
        await ask(store, request)
        await settle(store)
        return (await the_one(store)).state

    assert await state_after(params.ResolveEvent(id=older.id, resolved_by="anna")) == "open"
    assert await state_after(params.ResolveEvent(id=newest.id, resolved_by="anna")) == "resolved"
    assert await state_after(params.ReopenEvent(id=newest.id)) == "open"


async def by_other_rules_again(store, monkeypatch):
    """Have the incidents made again, as by other rules."""
    await rows(store, "UPDATE incident_progress SET rules = 'other'")
    monkeypatch.setattr(store.incidents, "_has_begun", False)
    await settle(store)


def known_without_nodes(monkeypatch):
    """Have all of a kind be one condition, as before the node was read."""
    read_event = incident_keeper.read_event

    def read(event, rules):
        condition, effect = read_event(event, rules)
        return condition._replace(key=condition.kind), effect

    monkeypatch.setattr(incident_keeper, "read_event", read)


async def test_what_people_did_goes_along_where_the_key_of_an_event_is_another(store, monkeypatch):
    with monkeypatch.context() as former:
        known_without_nodes(former)
        await keep(store, event(0), event(1, node="pve2"), event(2), crashed(3))
        await ask(store, params.ResolveIncident(key="NODE_DOWN", by="anna"))
        until = to_datetime(NOW + 3_600_000_000)
        await ask(store, params.SilenceIncidents(key="NODE_DOWN", until=until, by="bert"))
    monkeypatch.setattr(incident_renewal, "_AT_ONCE", 2)
    monkeypatch.setattr(incident_keeper, "_SIGNALS_AT_ONCE", 1)
    for _ in range(2):
        await by_other_rules_again(store, monkeypatch)

    found = {one.key.partition("@")[0]: one for one in await listed(store)}
    both = [found.pop(f"{node}/NODE_DOWN") for node in ("pve1", "pve2")]
    assert [(one.state, one.resolved_by) for one in both] == [("resolved", "anna")] * 2
    assert [(*found, one.state) for one in found.values()] == [("pve1/VM_CRASHED/105", "open")]
    done = sorted(await rows(store, "SELECT key, by FROM incident_actions"))
    silent = sorted(await rows(store, "SELECT key, by FROM silences"))
    keys = ["NODE_DOWN", "pve1/NODE_DOWN", "pve2/NODE_DOWN"]
    assert (done, silent) == ([(key, "anna") for key in keys], [(key, "bert") for key in keys])


async def test_what_people_did_to_a_condition_that_is_gone_is_deleted_with_the_events(
    store, monkeypatch
):
    with monkeypatch.context() as former:
        known_without_nodes(former)
        await keep(store, event(0))
        await ask(store, params.AcknowledgeIncident(key="NODE_DOWN", by="anna"))
    await by_other_rules_again(store, monkeypatch)
    await pruned(store, critical=29)

    assert await rows(store, "SELECT key FROM incident_actions") == [("pve1/NODE_DOWN",)]


async def history(store, key="pve1/NODE_DOWN"):
    return await ask(store, params.GetIncident(key=key))


async def test_an_event_that_is_resolved_closes_then_and_keeps_what_was_done(store, monkeypatch):
    await keep(store, event(-7_200))
    key = (await the_one(store)).key
    await ask(store, params.AcknowledgeIncident(key=key, by="anna", note="on my way"))
    (alert,) = (await ask(store, params.ListEvents())).events
    done = (await ask(store, params.ResolveEvent(id=alert.id, resolved_by="bert"))).event
    await settle(store)
    found = await history(store, key)

    assert found.incident.resolved_at == done.resolved_at == to_datetime(NOW)
    assert (found.incident.resolved_by, found.incident.acknowledged_by) == ("bert", "anna")
    assert [(one.state, one.by) for one in found.transitions] == [
        ("open", None), ("acknowledged", "anna"), ("resolved", "bert"),
    ]  # fmt: skip
    await by_other_rules_again(store, monkeypatch)
    assert await history(store, key) == found
    await rows(store, "UPDATE incident_signals SET event_id = NULL")
    await keep(store, event(-7_201))
    assert (await the_one(store)).resolved_at == done.resolved_at


@pytest.mark.parametrize("is_recovered", [False, True])
async def test_an_event_that_is_resolved_closes_what_was_opened_again(
    store, monkeypatch, is_recovered
):
    await keep(store, event(0))
    key = (await the_one(store)).key
    if is_recovered:
        await keep(store, up(10))
    else:
        await ask(store, params.ResolveIncident(key=key, by="anna"))
    await ask(store, params.ReopenIncident(key=key, by="anna"))
    alert = (await ask(store, params.ListEvents(type="alert"))).events[0]
    done = (await ask(store, params.ResolveEvent(id=alert.id, resolved_by="bert"))).event
    await settle(store)
    closed = await the_one(store)

    assert (closed.state, closed.resolved_by) == ("resolved", "bert")
    assert closed.resolved_at == done.resolved_at
    await by_other_rules_again(store, monkeypatch)
    assert await the_one(store) == closed
    await ask(store, params.ReopenEvent(id=alert.id))
    await settle(store)
    assert (await the_one(store)).state == "open"


async def test_a_problem_before_its_event_was_resolved_leaves_it_open_however_late_it_comes(store):
    await keep(store, event(-7_200))
    (alert,) = (await ask(store, params.ListEvents())).events
    await ask(store, params.ResolveEvent(id=alert.id, resolved_by="bert"))
    await settle(store)
    closed = await the_one(store)
    await keep(store, event(-3_600))

    assert (closed.state, (await the_one(store)).state) == ("resolved", "open")


async def test_an_event_of_an_older_incident_that_is_resolved_closes_that_one(store):
    await keep(store, event(-10 * 86_400), up(-10 * 86_400 + 5), event(-7_200))
    _, old = await listed(store)
    alert = (await ask(store, params.ListEvents())).events[-1]
    await ask(store, params.ResolveEvent(id=alert.id, resolved_by="bert"))
    await settle(store)
    # An event of each that came late has them folded again.
    await keep(store, event(-10 * 86_400 - 1), event(-7_201))
    found = await history(store, old.key)

    assert [one.state for one in await listed(store)] == ["open", "resolved"]
    assert (found.incident.resolved_by, found.incident.resolved_at) == ("bert", to_datetime(NOW))
    assert [one.state for one in found.transitions] == ["open", "recovered", "resolved"]


async def test_a_pruned_event_that_was_resolved_closes_no_later_problem_on_a_server(
    path, postgres_url
):
    async with open_file(path, clock) as store:
        await keep(store, event(-7_200), event(-3_600))
        first = (await ask(store, params.ListEvents())).events[-1]
        await ask(store, params.ResolveEvent(id=first.id, resolved_by="bert"))
        await settle(store)
        await pruned(store, critical=1)
        before = await the_one(store)
    await copy_to_server(path, postgres_url, lambda *_: None)

    async with open_server(postgres_url, clock) as server:
        await settle(server)
        assert await listed(server) == [before]
    assert (before.state, before.count) == ("open", 2)


async def test_an_upgrade_finds_when_the_events_were_resolved(path):
    """A recorder of before had put it at the time of the event."""
    async with open_file(path, clock) as store:
        await keep(store, event(-7_200))
        (alert,) = (await ask(store, params.ListEvents())).events
        await ask(store, params.ResolveEvent(id=alert.id, resolved_by="bert"))
        await settle(store)
        after = await the_one(store)
        for statement in (
            f"UPDATE incident_signals SET timestamp = {to_micros(at(-7_200))}",
            "UPDATE incident_progress SET rules = 'before'",
            "ALTER TABLE incident_signals DROP COLUMN problem_at",
            "DROP INDEX ix_incident_conditions_untold",
            "ALTER TABLE incident_conditions DROP COLUMN untold",
            "UPDATE alembic_version SET version_num = '0008'",
        ):
            await rows(store, statement)
    async with open_file(path, clock) as store:
        await settle(store)
        assert await the_one(store) == after


async def test_history_has_events_and_transitions(store):
    await keep(store, event(0), event(60), up(120), event(180))
    key = (await the_one(store)).key
    await ask(store, params.AcknowledgeIncident(key=key, by="anna", note="seen"))

    first = await ask(store, params.GetIncident(key=key, limit=3))
    rest = await ask(store, params.GetIncident(key=key, limit=3, cursor=first.next_cursor))

    times = [one.timestamp for one in (*first.events, *rest.events)]
    assert times == [at(180), at(120), at(60), at(0)]
    assert rest.next_cursor is None
    assert [(one.state, one.by) for one in first.transitions] == [
        ("open", None), ("recovered", None), ("open", None), ("acknowledged", "anna"),
    ]  # fmt: skip
    assert (await ask(store, params.GetIncident(key="pve1/NODE_DOWN"))).incident.key == key


async def test_of_an_unknown_key_there_is_none(store):
    await keep(store, event(0))

    for key in ("none", "pve1/NODE_DOWN@yesterday", "pve1/NODE_DOWN@2100-01-01"):
        with pytest.raises(NotFound):
            await ask(store, params.GetIncident(key=key))
    with pytest.raises(NotFound):
        await ask(store, params.ResolveIncident(key="none", by="anna"))


async def test_the_key_of_an_incident_that_is_gone_names_no_later_one(store):
    await keep(store, event(0))
    gone = "pve1/NODE_DOWN@" + at(-86_400).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    for request in (params.GetIncident(key=gone), params.ResolveIncident(key=gone, by="anna")):
        with pytest.raises(NotFound):
            await ask(store, request)
    assert (await the_one(store)).state == "open"


async def test_only_the_newest_incident_of_a_condition_is_changed(store):
    await keep(store, event(0), event(10 * 86_400))
    _, old = await listed(store)

    with pytest.raises(Conflict):
        await ask(store, params.ReopenIncident(key=old.key))
    with pytest.raises(Conflict):
        await ask(store, params.AcknowledgeIncident(key=old.key, by="anna"))


async def test_of_a_silenced_incident_nobody_is_told_and_it_is_counted(store):
    end = to_datetime(NOW) + timedelta(hours=1)
    await ask(store, params.SilenceIncidents(until=end, node="pve1", reason="memory", by="anna"))
    await keep(store, event(0), event(1))
    silenced = await the_one(store, state="silenced")
    await keep(store, up(2))

    assert (silenced.state, silenced.count) == ("silenced", 2)
    assert await listed(store, state="open") == []
    assert (await the_one(store)).state == "recovered"
    assert await announced(store) == []
    (silence,) = (await ask(store, params.ListSilences())).silences
    assert (silence.node, silence.reason, silence.by) == ("pve1", "memory", "anna")


async def test_what_opened_in_a_silence_and_is_still_a_problem_is_announced_at_its_end(store):
    now = to_datetime(NOW)

    async def silence(until, **given):
        await ask(store, params.SilenceIncidents(until=until, **given))

    await keep(store, crashed(0, 104))
    told = await announced(store)
    await silence(now + timedelta(hours=1), node="pve1")
    await keep(store, event(0), crashed(0, 105), crashed(0, 106, node="pve2"))
    await keep(store, event(30), crashed(30, 104))
    await ask(store, params.ResolveIncident(key="pve1/VM_CRASHED/105"))
    # Another one begins before the end of the first.
    await silence(now + timedelta(hours=2), kind="NODE_DOWN")
    told.append("recorder.incident.opened")
    await silence(now, node="pve1")
    await settle(store)
    assert await announced(store) == told, "of the guest on the other node, and of nothing else"
    await silence(now, kind="NODE_DOWN")
    for _ in range(3):
        await store.incidents._timed_step()

    assert await announced(store) == [*told, "recorder.incident.opened"]
    last = (await store.outbox.waiting(1_000))[-1]
    assert '"kind":"NODE_DOWN"' in last.body


async def test_what_is_opened_again_in_a_silence_is_announced_at_its_end(store):
    await keep(store, event(0), up(1))
    told = await announced(store)
    end = to_datetime(NOW) + timedelta(hours=1)
    await ask(store, params.SilenceIncidents(until=end, node="pve1"))
    await ask(store, params.ReopenIncident(key="pve1/NODE_DOWN"))
    assert await announced(store) == told
    await ask(store, params.SilenceIncidents(until=to_datetime(NOW), node="pve1"))
    await settle(store)

    assert await announced(store) == [*told, "recorder.incident.opened"]


async def test_a_silence_ends_with_another_of_the_same_values(store):
    now = to_datetime(NOW)
    hour = timedelta(hours=1)
    for node in ("pve1", "pve2"):
        await ask(store, params.SilenceIncidents(until=now + hour, node=node))
    await ask(store, params.SilenceIncidents(until=now, node="pve1"))

    (left,) = (await ask(store, params.ListSilences())).silences

    assert left.node == "pve2"
    with pytest.raises(InvalidParameter):
        await ask(store, params.SilenceIncidents(until=now, since=now + hour, node="pve1"))


async def test_a_silence_whose_end_has_passed_ends_one_and_has_begun_when_it_ended(store):
    now = to_datetime(NOW)
    hour = timedelta(hours=1)
    await ask(store, params.SilenceIncidents(until=now + hour, node="pve1"))

    ended = (await ask(store, params.SilenceIncidents(until=now - hour, node="pve1"))).silence

    assert (ended.since, ended.until) == (now - hour, now - hour)
    assert (await ask(store, params.ListSilences())).silences == []


async def test_a_silence_and_a_list_take_a_node_in_any_spelling(store):
    """In all that were recorded, of incidents or of other events; as it is given where none was."""
    now = to_datetime(NOW)
    hour = timedelta(hours=1)
    await keep(store, event(0, node="Büro"), event(1, type="metric", node="pve9"))
    await keep(store, event(2, node="BÜRO"))

    async def silenced_by(node):
        silence = (await ask(store, params.SilenceIncidents(until=now + hour, node=node))).silence
        return silence.node

    assert {one.node for one in await listed(store, node="buro")} == {"Büro", "BÜRO"}
    assert await silenced_by("buro") in {"Büro", "BÜRO"}
    assert {one.state for one in await listed(store)} == {"silenced"}
    assert [await silenced_by(one) for one in ("BÜRO", "PVE9", "Pve3")] == ["BÜRO", "pve9", "Pve3"]
    await put(store, event(3, type="metric", node="pve3"))
    for node in ("büro", "pve9", "Pve3"):
        await ask(store, params.SilenceIncidents(until=now, node=node))
    assert (await ask(store, params.ListSilences())).silences == []


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"state": ["open", "unknown"]}, 1),
        ({"state": "recovered"}, 1),
        ({"severity": "error"}, 1),
        ({"kind": "NODE_DOWN"}, 1),
        ({"node": ["pve1", "pve9"]}, 2),
        ({"node": "pve9"}, 0),
        ({"cluster": ""}, 1),
        ({"cluster": "home"}, 1),
        ({"since": at(100)}, 1),
        ({"until": at(100)}, 1),
    ],
)
async def test_filters(store, given, count):
    await keep(store, event(0), up(10), crashed(200, cluster="home"))

    assert len(await listed(store, **given)) == count


async def test_pages_hold_each_incident_once(store):
    await keep(store, *(crashed(n // 2, 100 + n) for n in range(25)))
    seen, cursor = [], None
    while True:
        page = await ask(store, params.ListIncidents(limit=4, cursor=cursor))
        seen += [one.key for one in page.incidents]
        if (cursor := page.next_cursor) is None:
            break

    assert len(seen) == len({*seen}) == 25


async def test_one_with_a_new_problem_between_two_pages_is_on_a_later_one(store):
    """Three have one behind the first page, and one of these again behind the second."""
    await keep(store, *(crashed(-n, 100 + n) for n in range(6)))
    first = await ask(store, params.ListIncidents(limit=2))
    await keep(store, crashed(11, 103), crashed(12, 104), crashed(13, 105))
    second = await ask(store, params.ListIncidents(limit=2, cursor=first.next_cursor))
    await keep(store, crashed(20, 104))
    third = await ask(store, params.ListIncidents(limit=2, cursor=second.next_cursor))

    guests = [[one.object for one in page.incidents] for page in (first, second, third)]

    assert guests == [["100", "101"], ["102", "103"], ["105", "104"]]
    assert third.next_cursor is None


async def test_a_list_from_a_time_on_has_what_was_not_over_before_it(store):
    """A monitor sends only changes: of one that lasts for days there is one alert."""
    await keep(store, *(crashed(-86_400, vmid) for vmid in (101, 102)), event(-86_400), up(60))
    await keep(store, event(-86_400, node="pve2"), up(-86_300, node="pve2"))
    keys = {one.object: one.key for one in await listed(store)}
    await ask(store, params.ResolveIncident(key=keys["101"]))

    found = {
        one.object or one.node: one.state for one in await listed(store, since=to_datetime(NOW))
    }
    (still_open,) = await listed(store, since=at(86_400))

    assert found == {"101": "resolved", "102": "open", "pve1": "recovered"}
    assert still_open.object == "102"


async def test_all_that_are_a_problem_are_counted_whatever_the_page(store):
    await keep(store, *(crashed(0, 100 + n) for n in range(5)), event(0), up(1))

    page = await ask(store, params.ListIncidents(state=["open", "unknown"], limit=2))
    everything = await ask(store, params.ListIncidents(state=["open", "recovered"]))

    assert (len(page.incidents), page.total) == (2, 5)
    assert (len(everything.incidents), everything.total) == (6, None)


async def test_what_changes_is_announced_once(store):
    await keep(store, event(0))
    await keep(store, event(1))
    await keep(store, up(2))

    assert await announced(store) == ["recorder.incident.opened", "recorder.incident.recovered"]


async def test_a_second_outage_that_is_over_by_now_is_announced_too(store):
    await keep(store, event(10))
    await keep(store, up(20))
    await keep(store, event(100), up(120))

    assert await announced(store) == [
        "recorder.incident.opened", "recorder.incident.recovered",
    ] * 2  # fmt: skip


async def test_an_outage_before_the_end_that_was_told_is_no_news(store):
    await keep(store, event(10))
    await keep(store, up(30))
    await keep(store, up(20), event(25))

    assert (await the_one(store)).count == 2
    assert await announced(store) == ["recorder.incident.opened", "recorder.incident.recovered"]


async def test_an_earlier_problem_that_comes_late_is_no_news(store):
    await keep(store, event(10), crashed(10))
    await ask(store, params.ResolveIncident(key="pve1/NODE_DOWN"))
    told = await announced(store)
    await keep(store, event(9), crashed(9))

    assert {one.first_at for one in await listed(store)} == {at(9)}
    assert await announced(store) == told
    assert len(told) == 3


async def test_what_somebody_did_to_an_old_event_is_announced(store):
    await keep(store, event(-5 * 86_400))
    (old,) = (await ask(store, params.ListEvents())).events
    for request in (params.ResolveEvent(id=old.id), params.ReopenEvent(id=old.id)):
        await ask(store, request)
        await settle(store)

    told = [key for key in await announced(store) if "incident" in key]
    assert told == ["recorder.incident.resolved", "recorder.incident.opened"]


async def test_the_end_of_an_incident_that_another_follows_is_announced(store, monkeypatch):
    """Nothing is heard of it for sixty hours."""
    began = -60 * 3_600
    with monkeypatch.context() as then:
        then.setattr(incident_fold, "_NEWS_MICROS", 100 * 3_600_000_000)
        await keep(store, event(began))
    await keep(store, event(0))
    new, old = await listed(store)
    told = await store.outbox.waiting(1_000)

    assert [one.routing_key for one in told] == [
        "recorder.incident.opened", "recorder.incident.resolved", "recorder.incident.opened",
    ]  # fmt: skip
    for one, key in zip(told, (old.key, old.key, new.key), strict=True):
        assert f'"key":"{key}"' in one.body


async def test_that_a_recovered_one_is_resolved_is_announced_though_another_follows(store):
    await keep(store, event(-60 * 3_600), up(-60 * 3_600 + 5), event(0))
    told = await announced(store)
    alert = (await ask(store, params.ListEvents(type="alert"))).events[-1]
    await ask(store, params.ResolveEvent(id=alert.id, resolved_by="bert"))
    await settle(store)

    now = [one for one in (await announced(store))[len(told) :] if "incident" in one]
    assert now == ["recorder.incident.resolved"]


async def test_of_what_is_imported_and_old_nobody_is_told(store):
    await keep(store, event(-2 * 86_400), up(-2 * 86_400 + 5))

    assert (await the_one(store)).state == "recovered"
    assert await announced(store) == []


async def test_of_old_signals_that_a_step_leaves_to_the_next_nobody_is_told(store, monkeypatch):
    monkeypatch.setattr(incident_fold, "_MOST_FOLDED", 1)
    then, guests = -2 * 86_400, (105, 106)
    for vmid in guests:
        started = f"[Monitor] VM_STARTED: mail ({vmid}) runs"
        well = (event(then + n, started, type="status", severity="info") for n in (50, 100))
        await keep(store, crashed(then, vmid), *well)
    await keep(store, *(crashed(then + 70, vmid) for vmid in guests))

    assert [one.count for one in await listed(store)] == [2, 2]
    assert await announced(store) == []


async def pruned(store, **days):
    keeping, later = RetentionPolicy(events=days), to_micros(at(30 * 86_400))
    if hasattr(store, "retention"):
        await server_pruner.prune(store.writer._engine, "server", keeping, later)
    else:
        await file_pruner.prune(store.writer, keeping, later)


async def test_incidents_that_are_over_go_when_events_of_their_severity_do(store):
    twice = [event(-40 * 86_400), up(-40 * 86_400 + 1), event(0), up(1)]
    await keep(store, *twice, crashed(0), event(29.5 * 86_400, node="pve9"))
    await pruned(store, critical=50)
    kept = [one.key for one in await listed(store)]
    await pruned(store, critical=1, error=1)

    assert len(kept) == 3
    assert {one.kind: one.node for one in await listed(store)} == {
        "NODE_DOWN": "pve9", "VM_CRASHED": "pve1",
    }  # fmt: skip
    await keep(store, event(5))
    # Nothing is left of what went.
    assert (await the_one(store, node="pve1", kind="NODE_DOWN")).count == 1


@pytest.mark.parametrize("end", ["recovery", "hand"])
async def test_one_that_began_long_ago_stays_for_as_long_after_its_end(store, end):
    await keep(store, event(-40 * 86_400))
    if end == "hand":
        await ask(store, params.ResolveIncident(key="pve1/NODE_DOWN"))
    else:
        await keep(store, up(0))
    await pruned(store, critical=50)

    assert (await the_one(store)).state == ("resolved" if end == "hand" else "recovered")
    await pruned(store, critical=20)
    assert await listed(store) == []


@pytest.mark.parametrize("end", ["recovery", "next", "hand"])
async def test_one_that_has_expired_leaves_the_one_before_it_as_it_was(store, end):
    """The newer is of a lesser severity, and people had opened and closed it."""
    day, key = 86_400, "pve1/NODE_DOWN"
    await keep(store, event(-20 * day, severity="error", id="first"))
    if end == "recovery":
        await keep(store, up(-20 * day + 5))
    await keep(store, event(-10 * day, severity="warning"), up(-10 * day + 5))
    await ask(store, params.ReopenIncident(key=key, by="anna"))
    if end == "hand":
        await ask(store, params.ResolveIncident(key=key, by="anna"))
    else:
        await keep(store, up(3_600))
    newer, older = await listed(store)
    told = await announced(store)
    await pruned(store, warning=1)
    assert [*await listed(store)] == [newer, older]

    # An event that came late, and one that is resolved, have all folded again.
    await keep(store, event(-20 * day + 1, severity="error"))
    first = (await ask(store, params.ListEvents(type="alert"))).events[-1]
    await ask(store, params.ResolveEvent(id=first.id))
    await settle(store)
    after = (await listed(store))[-1]

    assert (after.state, after.resolved_by) == (older.state, older.resolved_by)
    assert (after.recovered_at, after.resolved_at) == (older.recovered_at, older.resolved_at)
    assert [one for one in await announced(store) if "incident" in one] == told
    await pruned(store, warning=1, error=1)
    assert await listed(store) == []
    for table in ("incident_actions", "incident_conditions"):
        assert await rows(store, f"SELECT * FROM {table}") == []


async def test_the_oldest_incident_that_expires_takes_with_it_what_was_done_to_it(store):
    day, key = 86_400, "pve1/NODE_DOWN"
    await keep(store, event(0))
    await ask(store, params.AcknowledgeIncident(key=key, by="anna"))
    await keep(store, up(3_600), event(29.5 * day))
    await ask(store, params.AcknowledgeIncident(key=key, by="bert"))
    await pruned(store, critical=7)

    assert (await the_one(store)).acknowledged_by == "bert"
    assert await rows(store, 'SELECT "by" FROM incident_actions') == [("bert",)]


async def test_an_incident_of_very_many_signals_goes_a_few_at_a_time(store, monkeypatch):
    await keep(store, *(event(n) for n in range(1_200)), up(1_200))
    of_conditions = incident_signals.c.condition_id != FORGOTTEN
    signals = select(incident_signals).where(of_conditions).subquery()
    at_once = steps_of_pruning(monkeypatch, signals)

    await pruned(store, critical=1)

    assert sum(at_once) == 1_201
    assert max(at_once) <= 500
    assert await listed(store) == []
    assert await rows(store, "SELECT count(*) FROM incident_conditions") == [(0,)]


async def test_an_incident_of_which_only_a_part_is_gone_is_still_over(store):
    await keep(store, *(event(n) for n in range(600)), up(600))
    horizons = {"critical": to_micros(at(86_400))}
    beginning = expired_rows.BEGINNING
    step = partial(incident_pruning.expire_incidents, horizons, after=beginning)
    assert await store.writer.run(step) == beginning

    # A late event has all signals folded again.
    await keep(store, event(-5))

    assert {one.state for one in await listed(store)} == {"recovered"}
    await pruned(store, critical=1)
    assert await listed(store) == []


async def test_what_never_was_a_problem_goes_a_few_at_a_time(store, monkeypatch):
    await keep(
        store,
        *(
            event(
                n,
                f"[Monitor] NODE_UP: n{n} changed from offline to online",
                type="status",
                severity="info",
                node=f"n{n}",
            )
            for n in range(1_100)
        ),
    )
    signals = steps_of_pruning(monkeypatch, incident_signals)
    conditions = steps_of_pruning(monkeypatch, incident_conditions)

    await pruned(store, critical=1)

    for at_once in (signals, conditions):
        assert sum(at_once) == 1_100
        assert max(at_once) <= 500


async def test_pruned_events_leave_the_incident_as_it_was(store):
    await keep(store, event(0), up(10))
    before = await the_one(store)
    await pruned(store, info=1)
    assert [one.type for one in (await ask(store, params.ListEvents())).events] == ["alert"]

    # A late event has all signals folded again.
    await keep(store, event(5))

    after = await the_one(store)
    assert (before.state, after.state) == ("recovered", "recovered")
    assert (after.count, after.recovered_at) == (2, at(10))


def named(seconds, tag, node="pve1", **fields):
    return event(seconds, f"{tag}: it is", node=node, details={"incident": "I1"}, **fields)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("is_late", [True, False])
async def test_the_newest_problem_says_what_a_named_condition_is_about(store, at_once, is_late):
    story = [named(10, "NODE_DOWN", "pve3"), named(20, "THRESHOLD", "pve4")]
    for one in reversed(story) if is_late else story:
        await put(store, one)
        if not at_once:
            await settle(store)
    await keep(store, snapshots=[snapshot(40, ("pve3", "online"), ("pve4", "online"))])

    incident = await the_one(store)

    assert (incident.kind, incident.node, incident.state) == ("THRESHOLD", "pve4", "open")


@pytest.mark.parametrize("is_reversed", [True, False])
async def test_of_two_problems_of_one_time_either_order_gives_the_same_condition(
    store, is_reversed
):
    story = [named(10, "NODE_DOWN", "pve3"), named(10, "THRESHOLD", "pve4")]
    for one in reversed(story) if is_reversed else story:
        await keep(store, one)

    assert (await the_one(store)).kind == "THRESHOLD"


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_named_condition_ends_by_the_rule_of_its_newest_problem(store, at_once):
    first = named(10, "NODE_DOWN")
    then = [
        named(20, "HEARTBEAT_MISSED"),
        named(30, "HEARTBEAT", type="status", severity="info"),
    ]
    if not at_once:
        await keep(store, first)
    await keep(store, *((first, *then) if at_once else then))

    assert (await the_one(store)).state == "resolved"


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@pytest.mark.parametrize("has_events", [True, False])
async def test_of_a_condition_that_is_kept_the_rules_in_force_count(
    engine, request, tmp_path, has_events
):
    if engine == "sqlite":
        address, opened = tmp_path / "recorder.db", open_file
    else:
        address, opened = request.getfixturevalue("postgres_url"), open_server
    async with opened(address, clock) as store:
        await keep(store, event(0), crashed(1))
        if has_events:
            await keep(store, snapshots=[snapshot(60, ("pve1", "online"))])
        else:
            await rows(store, "UPDATE incident_signals SET event_id = NULL")
            await rows(store, "DELETE FROM events")
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\nkind = "NODE_DOWN"\nproblem = ["NODE_DOWN"]\n')

    async with opened(address, clock, rules=load_rules(path, 48)) as store:
        await settle(store)
        found = await rows(store, "SELECT kind, evidence, covers FROM incident_conditions")

    assert sorted(found) == [("NODE_DOWN", None, False), ("VM_CRASHED", "guest", False)]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_an_incident_that_has_expired_does_not_come_back_with_other_rules(
    engine, request, tmp_path
):
    """The alert stays, which nobody resolved, and the event that ended it is gone."""
    if engine == "sqlite":
        address, opened = tmp_path / "recorder.db", open_file
    else:
        address, opened = request.getfixturevalue("postgres_url"), open_server
    well = event(100, "[Monitor] THRESHOLD_OK: cpu of pve1", type="status", severity="info")
    async with opened(address, clock) as store:
        await keep(store, event(0, "[Monitor] THRESHOLD: cpu of pve1"), well, event(29 * 86_400))
        await pruned(store, critical=7, info=7)
        (newer,) = await listed(store)
        alerts = (await ask(store, params.ListEvents())).events
        (alert,) = [one for one in alerts if "THRESHOLD" in one.summary]

    async with opened(address, clock, rules=load_rules(None, 24)) as store:
        await settle(store)
        assert [one.kind for one in await listed(store)] == [newer.kind] == ["NODE_DOWN"]

        await keep(store, event(29.5 * 86_400, "[Monitor] THRESHOLD: cpu of pve1"))
        assert (await the_one(store, kind="THRESHOLD")).count == 1
        # Nothing is left of it once the alert is gone, too.
        await ask(store, params.ResolveEvent(id=alert.id, resolved_by="anna"))
        await settle(store)
        assert (await the_one(store, kind="THRESHOLD")).state == "open"
        await pruned(store, critical=7, info=7)
        signals = "SELECT count(*) FROM incident_signals WHERE condition_id = 0"
        assert await rows(store, signals) == [(0,)]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_other_rules_make_the_incidents_anew_and_tell_nobody(engine, request, tmp_path):
    if engine == "sqlite":
        address, opened = tmp_path / "recorder.db", open_file
    else:
        address, opened = request.getfixturevalue("postgres_url"), open_server
    async with opened(address, clock) as store:
        await keep(store, event(0), crashed(5))
        await ask(store, params.AcknowledgeIncident(key="pve1/NODE_DOWN", by="anna"))
        told = await announced(store)
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\nkind = "GUEST"\nproblem = ["VM_CRASHED"]\ntext = "(mail)"\n')

    async with opened(address, clock, rules=load_rules(path, 48)) as store:
        await settle(store)
        found = {one.kind: one for one in await listed(store)}
        assert await announced(store) == told

    assert {*found} == {"NODE_DOWN", "GUEST"}
    assert (found["NODE_DOWN"].state, found["GUEST"].object) == ("acknowledged", "mail")


_MADE = ("incident_signals", "incidents", "incident_conditions")


async def is_complete(store):
    return (await ask(store, params.ListIncidents(limit=1))).complete


async def made(store):
    return [(await rows(store, f"SELECT count(*) FROM {table}"))[0][0] for table in _MADE]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@pytest.mark.parametrize("is_taken_back", [False, True])
async def test_other_rules_delete_what_was_made_in_small_steps(
    engine, request, tmp_path, is_taken_back
):
    """A restart in between goes on, and one with the former rules makes all again."""
    if engine == "sqlite":
        address, opened = tmp_path / "recorder.db", open_file
    else:
        address, opened = request.getfixturevalue("postgres_url"), open_server
    async with opened(address, clock) as store:
        await keep(store, *(crashed(n, 100 + n % 50) for n in range(1_300)), event(0), up(10))
        assert await is_complete(store)
        await ask(store, params.AcknowledgeIncident(key="pve1/VM_CRASHED/107", by="anna"))
        before, told = await listed(store, limit=100), await announced(store)
        counts = [await made(store)]
    other = load_rules(None, 47)

    async with opened(address, clock, rules=other) as store:
        assert await is_complete(store), "by the former rules"
        assert await store.incidents.step()
        assert not await is_complete(store)
        counts.append(await made(store))
        await put(store, event(20, id="new"))
        # Nothing is over for good while half of it is gone.
        await pruned(store, critical=29)
        assert await rows(store, "SELECT key FROM incident_actions") == [("pve1/VM_CRASHED/107",)]
    async with opened(address, clock, rules=None if is_taken_back else other) as store:
        while not any(row.count == 2 for row in await listed(store, kind="NODE_DOWN")):
            if len(await listed(store, limit=100)) < len(before):
                assert not await is_complete(store)
            await store.incidents.step()
            counts.append(await made(store))
        await settle(store)
        assert await is_complete(store)
        after = await listed(store, limit=100)
        told_again = (await announced(store))[len(told) :]

    deleted = [sum(a) - sum(b) for a, b in itertools.pairwise(counts)]
    assert 0 < max(deleted) <= 1_000
    assert [one for one in after if one.kind != "NODE_DOWN"] == [
        one for one in before if one.kind != "NODE_DOWN"
    ]
    assert told_again == ["recorder.incident.opened"], "of what came meanwhile, and of nothing else"


@pytest.fixture
async def by_other_rules(store, monkeypatch):
    """A recorder that has just been started, and three incidents of which no event is left."""
    monkeypatch.setattr(incident_renewal, "_AT_ONCE", 2)
    await keep(store, *(crashed(0, 100 + n) for n in range(3)))
    for statement in (
        "UPDATE incident_signals SET event_id = NULL",
        "DELETE FROM events",
        "UPDATE incident_progress SET rules = 'other', reached = 0",
    ):
        await rows(store, statement)
    monkeypatch.setattr(store.incidents, "_has_begun", False)
    return store


async def test_each_step_by_other_rules_may_fail_twice_and_be_done_again(
    by_other_rules, monkeypatch
):
    store = by_other_rules
    for _ in range(10):
        await step_without_commit(store, monkeypatch)
        await step_without_commit(store, monkeypatch)
        await store.incidents.step()

    assert len(await listed(store)) == 3


async def test_a_list_is_complete_once_each_condition_that_is_kept_is_folded_again(by_other_rules):
    store = by_other_rules
    found = [(3, True)]
    while found[-1] != (3, True) or len(found) == 1:
        await store.incidents.step()
        found.append((len(await listed(store)), await is_complete(store)))

    assert {number for number, complete in found if not complete} >= {0, 1, 2}
    assert {number for number, complete in found if complete} == {3}


async def test_a_condition_that_is_folded_again_is_in_the_list_all_the_while(store):
    await keep(store, event(0))
    (alert,) = (await ask(store, params.ListEvents())).events
    await ask(store, params.ResolveEvent(id=alert.id))

    assert await is_complete(store)


async def test_what_a_third_recorder_made_in_between_is_made_again(by_other_rules):
    store = by_other_rules
    while not await stale(store):
        await store.incidents.step()
    await rows(store, "UPDATE incident_conditions SET stale = false")
    await rows(store, "UPDATE incident_progress SET rules = 'third'")
    await settle(store)

    assert len(await listed(store)) == 3


async def test_an_event_that_gets_the_number_of_a_deleted_one_is_read_and_told(sqlite_store):
    store = sqlite_store
    await keep(store, up(0))
    await rows(store, "UPDATE incident_progress SET told_after = reached")
    await file_pruner.prune(
        store.writer, RetentionPolicy(events={"info": 1}), to_micros(at(30 * 86_400))
    )
    await keep(store, event(10))

    assert (await the_one(store)).count == 1
    assert await announced(store) == ["recorder.incident.opened"]


async def test_an_event_with_a_deleted_number_is_told_of_after_other_rules(path):
    async with open_file(path, clock) as store:
        await keep(store, up(0))
    async with open_file(path, clock, rules=load_rules(None, 47)) as store:
        await settle(store)
        await pruned(store, info=1)
        await keep(store, event(10))

        assert await announced(store) == ["recorder.incident.opened"]


async def test_events_that_are_committed_late_are_read_on_a_server(postgresql_store):
    """A lower id may be committed after a higher one."""
    store = postgresql_store
    async with store.writer._engine.connect() as other:
        await other.exec_driver_sql(
            "INSERT INTO events (timestamp, stamped, type, severity, source, node, summary,"
            " recorded_at) VALUES (now(), false, 'alert', 'error', 'monitor', 'slow', 'a: b', now())"
        )
        await keep(store, event(0))
        early = await listed(store)
        await other.commit()
    await settle(store)

    assert early == []
    assert {one.node for one in await listed(store)} == {"slow", "pve1"}


async def test_what_others_write_elsewhere_on_the_server_holds_up_no_incident(postgresql_store):
    store = postgresql_store
    async with store.writer._engine.connect() as other:
        await other.exec_driver_sql("CREATE TABLE of_another (id bigint)")
        await other.exec_driver_sql("LOCK TABLE cluster_snapshots IN ROW EXCLUSIVE MODE")
        await keep(store, event(0))

        assert (await the_one(store)).node == "pve1"


async def test_a_transaction_that_holds_up_the_events_is_named(
    postgresql_store, monkeypatch, capsys
):
    monkeypatch.setattr(server_horizon, "_PATIENCE_SECONDS", 0.0)
    store = postgresql_store
    async with store.writer._engine.connect() as other:
        await other.exec_driver_sql("DELETE FROM events WHERE id = 0")
        (process,) = (await other.exec_driver_sql("SELECT pg_backend_pid()")).one()
        await keep(store, event(0))
        held_up = (await store.health()).incidents_failure
    await settle(store)

    assert f"({process})" in held_up
    assert capsys.readouterr().out.count("incidents_held_up") == 1
    assert (await store.health()).incidents_failure is None
    assert (await the_one(store)).count == 1


async def test_incidents_are_kept_next_to_recording(store):
    stop = asyncio.Event()
    running = asyncio.create_task(store.incidents.run(stop))
    await put(store, event(0))
    async with asyncio.timeout(30):
        while not await listed(store):
            await asyncio.sleep(0.02)
    stop.set()
    async with asyncio.timeout(30):
        await running


@pytest.mark.parametrize("space", [*" \t\n\v\f\r"])
async def test_a_tag_before_any_white_space_is_read_in_a_recovery_too(store, space):
    well = {"type": "status", "severity": "info"}
    await keep(store, event(0, f"NODE_DOWN:{space}it is gone"))
    await keep(store, event(60, f"NODE_UP:{space}it is back", **well))

    assert (await the_one(store)).state == "recovered"


async def test_a_gap_of_any_length_in_the_ids_is_one_step(store):
    """An imported event keeps its id."""
    await put(store, event(0), event(60))
    await rows(store, "UPDATE events SET id = id + 1000000000000 WHERE id > 1")

    for _ in range(8):
        await store.incidents.step()

    assert (await the_one(store)).count == 2


async def test_events_of_all_kinds_are_read(store):
    await put(store, {"type": "metric", "source": "system", "summary": "cpu 0.5"})
    await put(store, {"type": "alert", "source": "monitor", "severity": "error", "summary": "x",
                      "details": [1], "timestamp": at(0).isoformat()})  # fmt: skip
    await put(store, {"type": "alert", "source": "monitor", "severity": "error", "summary": "y",
                      "details": {"incident": "job-7"}, "timestamp": at(0).isoformat()})  # fmt: skip
    await settle(store)

    found = await listed(store)

    assert {(one.key.partition("@")[0], one.guessed) for one in found} == {
        ("x", True), ("job-7", False),
    }  # fmt: skip


LOG = "x" * 100_000


@pytest.mark.parametrize("more", [{"type": "status"}, {"severity": "info"}])
async def test_a_condition_is_read_from_details_of_any_length(store, more):
    long = {"incident": "ups-1", "log": LOG}
    await keep(store, event(0, "On battery", details=long))
    opened = await the_one(store)
    well = {"incident": "ups-1", "state": "resolved", "log": LOG}
    await keep(store, event(10, "On line", details=well, **more))
    ended = await the_one(store)

    assert (opened.guessed, ended.key) == (False, opened.key)
    assert (opened.state, ended.state, ended.count) == ("open", "recovered", 1)


async def test_a_cloudevent_with_long_attributes_names_its_condition(store):
    await keep(store, event(0, "On battery", details={"incident": "ups-1"}))
    attributes = {"subject": "ups-1", "log": LOG}
    await keep(store, event(10, "On line", type="status", severity="info", cloudevent=attributes))

    assert (await the_one(store)).state == "recovered"


async def test_details_longer_than_any_message_name_nothing_and_end_nothing(store, monkeypatch):
    monkeypatch.setattr(incident_keeper, "_LONGER_THAN_ANY", 50_000)
    await keep(store, *(event(n, details={"incident": "ups-1", "log": LOG}) for n in range(3)))

    assert (await the_one(store)).guessed
    assert (await the_one(store)).count == 3


async def test_details_that_another_program_has_written_are_of_an_alert_all_the_same(store):
    await keep(store, *(event(n, details={"n": LOG}) for n in range(4)))
    for n, text in enumerate(('{"incident": 1%s}' % ("0" * 5_000), '{"a": "\\ud800"}', "[]", "7")):
        await rows(store, f"UPDATE events SET details = '{text}' WHERE id = {n + 1}")
    await rows(store, "DELETE FROM incident_signals")
    await rows(store, "DELETE FROM incidents")
    await rows(store, "UPDATE incident_progress SET reached = 0")
    await settle(store)

    assert (await the_one(store)).count == 4


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


async def stale(store):
    return (await rows(store, "SELECT count(*) FROM incident_conditions WHERE stale"))[0][0]


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
