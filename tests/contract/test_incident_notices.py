"""Notices of incidents: each change once, and none of what is old."""

from jarvis_recorder.storage import (
    incident_fold,
)
from jarvis_recorder.wire.rpc import params
from tests.support.archive import ask
from tests.support.incidents import announced, crashed, event, keep, listed, settle, the_one, up
from tests.support.stored import at


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
