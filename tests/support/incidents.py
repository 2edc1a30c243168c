"""Problems and recoveries as they are published, and the incidents that are made of them."""

from datetime import datetime

import pytest

from jarvis_recorder.errors import (
    StorageUnavailable,
)
from jarvis_recorder.retention_policy import RetentionPolicy
from jarvis_recorder.storage.postgres import pruner as server_pruner
from jarvis_recorder.storage.sqlite import pruner as file_pruner
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.times import to_micros
from tests.support.archive import NOW, ask, rows
from tests.support.stored import EVENTS, SNAPSHOTS, at
from tests.support.stored import put as record


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


async def history(store, key="pve1/NODE_DOWN"):
    return await ask(store, params.GetIncident(key=key))


async def pruned(store, **days):
    keeping, later = RetentionPolicy(events=days), to_micros(at(30 * 86_400))
    if hasattr(store, "retention"):
        await server_pruner.prune(store.writer._engine, "server", keeping, later)
    else:
        await file_pruner.prune(store.writer, keeping, later)


async def stale(store):
    return (await rows(store, "SELECT count(*) FROM incident_conditions WHERE stale"))[0][0]
