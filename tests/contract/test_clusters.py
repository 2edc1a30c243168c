"""Two clusters on one broker: data of one is never shown as the other's."""

import json
import sqlite3
from contextlib import closing

import pytest

from jarvis_recorder.errors import InvalidParameter
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.sqlite import upgrade
from jarvis_recorder.storage.sqlite.lock import create_file
from jarvis_recorder.storage.sqlite.store import open_store
from jarvis_recorder.storage.sqlite.writer import open_writer
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.rpc.params import (
    EventHistogram,
    LatestSnapshot,
    ListEvents,
    ReadHoldings,
    RecordEvent,
    SnapshotAt,
    TimelineAround,
    UnresolvedEvents,
)
from jarvis_recorder.wire.times import format_datetime
from tests.support.amqp_bytes import delivery
from tests.support.archive import NOW, ask, clock
from tests.support.stored import SNAPSHOTS, at, event, put

ASKED_WITHOUT = (LatestSnapshot(), SnapshotAt(timestamp=at(5)), TimelineAround(timestamp=at(5)))


def snapshot(cluster, seconds=0, **state):
    body = {"snapshot": state, "timestamp": format_datetime(at(seconds))}
    return body if cluster is None else body | {"cluster": cluster}


def summaries(events):
    return sorted(one.summary for one in events)


async def put_two(store):
    """Record a snapshot and an event for each of two clusters, and an event without a cluster."""
    await put(store, snapshot("home", of="home"), snapshot("lab", 1, of="lab"), topic=SNAPSHOTS)
    await put(
        store,
        event(2, summary="of home", cluster="home", node="pve1"),
        event(3, summary="of lab", cluster="lab", node="pve1"),
        event(4, summary="of none", node="pve1"),
    )


@pytest.mark.parametrize("cluster", ["home", "lab"])
async def test_two_clusters_never_mix(store, cluster):
    await put_two(store)

    around = await ask(store, TimelineAround(timestamp=at(5), cluster=cluster))
    listed = await ask(store, ListEvents(cluster=cluster, node="pve1"))
    counted = await ask(
        store, EventHistogram(since=at(0), until=at(10), bucket_seconds=10, cluster=cluster)
    )

    assert around.snapshot.snapshot == {"of": cluster}
    assert summaries(around.events) == [f"of {cluster}", "of none"], "which may be of any"
    assert [one.cluster for one in around.events] == [cluster, None]
    assert summaries(listed.events) == [f"of {cluster}"]
    assert [bucket.count for bucket in counted.buckets] == [1]
    for question in (LatestSnapshot(cluster=cluster), SnapshotAt(timestamp=at(5), cluster=cluster)):
        assert (await ask(store, question)).snapshot.snapshot == {"of": cluster}


@pytest.mark.parametrize("question", ASKED_WITHOUT, ids=lambda one: type(one).__name__)
async def test_a_request_that_names_none_of_several_clusters_hears_which_there_are(store, question):
    await put_two(store)

    with pytest.raises(InvalidParameter, match="'home', 'lab'") as refused:
        await ask(store, question)

    assert refused.value.path == "cluster"


async def test_the_only_cluster_there_is_need_not_be_named(store):
    await put(store, snapshot("home", of="home"), topic=SNAPSHOTS)
    await put(store, event(2, summary="of home", cluster="home"), event(4, summary="of none"))

    around = await ask(store, TimelineAround(timestamp=at(5)))

    assert around.snapshot.snapshot == {"of": "home"}
    assert summaries(around.events) == ["of home", "of none"], "there is no other it could be of"
    for question in ASKED_WITHOUT[:2]:
        assert (await ask(store, question)).snapshot.cluster == "home"


async def test_the_cluster_without_a_name_is_one_of_several(store):
    await put(store, snapshot(None, of="none"), snapshot("lab", of="lab"), topic=SNAPSHOTS)
    await put(store, event(2, summary="of none"), event(3, summary="of lab", cluster="lab"))

    with pytest.raises(InvalidParameter, match="'' \\(which has no name\\), 'lab'"):
        await ask(store, LatestSnapshot())

    around = await ask(store, TimelineAround(timestamp=at(5), cluster=""))
    assert around.snapshot.snapshot == {"of": "none"}
    assert summaries(around.events) == ["of none"]
    assert summaries((await ask(store, ListEvents(cluster=""))).events) == ["of none"]
    other = await ask(store, TimelineAround(timestamp=at(5), cluster="lab"))
    assert summaries(other.events) == ["of lab"], "there is a cluster that the other one is of"


