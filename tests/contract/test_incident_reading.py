"""Events that the fold reads: late, large, of any kind, with the number of a deleted one."""

import json
import zlib

import pytest
import sqlalchemy

from jarvis_recorder.incidents.rules import load_rules
from jarvis_recorder.retention_policy import RetentionPolicy
from jarvis_recorder.storage.incidents import candidates
from jarvis_recorder.storage.postgres import horizon as server_horizon
from jarvis_recorder.storage.sqlite import pruner as file_pruner
from jarvis_recorder.storage.sqlite.store import open_store as open_file
from jarvis_recorder.wire.times import to_micros
from tests.support.archive import clock, rows
from tests.support.incidents import (
    announced,
    event,
    keep,
    listed,
    pruned,
    put,
    settle,
    snapshot,
    the_one,
    up,
)
from tests.support.stored import SNAPSHOTS, at


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


async def test_a_snapshot_that_is_committed_late_is_news_on_a_server(postgresql_store):
    """A lower id may be committed after a higher one."""
    store = postgresql_store
    shown = zlib.compress(json.dumps(snapshot(20, ("pve1", "online"))["snapshot"]).encode())
    await keep(store, event(0))
    async with store.writer._engine.connect() as other:
        await other.execute(
            sqlalchemy.text(
                "INSERT INTO cluster_snapshots (cluster, timestamp, stamped, snapshot, size_bytes,"
                " recorded_at) VALUES ('home', :at, false, :shown, 100, now())"
            ),
            {"at": at(20), "shown": shown},
        )
        await put(store, snapshot(30, of="other"), topic=SNAPSHOTS)
        while await store.incidents._has_news():
            await store.incidents.step()
        early = (await the_one(store)).state
        await other.commit()
    while await store.incidents._has_news():
        await store.incidents.step()

    assert early == "open"
    assert (await the_one(store)).state == "recovered"


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
    monkeypatch.setattr(candidates, "_LONGER_THAN_ANY", 50_000)
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
