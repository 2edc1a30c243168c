"""Named conditions, and incidents that other rules make anew."""

import itertools

import pytest

from jarvis_recorder.incidents.rules import load_rules
from jarvis_recorder.storage.incidents import renewal as incident_renewal
from jarvis_recorder.storage.postgres.store import open_store as open_server
from jarvis_recorder.storage.sqlite.store import open_store as open_file
from jarvis_recorder.wire.rpc import params
from tests.support.archive import ask, clock, rows
from tests.support.incidents import (
    announced,
    crashed,
    event,
    keep,
    listed,
    pruned,
    put,
    settle,
    snapshot,
    stale,
    step_without_commit,
    the_one,
    up,
)


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


async def test_in_any_order_all_of_a_named_condition_ends_by_the_rule_of_its_newest_problem(store):
    """Of two rules, one resolves with a recovery; each order is a condition of its own."""
    hour = 3_600
    story = [
        (0, "THRESHOLD", {}), (hour, "THRESHOLD", {"severity": "info"}),
        (100 * hour, "HEARTBEAT_MISSED", {}), (101 * hour, "HEARTBEAT", {"severity": "info"}),
    ]  # fmt: skip
    orders = [*itertools.permutations(story)]
    for place in range(4):
        some = ((n, *order[place]) for n, order in enumerate(orders))
        await keep(
            store,
            *(
                event(
                    seconds,
                    f"{tag}: it is",
                    details={"incident": f"I{n}"},
                    id=f"{n} {tag} {seconds}",
                    **fields,
                )
                for n, seconds, tag, fields in some
            ),
        )
    found = await listed(store, limit=100)

    assert len(found) == 2 * len(orders)
    assert {one.state for one in found} == {"resolved"}


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
