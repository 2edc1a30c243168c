"""Changes that people make to incidents, and the history of what was done."""

import pytest

from jarvis_recorder.errors import (
    Conflict,
    NotFound,
)
from jarvis_recorder.incidents.rules import load_rules
from jarvis_recorder.storage.incidents import candidates
from jarvis_recorder.storage.incidents import renewal as incident_renewal
from jarvis_recorder.storage.postgres.store import open_store as open_server
from jarvis_recorder.storage.sqlite.store import open_store as open_file
from jarvis_recorder.storage.transfer import copy_to_server
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.times import to_datetime, to_micros
from tests.support.archive import NOW, ask, clock, rows
from tests.support.incidents import (
    announced,
    crashed,
    event,
    history,
    keep,
    listed,
    pruned,
    settle,
    the_one,
    up,
)
from tests.support.stored import at


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
    read_event = candidates.read_event

    def read(event, rules):
        condition, effect = read_event(event, rules)
        return condition._replace(key=condition.kind), effect

    monkeypatch.setattr(candidates, "read_event", read)


async def test_what_people_did_goes_along_where_the_key_of_an_event_is_another(store, monkeypatch):
    with monkeypatch.context() as former:
        known_without_nodes(former)
        await keep(store, event(0), event(1, node="pve2"), event(2), crashed(3))
        await ask(store, params.ResolveIncident(key="NODE_DOWN", by="anna"))
        until = to_datetime(NOW + 3_600_000_000)
        await ask(store, params.SilenceIncidents(key="NODE_DOWN", until=until, by="bert"))
    monkeypatch.setattr(incident_renewal, "_AT_ONCE", 2)
    monkeypatch.setattr(candidates, "_SIGNALS_AT_ONCE", 1)
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


async def test_the_history_of_one_that_was_given_up_says_when_and_why(store):
    hours = 60 * 3_600
    await keep(store, event(0), event(60), event(hours))
    newer, given_up = await listed(store)

    changes = (await history(store, given_up.key)).transitions

    assert [(one.at, one.state, one.by, one.reason) for one in changes] == [
        (at(0), "open", None, None),
        (at(hours), "resolved", None, "no alert for 59 hours"),
    ]
    assert [one.state for one in (await history(store, newer.key)).transitions] == ["open"]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_a_history_says_how_it_was_closed_by_the_rules_in_force(engine, request, tmp_path):
    """While it is open again, too."""
    rule = '[[rule]]\nkind = "NODE_DOWN"\nproblem = ["NODE_DOWN"]\nrecovery = ["NODE_UP"]\n'
    path = tmp_path / "rules.toml"
    path.write_text(f"{rule}resolves = true\n")
    if engine == "sqlite":
        address, opened = tmp_path / "recorder.db", open_file
    else:
        address, opened = request.getfixturevalue("postgres_url"), open_server
    async with opened(address, clock, rules=load_rules(path, 48)) as store:
        await keep(store, event(0), up(10), event(20))

        changes = (await history(store)).transitions

    assert [one.state for one in changes] == ["open", "resolved", "open"]
