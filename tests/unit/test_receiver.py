"""Deliveries out of the stream, every other byte passed on."""

import asyncio
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands, frame

from jarvis_recorder.broker.delivery_reader import DeliveryReader
from jarvis_recorder.wire.amqp import properties
from tests.support.amqp_bytes import content_header, frames, got, returned

QOS_OK = frame.marshal(commands.Basic.QosOk(), 1)
ELSEWHERE = frame.marshal(commands.Channel.OpenOk(), 7)
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
STREAM = (
    ELSEWHERE
    + frames(b"first", 1, message_id="m-1")
    + QOS_OK
    + frames(b"", 2)
    + frames(b"x" * 250, 3, chunk=100)
    + frames(b"not ours", 1, channel=9)
    + ELSEWHERE
    + frames(b"last", 4)
)
PASSED_ON = ELSEWHERE + QOS_OK + frames(b"not ours", 1, channel=9) + ELSEWHERE


class Loop:
    """The part of an event loop that a reader asks: the time."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now


async def read(chunks: list[bytes]) -> tuple[list[tuple[int, bytes]], bytes]:
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    taken = []
    reader.deliver_to(1, lambda deliveries: taken.extend((one.tag, one.body) for one in deliveries))
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    return taken, (await reader.read()).replace(HEARTBEAT, b"")


TAKEN = [(1, b"first"), (2, b""), (3, b"x" * 250), (4, b"last")]


async def test_wherever_the_stream_is_cut():
    for at in range(len(STREAM)):
        assert await read([STREAM[:at], STREAM[at:]]) == (TAKEN, PASSED_ON)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 40), min_size=1))
def test_in_whatever_pieces_it_comes(sizes):
    assert asyncio.run(read(pieces_of(STREAM, sizes))) == (TAKEN, PASSED_ON)


def pieces_of(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut into pieces of these sizes, over and over."""
    pieces, at = [], 0
    for size in cycle(sizes):
        if at >= len(data):
            return pieces
        pieces.append(data[at : at + size])
        at += size
    return pieces


KINDS = {
    "consumed": lambda body, chunk: frames(body, channel=1, chunk=chunk),
    "returned": lambda body, chunk: returned(body, channel=2, chunk=chunk),
    "elsewhere": lambda body, chunk: frames(body, channel=9, chunk=chunk),
    "method": lambda *_: QOS_OK,
}


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from([*KINDS]), st.binary(max_size=60), st.integers(1, 70)),
        max_size=8,
    ),
    st.lists(st.integers(1, 50), min_size=1),
)
def test_whatever_the_stream_holds(stream, sizes):
    """Channel 1 consumes, channel 2 publishes, channel 9 belongs to somebody else."""
    sent = [(kind, body, KINDS[kind](body, chunk)) for kind, body, chunk in stream]
    data = b"".join(piece for *_, piece in sent)

    async def play() -> None:
        reader = DeliveryReader(loop=asyncio.get_running_loop())
        taken: list[bytes] = []
        count: list[int] = []
        reader.deliver_to(1, lambda deliveries: taken.extend(one.body for one in deliveries))
        reader.return_to(2, lambda _: count.append(1))
        for piece in pieces_of(data, sizes):
            reader.feed_data(piece)
        reader.feed_eof()

        assert taken == [body for kind, body, _ in sent if kind == "consumed"]
        assert len(count) == [kind for kind, *_ in sent].count("returned")
        passed_on = b"".join(piece for kind, _, piece in sent if kind in ("elsewhere", "method"))
        # From both: a body, too, may end in what looks like a heartbeat.
        assert (await reader.read()).replace(HEARTBEAT, b"") == passed_on.replace(HEARTBEAT, b"")

    asyncio.run(play())


async def test_a_body_above_the_bound_is_passed_over_and_the_next_is_not():
    """Put together, 128 MiB would take twice as much before anyone could refuse them."""
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    taken = []
    reader.deliver_to(1, taken.extend, most_bytes=250)

    for size in (250, 251, 300, 600, 250, 0):
        data = frames(b"x" * size)
        for at in range(0, len(data), 70):
            reader.feed_data(data[at : at + 70])
    while len(taken) < 6:
        await asyncio.sleep(0)

    assert [len(delivery.body) for delivery in taken] == [250, 0, 0, 0, 250, 0]
    sizes = [properties.body_size(delivery.header) for delivery in taken]
    assert sizes == [250, 251, 300, 600, 250, 0]


async def handed_over(*chunks: bytes) -> tuple[list[list[bytes]], bytes]:
    """Return the bodies that came together for each call of the sink, and what aiormq has got."""
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    taken = []
    reader.deliver_to(1, lambda deliveries: taken.append([one.body for one in deliveries]))
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    return taken, (await reader.read()).replace(HEARTBEAT, b"")


async def test_deliveries_that_have_come_are_handed_over_together():
    one, two, large = frames(b"1"), frames(b"2"), frames(b"x" * 150)

    taken, _ = await handed_over(one + two + large + one)

    assert taken == [[b"1", b"2"], [b"x" * 150], [b"1"]]


