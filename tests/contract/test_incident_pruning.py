"""Incidents that are over end with their events, in small steps."""

from functools import partial

import pytest
from sqlalchemy import select

from jarvis_recorder.storage import expired_rows
from jarvis_recorder.storage.incidents import pruning as incident_pruning
from jarvis_recorder.storage.incidents.pruning import FORGOTTEN
from jarvis_recorder.storage.tables import incident_conditions, incident_signals
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.times import to_micros
from tests.support.archive import ask, rows, steps_of_pruning
from tests.support.incidents import (
    announced,
    crashed,
    event,
    keep,
    listed,
    pruned,
    put,
    settle,
    the_one,
    up,
)
from tests.support.stored import at


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


async def test_what_was_to_be_read_before_anything_is_told_may_be_pruned(store):
    await put(store, event(0), *(up(n, node=f"pve{n}") for n in range(2, 5)))
    newest = "(SELECT max(id) FROM events)"
    await rows(store, f"UPDATE incident_progress SET reached = 0, told_after = {newest}")
    await pruned(store, info=1)
    await settle(store)
    found = await ask(store, params.ListIncidents())
    (alert,) = (await ask(store, params.ListEvents())).events
    await ask(store, params.ResolveEvent(id=alert.id, resolved_by="anna"))
    await settle(store)

    assert (len(found.incidents), found.complete) == (1, True)
    assert await announced(store) == ["recorder.event.resolved", "recorder.incident.resolved"]


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
