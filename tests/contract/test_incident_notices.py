"""Notices of incidents: each change once, and none of what is old."""

import pytest

from jarvis_recorder.storage.incidents import fold as incident_fold
from jarvis_recorder.wire.rpc import params
from tests.support.archive import NOW, ask
from tests.support.incidents import (
    announced,
    crashed,
    event,
    keep,
    listed,
    settle,
    snapshot,
    the_one,
    up,
)
from tests.support.stored import EVENTS, SNAPSHOTS, at
from tests.support.stored import put as record

HOUR = 3_600


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


async def read(store, body, hours, topic=EVENTS):
    """Record a message so many hours ago, and fold it now."""
    await record(store, body, topic=topic, recorded_at=NOW - hours * HOUR * 1_000_000)
    await settle(store)


@pytest.mark.parametrize("is_shown", [True, False])
async def test_the_end_of_what_was_told_is_announced_however_late_it_is_read(
    store, monkeypatch, is_shown
):
    """The recorder was away from Friday to Monday."""
    with monkeypatch.context() as then:
        then.setattr(incident_fold, "_NEWS_MICROS", 100 * HOUR * 1_000_000)
        await read(store, event(-60 * HOUR), 60)
    if is_shown:
        await read(store, snapshot(-30 * HOUR, ("pve1", "online")), 0, SNAPSHOTS)
    else:
        await read(store, up(-30 * HOUR), 0)

    assert (await the_one(store)).recovered_at == at(-30 * HOUR)
    assert await announced(store) == ["recorder.incident.opened", "recorder.incident.recovered"]


@pytest.mark.parametrize("hours", [(0, 0), (40, 30)])
@pytest.mark.parametrize("is_shown", [True, False])
async def test_the_end_of_what_is_imported_and_old_is_no_news_in_a_later_step(
    store, hours, is_shown
):
    """It is recorded late, or brought with the time at which it was."""
    failed, ended = hours
    await read(store, event(-40 * HOUR), failed)
    if is_shown:
        await read(store, snapshot(-30 * HOUR, ("pve1", "online")), ended, SNAPSHOTS)
    else:
        await read(store, up(-30 * HOUR), ended)

    assert (await the_one(store)).state == "recovered"
    assert await announced(store) == []


async def test_a_problem_that_was_read_too_late_is_announced_with_the_next_once(store):
    await read(store, event(-30 * HOUR), 0)
    assert await announced(store) == []
    for n in range(3):
        await read(store, event(n), 0)

    assert (await the_one(store)).count == 4
    assert await announced(store) == ["recorder.incident.opened"]
