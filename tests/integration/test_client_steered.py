"""The client with replies that come late, in odd pages, or not at all."""

import asyncio
import gzip
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aio_pika
import pytest
from aiormq.abc import AbstractChannel

from jarvis_recorder.broker.connection import open_link
from jarvis_recorder.client import RecorderClient, new_event, new_turn
from jarvis_recorder.client import rpc_channel as asking
from jarvis_recorder.client.rpc_channel import open_rpc_channel
from jarvis_recorder.errors import (
    BrokerUnavailable,
    ConfigurationError,
    Forbidden,
    InvalidParameter,
    NotConfirmed,
    ProtocolError,
    RecorderUnavailable,
    ReplyTimeout,
)
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.jsonrpc import Code, RpcError
from jarvis_recorder.wire.rpc.params import GetPreference, ListEvents, SetPreference
from jarvis_recorder.wire.rpc.results import EventPage, OnePreference, Preference, StoredEvent
from jarvis_recorder.wire.topics import Kind
from tests.support.proxy import SwallowingProxy
from tests.support.responder import steered_responder

pytestmark = pytest.mark.broker

MOMENT = datetime(2026, 11, 23, 5, tzinfo=UTC)


def preference(question: GetPreference | SetPreference) -> OnePreference:
    return OnePreference(Preference(question.key, "v", MOMENT, None, 1))


def event(number: int) -> StoredEvent:
    return StoredEvent(
        number, None, MOMENT, False, "status", "info", "monitor", None, f"event {number}",
        None, False, None, None, None, MOMENT,
    )  # fmt: skip


def an_event(number: int = 0, **changes):
    return new_event(
        **{"type": "status", "source": "monitor", "summary": f"event {number}"} | changes
    )


