"""States of incidents on both engines: the same whatever the order, the redelivery, the restart."""

import asyncio
import random

import pytest

from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.times import to_datetime
from tests.support.archive import NOW, ask
from tests.support.incidents import (
    announced,
    crashed,
    event,
    keep,
    listed,
    put,
    settle,
    snapshot,
    the_one,
    up,
)
from tests.support.stored import SNAPSHOTS, at
from tests.support.stored import put as record


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