async def test_an_event_without_a_cluster_is_in_the_timeline_around_it(store):
    await put_two(store)
    [found] = (await ask(store, ListEvents(cluster=""))).events

    for cluster in ("home", "lab"):
        asked = TimelineAround(
            timestamp=found.timestamp, window_seconds=1, cluster=cluster, node="pve1"
        )
        assert found.id in [one.id for one in (await ask(store, asked)).events], cluster
    unknown = TimelineAround(timestamp=found.timestamp, window_seconds=1, cluster="no such")
    assert (await ask(store, unknown)).events == []


async def test_snapshots_are_of_the_only_cluster_that_sends_any(store):
    await put(store, snapshot(None, of="none"), topic=SNAPSHOTS)
    await put(store, event(2, cluster="home"), event(3, cluster="lab"))

    for question in ASKED_WITHOUT[:2]:
        assert (await ask(store, question)).snapshot.snapshot == {"of": "none"}


async def test_a_routing_key_names_the_cluster_of_a_snapshot_that_does_not(store):
    key = b"cluster.snapshot.lab.two"
    records = []
    for body in (snapshot(None, n=1), snapshot("", n=2), snapshot("home", n=3)):
        found = decode(delivery(json.dumps(body).encode())._replace(routing_key=key), SNAPSHOTS, 0)
        records += found.records
    await store.repository.append(records, NOW)

    assert [record.body.cluster for record in records] == ["lab.two", "lab.two", "home"]
    assert (await ask(store, ReadHoldings())).clusters == ["home", "lab.two"]


async def test_an_empty_name_is_none(store):
    await put(store, event(1, cluster=""), event(2, cluster="home"))
    recorded = await ask(
        store,
        RecordEvent(type="alert", source="user", summary="by hand", cluster="home"),
    )

    assert recorded.event.cluster == "home"
    assert (await ask(store, ReadHoldings())).clusters == ["home"]
    found = await ask(store, ListEvents(cluster=""))
    assert [one.cluster for one in found.events] == [None]
    by_cluster = EventHistogram(since=at(0), until=at(10), bucket_seconds=10, by="cluster")
    assert (await ask(store, by_cluster)).buckets[0].by == {"": 1, "home": 1}


async def test_unresolved_events_are_asked_for_by_type_and_cluster(store):
    await put(
        store,
        event(1, type="alert", summary="a", cluster="home"),
        event(2, type="alert", summary="b", cluster="lab"),
        event(3, type="metric", summary="c", cluster="home"),
        event(4, type="metric", summary="d"),
    )

    asked = {
        "abcd": UnresolvedEvents(),
        "ab": UnresolvedEvents(type="alert"),
        "cd": UnresolvedEvents(type="metric"),
        "ac": UnresolvedEvents(cluster="home"),
        "b": UnresolvedEvents(type="alert", cluster="lab"),
    }
    for expected, question in asked.items():
        found = summaries((await ask(store, question)).events)
        assert found == list(expected), question


async def test_events_at_least_as_severe(store):
    for number, severity in enumerate(("info", "warning", "error", "critical")):
        await put(store, event(number, summary=severity, severity=severity))

    found = await ask(store, ListEvents(min_severity="error"))
    counted = EventHistogram(since=at(0), until=at(4), bucket_seconds=4, min_severity="warning")

    assert summaries(found.events) == ["critical", "error"]
    assert (await ask(store, counted)).buckets[0].count == 3


async def test_a_small_cluster_is_found_among_many_events_of_others(store):
    await put(store, *(event(n, cluster="home") for n in range(3_000)))
    await put(store, event(1, cluster="lab", summary="the one"))

    found = await ask(store, ListEvents(cluster="lab", limit=5))

    assert summaries(found.events) == ["the one"], "in the first page"
    assert found.next_cursor is None


async def test_a_cluster_that_was_named_before_there_was_a_column_moves_there(tmp_path):
    path = tmp_path / "recorder.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revisions, "HEAD", "0003")
        async with open_writer(create_file(path)) as writer:
            await upgrade.upgrade(writer, path)
    extras = (
        '{"cluster":"home"}', '{"cluster":"home","guid":17832912345678901234,"x":"ü"}',
        '{"cluster":["home"]}', '{"cluster":""}', '{"x":{"cluster":"home"}}', None,
    )  # fmt: skip
    with closing(sqlite3.connect(path)) as connection, connection:
        for extra in extras:
            connection.execute(
                "INSERT INTO events (timestamp, stamped, type, severity, source, summary, extra,"
                " recorded_at) VALUES (0, 0, 'alert', 'info', 'user', 's', ?, 0)",
                (extra,),
            )

    async with open_store(path, clock):
        pass

    with closing(sqlite3.connect(path)) as connection:
        kept = connection.execute("SELECT cluster, extra FROM events ORDER BY id").fetchall()
    assert kept == [
        ("home", None), ("home", '{"guid":17832912345678901234,"x":"ü"}'),
        *((None, extra) for extra in extras[2:]),
    ]  # fmt: skip