async def until(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


def through(port: int) -> str:
    return f"amqp://guest:guest@127.0.0.1:{port}/"


def port_of(url: str) -> int:
    return urlsplit(url).port or 5672


async def delete_exchanges(url: str) -> None:
    async with await aio_pika.connect(url, timeout=60) as connection:
        channel = await connection.channel()
        for name in ("jarvis", "jarvis.rpc"):
            await channel.exchange_delete(name)


async def test_a_request_says_who_asks_and_how_long_it_may_take(amqp_url):
    async with (
        steered_responder(amqp_url, preference) as responder,
        RecorderClient(amqp_url, timeout=30) as client,
    ):
        await client.preferences.get(key="theme")

    (properties,) = responder.properties
    assert properties.user_id == "guest"
    assert properties.reply_to.startswith("amq.rabbitmq.reply-to")
    assert 20_000 < properties.expiration_ms <= 30_000


async def test_a_late_reply_is_no_one_elses_answer(amqp_url):
    async with (
        steered_responder(amqp_url, preference) as responder,
        RecorderClient(amqp_url) as client,
    ):
        responder.held.clear()
        with pytest.raises(ReplyTimeout, match=r"preferences\.get: no answer within 0\.2 s"):
            await client.ask(GetPreference(key="first"), timeout=0.2)
        second = asyncio.create_task(client.preferences.get(key="second"))
        await until(lambda: len(responder.asked) == 2, "both were asked")
        responder.held.set()

        assert (await second).preference.key == "second"


async def test_the_deadline_of_one_request_ends_no_other(amqp_url, monkeypatch):
    """Also where it passes while another channel subscribes to its replies."""
    request = jsonrpc.request(GetPreference(key="theme"), 1)
    now = asyncio.get_running_loop().time
    async with (
        steered_responder(amqp_url, preference) as responder,
        open_link(Addresses(amqp_url), "test") as link,
    ):
        caller = await open_rpc_channel(link, "test", "guest")
        responder.held.clear()
        others = [asyncio.create_task(caller.ask(request, now() + 60))]
        await until(lambda: len(responder.asked) == 1, "the first is in flight")
        with pytest.raises(TimeoutError):
            await caller.ask(request, now() + 0.1)
        silent = asyncio.Event()
        open_channel = link.channel

        async def open_and_hear_no_more() -> AbstractChannel:
            channel = await open_channel()
            link.reader.pause()
            silent.set()
            return channel

        monkeypatch.setattr(link, "channel", open_and_hear_no_more)
        with pytest.raises(TimeoutError):
            await caller.ask(request, now() + 1.0)
        await asyncio.wait_for(silent.wait(), 60)
        others.append(asyncio.create_task(caller.ask(request, now() + 60)))
        link.reader.resume()
        await until(lambda: len(responder.asked) == 3, "the last is in flight")
        responder.held.set()

        assert len(set(await asyncio.gather(*others))) == 1
        assert not link.lost.done()


async def test_a_change_without_an_answer_may_have_been_made(amqp_url):
    async with (
        steered_responder(amqp_url, preference) as responder,
        RecorderClient(amqp_url) as client,
    ):
        responder.held.clear()
        with pytest.raises(ReplyTimeout, match="whether the change was made is unknown"):
            await client.ask(SetPreference(key="k", value="v"), timeout=0.2)


async def test_pages_are_followed_to_the_last_though_some_are_empty(amqp_url):
    pages = {
        None: EventPage([event(1), event(2)], "a"),
        "a": EventPage([], "b"),
        "b": EventPage([event(3)], "c"),
        "c": EventPage([], None),
    }
    async with (
        steered_responder(amqp_url, lambda question: pages[question.cursor]) as responder,
        RecorderClient(amqp_url) as client,
    ):
        found = [found.id async for found in client.events.iter(node="pve1", limit=2)]

    assert found == [1, 2, 3]
    first = ListEvents(node="pve1", limit=2)
    assert responder.asked == [first, *(replace(first, cursor=cursor) for cursor in "abc")]


async def test_an_answer_that_no_broker_would_take_as_it_is_comes_compressed(amqp_url, monkeypatch):
    async with (
        steered_responder(amqp_url, preference) as responder,
        RecorderClient(amqp_url) as client,
    ):
        responder.packs = True
        assert (await client.preferences.get(key="theme")).preference.key == "theme"

        monkeypatch.setattr(jsonrpc, "gzip_response", lambda *_: b"\x1f\x8b damaged")
        with pytest.raises(ProtocolError, match="cannot be unpacked"):
            await client.preferences.get(key="theme")
        # What would unpack to more than any answer takes is not unpacked to its end.
        monkeypatch.setattr(asking, "_MOST_UNPACKED_BYTES", 1_000)
        monkeypatch.setattr(jsonrpc, "gzip_response", lambda *_: gzip.compress(bytes(10_000)))
        with pytest.raises(ProtocolError, match="cannot be unpacked"):
            await client.preferences.get(key="theme")


async def test_a_refusal_carries_its_code_its_path_and_what_to_do(amqp_url):
    def refuse(_question):
        raise RpcError(Code.FORBIDDEN, "this user may not", path="method", hint="ask the admin")

    async with steered_responder(amqp_url, refuse), RecorderClient(amqp_url) as client:
        with pytest.raises(Forbidden, match="this user may not") as refused:
            await client.events.list()

    assert refused.value.code == Code.FORBIDDEN
    assert (refused.value.path, refused.value.hint) == ("method", "ask the admin")
    assert str(refused.value) == "events.list: method: this user may not (ask the admin)"


async def test_a_request_is_asked_again_when_the_connection_is_lost_under_it(amqp_url):
    proxy = SwallowingProxy(port_of(amqp_url))
    async with (
        steered_responder(amqp_url, preference) as responder,
        proxy as port,
        RecorderClient(through(port), timeout=10) as client,
    ):
        responder.held.clear()
        asking = asyncio.create_task(client.preferences.get(key="theme"))
        await until(lambda: responder.asked, "the question arrived")
        proxy.cut()
        await until(lambda: len(responder.asked) == 2, "it was asked again")
        responder.held.set()

        assert (await asking).preference.key == "theme"


async def test_a_change_is_not_made_again_by_itself(amqp_url):
    proxy = SwallowingProxy(port_of(amqp_url))
    async with (
        steered_responder(amqp_url, preference) as responder,
        proxy as port,
        RecorderClient(through(port), timeout=10) as client,
    ):
        responder.held.clear()
        asking = asyncio.create_task(client.preferences.set(key="theme", value="dark"))
        await until(lambda: responder.asked, "the change arrived")
        proxy.cut()
        with pytest.raises(BrokerUnavailable, match="whether the change was made is unknown"):
            await asking

        assert len(responder.asked) == 1


async def test_a_call_waits_for_the_connection_no_longer_than_it_may(amqp_url):
    proxy = SwallowingProxy(port_of(amqp_url))
    async with proxy as port, RecorderClient(through(port), timeout=0.5) as client:
        proxy.swallowing = True
        proxy.cut()
        with pytest.raises(BrokerUnavailable, match="has not come back in time"):
            await client.stats()
        with pytest.raises(BrokerUnavailable, match="has not come back in time"):
            await client.publish(an_event())


async def test_where_no_recorder_ever_ran_the_answer_says_so(amqp_url):
    """Not even the exchanges are there, and the broker closes the channel for it."""
    await delete_exchanges(amqp_url)
    async with RecorderClient(amqp_url) as client:
        with pytest.raises(RecorderUnavailable, match="no recorder has ever run"):
            await client.stats()
        with pytest.raises(RecorderUnavailable, match="no recorder has ever run"):
            await client.publish(an_event())
        with pytest.raises(RecorderUnavailable, match="no recorder has ever run"):
            await anext(client.tail())

        async with steered_responder(amqp_url, preference):
            assert (await client.preferences.get(key="k")).preference.value == "v"


async def test_a_virtual_host_that_is_not_there_is_a_wrong_setting(amqp_url):
    with pytest.raises(ConfigurationError, match="nowhere"):
        async with RecorderClient(amqp_url + "nowhere"):
            pass


async def test_what_is_no_url_of_a_broker_is_a_wrong_setting():
    with pytest.raises(ConfigurationError, match="amqp://"):
        RecorderClient("localhost:5672")


async def test_a_full_queue_takes_nothing_and_the_first_refused_is_named(amqp_url):
    """A queue beside the recorder's refuses too: the broker confirms for all or for none."""
    async with (
        steered_responder(amqp_url, preference),
        await aio_pika.connect(amqp_url, timeout=60) as connection,
        RecorderClient(amqp_url) as client,
    ):
        channel = await connection.channel()
        limits = {"x-max-length": 3, "x-overflow": "reject-publish"}
        queue = await channel.declare_queue("", exclusive=True, arguments=limits)
        await queue.bind("jarvis", "chat.turn.#")
        turns = [
            new_turn(session_id="s", role="user", content="hello", message_id=f"turn-{number}")
            for number in range(6)
        ]
        with pytest.raises(NotConfirmed, match=r"message turn-3 .*its queue is full"):
            await client.publish_many(turns)
        with pytest.raises(NotConfirmed, match="turn-5"):
            await client.publish(turns[5])


async def test_only_the_message_that_no_queue_takes_is_called_unrecorded(amqp_url):
    async with (
        steered_responder(amqp_url, preference),
        await aio_pika.connect(amqp_url, timeout=60) as connection,
        RecorderClient(amqp_url) as client,
    ):
        channel = await connection.channel()
        await channel.queue_delete("jarvis.recorder.turns")
        turn = new_turn(session_id="s", role="user", content="hello")
        fates = await asyncio.gather(
            *(client.publish(record) for record in (an_event(1), turn, an_event(2))),
            return_exceptions=True,
        )

    assert [type(fate) for fate in fates] == [str, RecorderUnavailable, str]
    assert turn.message_id in str(fates[1])


async def test_two_messages_under_way_cannot_have_one_identity(amqp_url):
    async with steered_responder(amqp_url, preference), RecorderClient(amqp_url) as client:
        same = an_event(1)
        fates = await asyncio.gather(
            client.publish(same), client.publish(same), return_exceptions=True
        )
        assert await client.publish(same) == same.message_id

    assert fates[0] == same.message_id
    assert isinstance(fates[1], InvalidParameter)


async def test_publishing_takes_what_is_still_being_made(amqp_url):
    async def made_slowly():
        for number in range(50):
            await asyncio.sleep(0)
            yield an_event(number)

    async with steered_responder(amqp_url, preference), RecorderClient(amqp_url) as client:
        assert await client.publish_many(made_slowly()) == 50


async def test_a_tail_shows_the_kinds_and_nodes_asked_for(amqp_url):
    async with (
        steered_responder(amqp_url, preference),
        RecorderClient(amqp_url) as client,
        client.tail({Kind.TURN}) as turns,
        client.tail(node="pve2") as node,
    ):
        await client.publish(an_event(1, node="pve1"))
        await client.publish_turn(session_id="s", role="user", content="hello")
        await client.publish(an_event(2, node="pve2", severity="error"))

        assert (await asyncio.wait_for(anext(turns), 10)).body.content == "hello"
        assert (await asyncio.wait_for(anext(node), 10)).body.summary == "event 2"


async def test_a_tail_skips_what_it_cannot_read(amqp_url):
    async with (
        steered_responder(amqp_url, preference),
        await aio_pika.connect(amqp_url, timeout=60) as connection,
        RecorderClient(amqp_url) as client,
        client.tail() as tail,
    ):
        channel = await connection.channel()
        exchange = await channel.get_exchange("jarvis", ensure=False)
        await exchange.publish(aio_pika.Message(b"junk"), "cluster.event.alert.info")
        await client.publish(an_event(1))

        assert (await asyncio.wait_for(anext(tail), 10)).body.summary == "event 1"
        assert tail.skipped == 1


async def test_a_tail_continues_after_a_loss(amqp_url):
    proxy = SwallowingProxy(port_of(amqp_url))
    async with (
        steered_responder(amqp_url, preference),
        proxy as port,
        RecorderClient(amqp_url) as publisher,
        RecorderClient(through(port)) as listener,
        listener.tail() as tail,
    ):
        await publisher.publish(an_event(0))
        assert (await asyncio.wait_for(anext(tail), 10)).body.summary == "event 0"
        proxy.cut()
        heard = asyncio.create_task(anext(tail))
        async with asyncio.timeout(60):
            while not heard.done():
                # What is published before it has come back is missed, as it says.
                await publisher.publish(an_event(1))
                await asyncio.wait({heard}, timeout=0.05)

        assert heard.result().body.summary == "event 1"


async def test_a_tail_says_when_it_may_have_missed_something(amqp_url):
    proxy = SwallowingProxy(port_of(amqp_url))
    records, announced = asyncio.Event(), asyncio.Event()
    async with (
        steered_responder(amqp_url, preference),
        proxy as port,
        RecorderClient(through(port)) as listener,
        listener.tail(on_gap=records.set) as tail,
        listener.notifications(on_gap=announced.set) as notifications,
    ):
        reading = [asyncio.create_task(anext(one, None)) for one in (tail, notifications)]
        proxy.cut()
        async with asyncio.timeout(60):
            await records.wait()
            await announced.wait()

        await tail.aclose()
        await notifications.aclose()
        assert await asyncio.gather(*reading) == [None, None]


async def test_a_slow_reader_leaves_nothing_behind_on_the_broker(amqp_url):
    """Far more than may be unread at once is read to the end, and in order."""
    async with (
        steered_responder(amqp_url, preference),
        RecorderClient(amqp_url) as client,
        client.tail() as tail,
    ):
        await client.publish_many(an_event(number) for number in range(1_000))

        heard = [(await asyncio.wait_for(anext(tail), 10)).body.summary for _ in range(1_000)]

    assert heard == [f"event {number}" for number in range(1_000)]


async def test_a_listener_hears_that_the_client_is_closed(amqp_url):
    async with steered_responder(amqp_url, preference):
        async with RecorderClient(amqp_url) as client:
            tail = client.tail()
            listening = asyncio.create_task(anext(tail, None))
            await until(lambda: tail._channel, "it is subscribed")

        assert await asyncio.wait_for(listening, 60) is None


async def test_a_tail_closed_while_it_comes_back_leaves_no_connection(amqp_url, monkeypatch):
    proxy = SwallowingProxy(port_of(amqp_url))
    async with (
        steered_responder(amqp_url, preference),
        proxy as port,
        RecorderClient(through(port)) as client,
        client.tail() as tail,
    ):
        subscribe = tail._subscribe

        async def closed_meanwhile() -> None:
            await tail.aclose()
            await subscribe()

        monkeypatch.setattr(tail, "_subscribe", closed_meanwhile)
        proxy.cut()
        assert await asyncio.wait_for(anext(tail, None), 15) is None

        assert tail._channel is None


async def test_after_closing_every_call_says_so(amqp_url):
    async with RecorderClient(amqp_url) as client:
        pass
    with pytest.raises(Exception, match="the client is closed"):
        await client.stats()