@given(st.data())
def test_a_delivery_cut_off_comes_with_those_behind_it(data):
    whole = frames(b"1") + frames(b"2" * 90) + frames(b"3")
    cut = data.draw(st.integers(1, len(whole) - 1))

    taken, rest = asyncio.run(handed_over(whole[:cut], whole[cut:]))

    assert [body for bodies in taken for body in bodies] == [b"1", b"2" * 90, b"3"]
    assert len(taken) <= 2
    assert not rest


@given(st.data())
def test_nothing_waits_behind_a_delivery_that_is_cut_off(data):
    """Frames of other channels may stand between those of a message that never ends."""
    whole = frames(b"1" * 50)
    ends = [at for at in range(len(whole)) if whole[at : at + 3] in (b"\x02\0\1", b"\x03\0\1")]
    ack = frame.marshal(commands.Basic.Ack(1), 2)

    taken, rest = asyncio.run(handed_over(whole[: data.draw(st.sampled_from(ends))] + ack))

    assert not taken
    assert rest == ack


async def test_a_redelivered_message_says_so():
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    taken = []
    reader.deliver_to(1, taken.extend)

    reader.feed_data(frames(b"x") + frames(b"x", redelivered=True))

    assert [delivery.redelivered for delivery in taken] == [False, True]


async def test_a_delivery_says_where_it_came_from():
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    taken = []
    reader.deliver_to(1, taken.extend)
    reader.feed_data(frames(b"{}", 77, message_id="m"))

    (delivery,) = taken
    assert (delivery.exchange, delivery.routing_key) == (b"jarvis", b"some.key")
    assert delivery.header == content_header(2, message_id="m")
    assert properties.decode(delivery.header).message_id == "m"
    assert not delivery.redelivered


async def test_channels_may_interleave():
    one, two = frames(b"a" * 30, 1, 1, chunk=10), frames(b"b" * 30, 1, 2, chunk=10)
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    taken = []
    for channel in (1, 2):
        reader.deliver_to(
            channel,
            lambda deliveries, at=channel: taken.extend((at, one.body) for one in deliveries),
        )

    # Frames are whole; the last body frame of channel 1 comes after all of channel 2.
    last = one.rindex(b"\x03\x00\x01")
    reader.feed_data(one[:last] + two + one[last:])

    assert taken == [(2, b"b" * 30), (1, b"a" * 30)]


async def test_returned_messages_are_counted_and_kept_from_aiormq():
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    count = []
    reader.return_to(1, lambda _: count.append(1))
    ack = frame.marshal(commands.Basic.Ack(1), 1)

    reader.feed_data(returned(b"body") + returned(b"") + ack)
    reader.feed_eof()

    assert count == [1, 1]
    assert (await reader.read()).replace(HEARTBEAT, b"") == ack


async def test_one_channel_may_receive_and_have_messages_returned():
    """A caller's replies come by the channel that its questions go out on."""
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    replies, came_back = [], []
    reader.deliver_to(1, lambda deliveries: replies.extend(one.body for one in deliveries))
    reader.return_to(1, came_back.append)

    reader.feed_data(frames(b"reply") + returned(b"question") + frames(b"another"))
    reader.feed_eof()

    assert replies == [b"reply", b"another"]
    assert came_back == [content_header(len(b"question"))]
    assert (await reader.read()).replace(HEARTBEAT, b"") == b""


async def test_a_heartbeat_is_shown_once_a_second_while_deliveries_flow(monkeypatch):
    loop = Loop()
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    monkeypatch.setattr(reader, "_now", loop.time)
    reader.deliver_to(1, lambda _: None)

    for _ in range(30):
        reader.feed_data(frames(b"x"))
        loop.now += 0.1
    reader.feed_eof()

    assert await reader.read() == HEARTBEAT * 3
    assert reader.last_seen == pytest.approx(loop.now - 0.1)


async def test_another_protocol_is_passed_through():
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    reader.deliver_to(1, lambda _: None)
    reader.feed_data(b"AMQP\x00\x01\x00\x00")
    reader.feed_data(frames(b"x"))
    reader.feed_eof()

    assert await reader.read() == b"AMQP\x00\x01\x00\x00" + frames(b"x")


async def test_what_was_asked_for_singly_goes_to_who_asked():
    """A channel may fetch with Basic.Get besides: its answers look like deliveries but for one."""
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    taken = []
    reader.deliver_to(1, lambda deliveries: taken.extend(one.body for one in deliveries))
    delivered = frames(b"fetched")
    get_ok = frame.marshal(commands.Basic.GetOk(2, False, "jarvis", "some.key", 0), 1)
    answer = get_ok + delivered[delivered.index(b"\x02\x00\x01") :]

    reader.feed_data(frames(b"first") + answer + frames(b"last"))
    reader.feed_eof()

    assert taken == [b"first", b"last"]
    assert (await reader.read()).replace(HEARTBEAT, b"") == answer


