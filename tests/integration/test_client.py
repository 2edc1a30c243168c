"""The client library in front of a real recorder."""

import asyncio
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import aio_pika
import pytest

from jarvis_recorder.client import (
    EventRecorded,
    EventReopened,
    EventResolved,
    PreferenceChanged,
    PreferenceDeleted,
    RecorderClient,
    new_event,
)
from jarvis_recorder.errors import (
    BrokerUnavailable,
    ConfigurationError,
    Conflict,
    InvalidParameter,
    NotFound,
    RecorderUnavailable,
    ReplyTimeout,
)
from jarvis_recorder.wire.rpc.methods import BY_NAME, METHODS, adapter
from jarvis_recorder.wire.rpc.params import GetPreference
from jarvis_recorder.wire.topics import Kind
from tests.support.proxy import SwallowingProxy
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker

MOMENT = datetime(2026, 11, 23, 5, tzinfo=UTC)


@pytest.fixture
async def recorder(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    recorder.wait_for("answering")
    return recorder


@pytest.fixture
async def client(recorder, amqp_url):
    # A disk that others use may take longer than the default for a confirm.
    async with RecorderClient(amqp_url, timeout=60) as client:
        yield client


def some_event(number: int, **changes):
    return new_event(
        **{"type": "status", "source": "monitor", "summary": f"event {number}"} | changes
    )


async def test_what_is_published_is_recorded_and_found(client, recorder):
    identity = await client.publish_event(
        type="alert", severity="critical", source="monitor", node="pve1", summary="pve1 is down",
        details={"previousState": "online"}, extra={"rack": 7},
    )  # fmt: skip
    await client.publish_turn(
        session_id="s", role="assistant", content="It is down.", cost_usd=Decimal("0.00012")
    )
    await client.publish_snapshot({"nodes": []}, cluster="home")
    await asyncio.to_thread(
        wait_until,
        lambda: (
            [recorder.count(t) for t in ("events", "conversations", "cluster_snapshots")]
            == [1, 1, 1]
        ),
        "all three are recorded",
    )

    (event,) = (await client.events.list(node="pve1")).events
    (turn,) = (await client.conversations.turns(session_id="s")).turns

    assert (event.message_id, event.details, event.extra) == (
        identity, {"previousState": "online"}, {"rack": 7},
    )  # fmt: skip
    assert isinstance(event.timestamp, datetime)
    assert turn.cost_usd == Decimal("0.00012")
    assert (await client.snapshots.latest(cluster="home")).snapshot.snapshot == {"nodes": []}
    stats = await client.stats()
    assert stats.holdings.events.count == 1
    assert stats.activity.instance.endswith(f":{recorder.process.pid}")
    assert len((await client.discover())["methods"]) == len(METHODS)


async def test_the_same_message_id_is_recorded_once(client, recorder):
    for _ in range(2):
        await client.publish_event(
            type="action", source="user", summary="restarted", message_id="mine"
        )
    await client.publish(some_event(1))
    await asyncio.to_thread(wait_until, lambda: recorder.count() == 2, "both are recorded")


async def test_many_are_published_and_iterated_over(client, recorder):
    assert await client.publish_many(some_event(number) for number in range(1_200)) == 1_200
    await asyncio.to_thread(wait_until, lambda: recorder.count() == 1_200, "all are recorded")

    summaries = [event.summary async for event in client.events.iter(limit=500, text="event")]

    assert len(summaries) == len(set(summaries)) == 1_200


async def test_errors_say_what_to_do(client):
    with pytest.raises(NotFound, match=r"preferences\.get: there is no preference"):
        await client.preferences.get(key="theme")
    await client.preferences.set(key="theme", value="dark")
    with pytest.raises(Conflict, match="version 1"):
        await client.preferences.set(key="theme", value="x", expected_version=0)
    with pytest.raises(InvalidParameter, match="cursor"):
        await client.events.list(cursor="nonsense")
    with pytest.raises(InvalidParameter, match="limit") as refused:
        await client.events.list(limit=0)
    assert refused.value.path == "limit"


async def test_64_callers_each_get_their_own_answer(client):
    for number in range(64):
        await client.preferences.set(key=f"k{number}", value=str(number))

    answers = await asyncio.gather(
        *(client.ask(GetPreference(key=f"k{number}")) for number in range(64) for _ in range(5))
    )

    assert [answer.preference.value for answer in answers] == [
        str(number) for number in range(64) for _ in range(5)
    ]


async def test_records_and_notifications_are_heard_live(client):
    async with client.tail({Kind.EVENT}, severity="warning") as tail:
        await client.publish(some_event(1))
        await client.publish(some_event(2, severity="error"))
        record = await asyncio.wait_for(anext(tail), 10)
        assert record.body.summary == "event 2"

    async with client.notifications() as notifications:
        recorded = await client.events.record(type="alert", source="user", summary="x")
        await client.events.resolve(id=recorded.event.id, resolved_by="ada")
        await client.events.reopen(id=recorded.event.id)
        await client.preferences.set(key="theme", value="dark")
        await client.preferences.delete(key="theme")
        heard = [await asyncio.wait_for(anext(notifications), 10) for _ in range(5)]

    kinds = [EventRecorded, EventResolved, EventReopened, PreferenceChanged, PreferenceDeleted]
    assert [type(one) for one in heard] == kinds
    assert heard[0].event == recorded.event
    assert heard[1].event.resolved_by == "ada"


async def test_without_a_recorder_nothing_is_taken_for_published(amqp_url):
    connection = await aio_pika.connect(amqp_url)
    async with connection, RecorderClient(amqp_url, timeout=1) as client:
        channel = await connection.channel()
        await channel.declare_exchange("jarvis", "topic", durable=True)
        await channel.declare_exchange("jarvis.rpc", "direct", durable=True)
        with pytest.raises(RecorderUnavailable, match="ever run on this broker"):
            await client.publish(some_event(1))
        with pytest.raises(RecorderUnavailable, match="no recorder"):
            await client.stats()


async def test_a_recorder_that_is_down_is_no_answer(client, recorder):
    assert recorder.stop() == 0
    with pytest.raises(ReplyTimeout, match="does a recorder run"):
        await client.ask(GetPreference(key="theme"), timeout=0.3)


async def test_a_lost_connection_comes_back_by_itself(recorder, amqp_url):
    port = int(amqp_url.rstrip("/").rpartition(":")[2].partition("/")[0])
    proxy = SwallowingProxy(port)
    async with (
        proxy as own,
        RecorderClient(f"amqp://guest:guest@127.0.0.1:{own}/", timeout=10) as client,
    ):
        await client.preferences.set(key="theme", value="dark")
        proxy.cut()
        assert (await client.preferences.get(key="theme")).preference.value == "dark"
        await client.publish(some_event(1))


async def test_an_absent_broker_and_a_wrong_password_fail_at_once(amqp_url):
    with pytest.raises(BrokerUnavailable, match="is RabbitMQ running there"):
        async with RecorderClient("amqp://guest:guest@127.0.0.1:1/"):
            pass
    with pytest.raises(ConfigurationError, match="wrong user or password"):
        async with RecorderClient(amqp_url.replace("guest:guest", "guest:wrong")):
            pass


@pytest.mark.parametrize("seconds", [math.inf, 1e12])
async def test_a_timeout_may_be_of_any_length(recorder, amqp_url, seconds):
    """The broker refuses an expiration that is too long."""
    async with RecorderClient(amqp_url, timeout=seconds) as client:
        assert (await client.events.list()).events == []


async def test_a_time_without_an_offset_is_refused_before_anything_is_sent(client):
    naive = datetime(2026, 11, 23, tzinfo=UTC).replace(tzinfo=None)
    with pytest.raises(InvalidParameter, match="names no instant"):
        await client.publish_event(type="alert", source="user", summary="x", timestamp=naive)


async def test_every_method_can_be_asked(client, recorder):
    """Each is called by its name, and its answer is read as the class that the table names."""
    recorded = await client.events.record(
        type="alert", severity="error", source="monitor", summary="pve1 is down", timestamp=MOMENT
    )
    await client.publish_turn(session_id="s", role="user", content="is it down?", timestamp=MOMENT)
    await client.publish_snapshot({"nodes": ["pve1"]}, cluster="home", timestamp=MOMENT)
    await client.publish_snapshot(
        {"storages": [{"storage": "nfs", "used": 1, "total": 2}]},
        cluster="home",
        timestamp=MOMENT - timedelta(hours=1),
    )
    await asyncio.to_thread(
        wait_until,
        lambda: recorder.count("conversations") and recorder.count("cluster_snapshots") == 2,
        "all are recorded",
    )
    later = MOMENT + timedelta(hours=1)
    async with asyncio.timeout(60):
        while not (incidents := await client.incidents.list()).incidents:
            await asyncio.sleep(0.05)
    key = incidents.incidents[0].key
    asked = {
        "events.record": recorded,
        "events.get": await client.events.get(id=recorded.event.id),
        "events.unresolved": await client.events.unresolved(),
        "events.resolve": await client.events.resolve(id=recorded.event.id),
        "events.list": await client.events.list(resolved=True),
        "events.reopen": await client.events.reopen(id=recorded.event.id),
        "events.histogram": await client.events.histogram(since=MOMENT, until=later),
        "events.matrix": await client.events.matrix(since=MOMENT, until=later),
        "incidents.list": incidents,
        "incidents.get": await client.incidents.get(key=key),
        "incidents.acknowledge": await client.incidents.acknowledge(key=key, by="anna"),
        "incidents.resolve": await client.incidents.resolve(key=key, by="anna"),
        "incidents.reopen": await client.incidents.reopen(key=key),
        "incidents.silence": await client.incidents.silence(until=later, node="pve1"),
        "incidents.silences": await client.incidents.silences(),
        "conversations.sessions": await client.conversations.sessions(),
        "conversations.turns": await client.conversations.turns(session_id="s"),
        "conversations.get": await client.conversations.get(id=1),
        "conversations.search": await client.conversations.search(query="down"),
        "conversations.usage": await client.conversations.usage(since=MOMENT, until=later),
        "snapshots.latest": await client.snapshots.latest(cluster="home"),
        "snapshots.at": await client.snapshots.at(timestamp=later, cluster="home"),
        "snapshots.list": await client.snapshots.list(),
        "snapshots.diff": await client.snapshots.diff(from_=later, to=later, cluster="home"),
        "snapshots.overview": await client.snapshots.overview(since=MOMENT),
        "snapshots.series": await client.snapshots.series(
            kind="node", name="pve1", measures=["cpu"], since=MOMENT, until=later, cluster="home"
        ),
        "snapshots.forecast": await client.snapshots.forecast(
            kind="storage", name="nfs", measure="used", cluster="home"
        ),
        "timeline.around": await client.timeline.around(timestamp=MOMENT),
        "preferences.set": await client.preferences.set(key="theme", value="dark"),
        "preferences.get": await client.preferences.get(key="theme"),
        "preferences.list": await client.preferences.list(prefix="the"),
        "preferences.delete": await client.preferences.delete(key="theme"),
        "conversations.delete": await client.conversations.delete(session_id="s"),
        "dead.faults": await client.dead.faults(),
        "dead.list": await client.dead.list(),
        "dead.reconcile": await client.dead.reconcile(letters=[], began_seconds_ago=0.0),
        "recorder.stats": await client.stats(),
        "rpc.discover": await client.discover(),
    }

    assert asked.keys() == BY_NAME.keys()
    for name, answer in asked.items():
        assert adapter(BY_NAME[name].result).validate_python(answer) == answer
    assert asked["events.get"] == recorded
    assert asked["events.resolve"].event.resolved_by == "guest"
    assert asked["events.reopen"] == recorded
    assert [event.id for event in asked["events.list"].events] == [recorded.event.id]
    assert asked["snapshots.at"].snapshot.snapshot == {"nodes": ["pve1"]}
    assert asked["conversations.search"].turns[0].turn.content == "is it down?"
    assert asked["conversations.delete"].deleted == 1
    assert [session.session_id async for session in client.conversations.iter_sessions()] == []
    assert [head.cluster async for head in client.snapshots.iter()] == ["home"] * 2