async def test_what_is_fetched_comes_without_a_body_above_the_bound():
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    taken = []
    reader.fetch_to(1, taken.append, most_bytes=250)

    for body in (b"x" * 251, b"y" * 250):
        reader.feed_data(got(body, 1))

    assert [one.body for one in taken] == [b"", b"y" * 250]


async def test_the_broker_s_reason_to_close_is_kept():
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    close = frame.marshal(commands.Connection.Close(530, "NOT_ALLOWED - vhost x", 10, 40), 0)
    reader.feed_data(close)
    reader.feed_eof()

    assert reader.close_reason == (530, "NOT_ALLOWED - vhost x")
    assert await reader.read() == close


async def test_an_alarm_of_the_broker_is_reported_and_its_end():
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    told = []
    blocked = frame.marshal(commands.Connection.Blocked("low on disk"), 0)
    unblocked = frame.marshal(commands.Connection.Unblocked(), 0)

    reader.feed_data(blocked)
    reader.report_alarm(told.append)
    for data in (HEARTBEAT, blocked, ELSEWHERE, unblocked):
        reader.feed_data(data)
    reader.feed_eof()

    assert told == ["low on disk", None]
    passed_on = blocked + HEARTBEAT + blocked + ELSEWHERE + unblocked
    assert await reader.read() == passed_on


async def test_without_a_connection_there_is_nothing_to_pause():
    reader = DeliveryReader(loop=asyncio.get_running_loop())

    reader.pause()
    reader.resume()
    reader.abort()


class Tap:
    """The part of a transport that a reader turns on and off."""

    def __init__(self) -> None:
        self.effects: list[str] = []

    closing = False

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.effects.append("pause")

    def resume_reading(self) -> None:
        self.effects.append("resume")

    def abort(self) -> None:
        self.effects.append("abort")


async def test_a_large_read_is_taken_in_turns_with_the_rest_of_the_loop():
    tap = Tap()
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    reader.set_transport(tap)
    taken = []
    reader.deliver_to(1, lambda deliveries: taken.extend(one.tag for one in deliveries))

    reader.feed_data(b"".join(frames(b"x" * 90, tag) for tag in range(1, 1_001)))
    after_one_turn = len(taken)
    while len(taken) < 1_000:
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert 0 < after_one_turn < 1_000
    assert taken == list(range(1, 1_001))
    assert tap.effects == ["pause", "resume"]


async def test_who_paused_the_flow_resumes_it():
    tap = Tap()
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    reader.set_transport(tap)
    taken = []
    reader.deliver_to(1, lambda deliveries: taken.extend(one.tag for one in deliveries))

    reader.feed_data(b"".join(frames(b"x" * 90, tag) for tag in range(1, 501)))
    reader.pause()
    while len(taken) < 500:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert tap.effects == ["pause", "pause"]
    reader.resume()
    reader.abort()

    assert tap.effects == ["pause", "pause", "resume", "abort"]


async def test_what_waits_at_the_end_is_taken_all_the_same():
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    taken = []
    reader.deliver_to(1, lambda deliveries: taken.extend(one.tag for one in deliveries))

    reader.feed_data(b"".join(frames(b"x" * 90, tag) for tag in range(1, 501)))
    reader.feed_eof()

    assert taken == list(range(1, 501))


async def test_letters_of_the_protocol_header_in_a_body_mean_nothing():
    stream = frames(b"x", 1) + frames(b"AMQP", 2) + frames(b"y", 3)
    cut = stream.index(b"AMQP")

    assert await read([stream[:cut], stream[cut:]]) == ([(1, b"x"), (2, b"AMQP"), (3, b"y")], b"")


async def test_a_closed_connection_is_left_alone():
    tap = Tap()
    tap.closing = True
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    reader.set_transport(tap)

    reader.pause()
    reader.resume()

    assert tap.effects == []


async def test_the_flow_stays_paused_while_others_read_on():
    """The base class resumes a transport that it takes to have paused itself."""
    tap = Tap()
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    reader.set_transport(tap)
    reading = asyncio.create_task(reader.readexactly(8))
    await asyncio.sleep(0)

    reader.pause()
    reader.feed_data(HEARTBEAT)
    await reading

    assert tap.effects == ["pause"]


async def test_what_is_fetched_goes_to_its_sink_and_the_client_sees_an_empty_queue():
    reader = DeliveryReader(loop=asyncio.get_running_loop())
    fetched = []
    reader.fetch_to(3, fetched.append)

    reader.feed_data(got(b"body", 9, channel=3, redelivered=True))

    (delivery,) = fetched
    assert (delivery.tag, delivery.redelivered) == (9, True)
    assert (delivery.exchange, delivery.routing_key) == (b"jarvis", b"some.key")
    assert delivery.body == b"body"
    empty = frame.marshal(commands.Basic.GetEmpty(), 3)
    assert await reader.readexactly(len(empty)) == empty
