"""Delivery, dispatch, reply, ack: whoever can hear an answer gets one."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from pamqp import header

from jarvis_recorder.rpc.dispatcher import Dispatcher
from jarvis_recorder.rpc.permissions import Permissions
from jarvis_recorder.rpc.responder import Responder
from jarvis_recorder.telemetry.metrics import CallMetrics
from jarvis_recorder.telemetry.tracing import NoopTracer
from jarvis_recorder.wire.rpc import jsonrpc, params, results
from jarvis_recorder.wire.rpc.jsonrpc import Code
from tests.support.amqp_bytes import delivery
from tests.support.fakes import CannedArchive, FakeCount, FakeRequests

THEME = results.Preference("theme", "dark", datetime(2026, 11, 23, tzinfo=UTC), None, 1)
QUESTION = {
    "jsonrpc": "2.0",
    "method": "preferences.get",
    "params": {"key": "theme"},
    "id": 1,
}
MOMENT = datetime(2026, 11, 23, tzinfo=UTC)
REPLY_TO = "amq.rabbitmq.reply-to.g1h2"


class Desk:
    """A responder with everything around it that a test looks at."""

    def __init__(self, concurrency: int = 10) -> None:
        self.archive = CannedArchive()
        self.archive.answers[params.GetPreference] = results.OnePreference(THEME)
        self.archive.answers[params.SetPreference] = results.OnePreference(THEME)
        self.requests = FakeRequests()
        self.large = asyncio.Lock()
        dispatcher = Dispatcher(
            archive=self.archive,
            permissions=Permissions({}),
            activity=lambda: results.Activity("1", "recording", THEME.updated_at, 0, 0, 0, 0.0),
            document=dict,
            calls=CallMetrics(),
            large=self.large,
            dead_letters=FakeCount(),
        )
        self.now = 1_795_420_000_000_000
        self.responder = Responder(
            self.requests,
            dispatcher,
            NoopTracer(),
            clock=lambda: self.now,
            concurrency=concurrency,
        )

    def take(
        self,
        tag: int = 1,
        question: Any = QUESTION,
        *,
        redelivered: bool = False,
        **properties: Any,
    ) -> None:
        self.requests.hand_over(tag)
        body = question if isinstance(question, bytes) else json.dumps(question).encode()
        taken = delivery(body, tag, **properties)
        self.responder.take([taken._replace(redelivered=redelivered)])

    def errors(self) -> list[int]:
        """Return the codes of the errors that were answered, in order."""
        found = [json.loads(body) for _, _, body in self.requests.replies]
        return [one["error"]["code"] for one in found if "error" in one]


@pytest.fixture
async def desk() -> Desk:
    return Desk()


async def becomes(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def properties_of(raw: bytes) -> Any:
    """Decode with the client library's own decoder: what others will see."""
    head = b"\0\x3c\0\0" + bytes(8) + raw
    _, decoded = header.ContentHeader(), header.ContentHeader()
    decoded.unmarshal(head)
    return decoded.properties


async def test_the_reply_leaves_before_the_ack(desk):
    desk.take(reply_to=REPLY_TO, correlation_id="c-1")
    await desk.responder.drain(1)

    assert desk.requests.effects == ["reply", "ack 1"]
    to, properties, body = desk.requests.replies[0]
    assert to == REPLY_TO
    assert properties_of(properties).correlation_id == "c-1"
    assert json.loads(body)["result"]["preference"]["value"] == "dark"


async def test_a_second_reply_to_a_direct_address_leaves_after_the_ack(desk):
    """The first may have ended the connection: the broker does so over an address of another cluster."""
    desk.take(1, redelivered=True, reply_to=REPLY_TO)
    await desk.responder.drain(1)
    desk.take(2, redelivered=True, reply_to="jarvis.reply.ada")
    await desk.responder.drain(1)

    assert desk.requests.effects == ["ack 1", "reply", "reply", "ack 2"]


async def test_a_reply_vanishes_when_nobody_waits_for_it_any_more(desk):
    desk.take(1, reply_to=REPLY_TO, expiration="2000")
    desk.take(2, reply_to=REPLY_TO)
    await desk.responder.drain(1)

    expirations = [int(properties_of(raw).expiration) for _, raw, _ in desk.requests.replies]
    assert 2_000 < expirations[0] <= 3_000
    assert expirations[1] == 60_000


async def test_requests_are_answered_side_by_side(desk):
    desk.archive.answering.clear()
    for tag in range(1, 11):
        desk.take(tag, reply_to=REPLY_TO)
    while len(desk.archive.asked) < 10:
        await asyncio.sleep(0)
    desk.archive.answering.set()
    await desk.responder.drain(1)

    assert sorted(desk.requests.settled) == list(range(1, 11))


@pytest.mark.parametrize(
    "reply_to",
    ["jarvis.recorder.events", "jarvis.recorder.rpc", "orders", "amq.rabbitmq.log", "jarvis.reply"],
)
async def test_nothing_is_sent_to_a_queue_that_is_no_reply_queue(desk, reply_to):
    with structlog.testing.capture_logs() as logs:
        desk.take(reply_to=reply_to)
        await desk.responder.drain(1)

    assert desk.archive.asked == []
    assert desk.requests.effects == ["ack 1"]
    assert [line["event"] for line in logs] == ["request_dropped"]
    assert reply_to not in str(logs)


@pytest.mark.parametrize("reply_to", [REPLY_TO, "amq.gen-Xa2", "jarvis.reply.ada.1"])
async def test_reply_queues_are_answered(desk, reply_to):
    desk.take(reply_to=reply_to)
    await desk.responder.drain(1)

    assert [reply[0] for reply in desk.requests.replies] == [reply_to]


async def test_a_question_that_nobody_can_hear_the_answer_to_is_not_executed(desk):
    change = QUESTION | {"method": "preferences.set", "params": {"key": "a", "value": "b"}}
    desk.take(question=change)
    await desk.responder.drain(1)

    assert desk.archive.asked == []
    assert desk.requests.effects == ["ack 1"]


async def test_a_notification_needs_no_reply_address(desk):
    change = {"jsonrpc": "2.0", "method": "preferences.set", "params": {"key": "a", "value": "b"}}
    desk.take(question=change)
    await desk.responder.drain(1)

    assert desk.archive.asked == [params.SetPreference(key="a", value="b")]
    assert desk.requests.effects == ["ack 1"]


async def test_properties_that_cannot_be_decoded_cost_the_request_alone(desk):
    broken = delivery(json.dumps(QUESTION).encode(), 1, reply_to=REPLY_TO)
    broken = broken._replace(header=broken.header.replace(b"reply-to", b"reply\xff\xfeo"))
    desk.requests.hand_over(1)
    desk.responder.take([broken])
    desk.take(2, reply_to=REPLY_TO)
    await desk.responder.drain(1)

    assert sorted(desk.requests.settled) == [1, 2]
    assert len(desk.requests.replies) == 1


async def test_a_correlation_id_goes_back_as_it_came_whatever_its_bytes(desk):
    asked = delivery(json.dumps(QUESTION).encode(), 1, reply_to=REPLY_TO, correlation_id="c--x")
    desk.requests.hand_over(1)
    desk.responder.take([asked._replace(header=asked.header.replace(b"c--x", b"c\xff\xfex"))])
    await desk.responder.drain(1)

    assert b"\x04c\xff\xfex" in desk.requests.replies[0][1]


async def test_a_request_whose_channel_is_gone_is_left_to_the_next(desk):
    desk.requests.gone = True
    desk.take(reply_to=REPLY_TO)
    await desk.responder.drain(1)

    assert desk.requests.effects == []


async def test_what_takes_too_long_is_given_up_at_the_end_and_not_acked(desk):
    desk.archive.answering.clear()
    desk.take(reply_to=REPLY_TO)
    await desk.responder.drain(0.01)

    assert desk.requests.effects == []


async def test_each_that_waits_is_refused_in_its_time_though_no_worker_is_free(desk):
    """A worker is busy for as long as it takes; who waits behind it hears in time."""
    desk.archive.answering.clear()
    for tag in range(1, 11):
        desk.take(tag, reply_to=REPLY_TO, expiration="60000")
    await becomes(lambda: len(desk.archive.asked) == 10)
    began = asyncio.get_running_loop().time()
    for tag in range(11, 31):
        desk.take(tag, reply_to=REPLY_TO, expiration="300")
    await becomes(lambda: len(desk.requests.replies) == 20)

    assert asyncio.get_running_loop().time() - began < 0.4
    assert desk.errors() == [Code.DEADLINE_EXCEEDED] * 20
    assert len(desk.archive.asked) == 10
    desk.archive.answering.set()
    await desk.responder.drain(1)
    assert len(desk.requests.settled) == 30


@pytest.mark.long
async def test_a_loop_that_was_late_refuses_earlier(desk):
    """A loop that other processes have made late will be late again."""
    loop = asyncio.get_running_loop()
    desk.archive.answering.clear()
    for tag in range(1, 11):
        desk.take(tag, reply_to=REPLY_TO, expiration="60000")
    await becomes(lambda: len(desk.archive.asked) == 10)
    desk.take(11, reply_to=REPLY_TO, expiration="2000")
    await asyncio.sleep(0.001)
    began = loop.time()
    # It sleeps until its next look: the loop is late for that.
    time.sleep(0.3)
    await becomes(lambda: desk.requests.replies)

    assert 1.0 < loop.time() - began < 1.85
    assert desk.errors() == [Code.DEADLINE_EXCEEDED]
    desk.archive.answering.set()
    await desk.responder.drain(1)


async def test_nothing_is_begun_whose_time_is_over(desk):
    change = QUESTION | {"method": "preferences.set", "params": {"key": "a", "value": "b"}}
    desk.take(question=change, reply_to=REPLY_TO, expiration="0")
    await desk.responder.drain(1)

    assert desk.archive.asked == []
    assert desk.errors() == [Code.DEADLINE_EXCEEDED]


async def test_who_comes_as_the_last_worker_leaves_is_answered():
    """Between a worker's last look and the end of its task lies a turn of the loop."""
    desk = Desk(concurrency=1)
    loop = asyncio.get_running_loop()
    for turns in range(12):
        desk.requests.replies.clear()
        desk.take(1, reply_to=REPLY_TO)
        for _ in range(turns):
            await asyncio.sleep(0)
        began = loop.time()
        desk.take(2, reply_to=REPLY_TO)
        await becomes(lambda: len(desk.requests.replies) == 2)
        assert loop.time() - began < 1.0
    await desk.responder.drain(1)

    assert desk.errors() == []


@pytest.mark.parametrize(
    ("seconds_ago", "left"),
    [(0, 4.0), (2, 3.0), (-86_400, 4.0), (86_400, 4.0), (4, 1.0)],
)
async def test_the_time_counts_from_publishing_unless_the_clocks_cannot_be_right(
    desk, seconds_ago, left
):
    """The broker would not have delivered what has waited longer than its expiration."""
    published = datetime.fromtimestamp(desk.now // 1_000_000 - seconds_ago, UTC)
    desk.archive.answering.clear()
    now = asyncio.get_running_loop().time()
    desk.take(reply_to=REPLY_TO, expiration="4000", timestamp=published)
    await becomes(lambda: desk.archive.deadlines)

    assert desk.archive.deadlines[0] - now == pytest.approx(left, abs=0.1)
    desk.archive.answering.set()
    await desk.responder.drain(1)


async def test_a_timestamp_in_milliseconds_costs_no_one_its_time(desk):
    stamped = delivery(
        json.dumps(QUESTION).encode(), 1, reply_to=REPLY_TO, expiration="4000", timestamp=MOMENT
    )
    seconds = int(MOMENT.timestamp())
    header_ = stamped.header.replace(
        seconds.to_bytes(8, "big"), (seconds * 1_000).to_bytes(8, "big")
    )
    assert header_ != stamped.header
    desk.requests.hand_over(1)
    desk.responder.take([stamped._replace(header=header_)])
    await desk.responder.drain(1)

    assert desk.errors() == []


@pytest.mark.parametrize("size", [1_000, 60_000, 1_000_000])
async def test_no_more_waits_than_may_be_held_and_the_rest_is_turned_away(desk, size):
    desk.archive.answering.clear()
    padded = json.dumps(QUESTION).encode() + b" " * size
    most = 12_000_000
    for tag in range(1, most // len(padded)):
        desk.take(tag, padded, reply_to=REPLY_TO, expiration="60000")
    await becomes(lambda: desk.requests.replies)
    desk.archive.answering.set()
    await desk.responder.drain(30)

    turned_away = desk.errors()
    assert set(turned_away) == {Code.UNAVAILABLE}
    held = (len(desk.requests.replies) - len(turned_away)) * len(padded)
    assert 7_000_000 < held < 9_000_000
    assert len(desk.requests.settled) == len(desk.requests.replies)


async def test_small_requests_wait_though_too_many_large_ones_do(desk):
    large = json.dumps(QUESTION).encode() + b" " * 4_000_000
    desk.archive.answering.clear()
    for tag in range(1, 5):
        desk.take(tag, large, reply_to=REPLY_TO)
    desk.take(5, reply_to=REPLY_TO)
    await becomes(lambda: len(desk.requests.replies) == 2)
    desk.archive.answering.set()
    await desk.responder.drain(1)

    assert desk.errors() == [Code.UNAVAILABLE] * 2
    assert len(desk.requests.replies) == 5


async def test_a_request_that_is_too_large_is_told_so_whatever_waits(desk):
    desk.take(1, b" " * 20_000_000, reply_to=REPLY_TO)
    desk.take(2, b" " * 5_000_000, reply_to=REPLY_TO)
    await desk.responder.drain(1)

    assert desk.errors() == [Code.INVALID_REQUEST] * 2
    assert b"at most 4194304 bytes" in desk.requests.replies[0][2]


async def test_headers_of_requests_that_wait_count_as_held(desk):
    """Ten thousand requests of a few bytes, with as large a header each, would take a gigabyte."""
    desk.archive.answering.clear()
    for tag in range(1, 121):
        desk.take(tag, reply_to=REPLY_TO, expiration="60000", headers={"a": "x" * 100_000})
    await becomes(lambda: desk.requests.replies)
    desk.archive.answering.set()
    await desk.responder.drain(30)

    assert desk.errors() == [Code.UNAVAILABLE] * (120 - 8 * 1024 * 1024 // 100_200)
    assert set(desk.responder._held_bytes.values()) == {0}


async def test_what_is_refused_is_held_no_more(desk):
    """Each request that is too large would let so many more bytes wait, for good."""
    desk.take(1, b" " * 5_000_000, reply_to=REPLY_TO, headers={"a": "x" * 100_000})
    desk.take(2, b" " * 5_000_000, reply_to="elsewhere")
    desk.take(3, b"{", reply_to=REPLY_TO)
    await desk.responder.drain(30)

    assert set(desk.responder._held_bytes.values()) == {0}


async def test_between_two_calls_of_a_batch_whoever_is_due_earlier_is_answered():
    desk = Desk(concurrency=1)
    desk.archive.answers[params.SearchTurns] = results.FoundTurns([])
    desk.archive.answering.clear()
    search = QUESTION | {"method": "conversations.search", "params": {"query": "a"}}
    desk.take(1, [search] * 3, reply_to=REPLY_TO, expiration="60000")
    await becomes(lambda: desk.archive.asked)
    desk.take(2, reply_to=REPLY_TO, expiration="20000")
    desk.take(3, [QUESTION] * 2, reply_to=REPLY_TO, expiration="30000")
    desk.archive.answering.set()
    await desk.responder.drain(30)

    asked = [type(one) for one in desk.archive.asked]
    assert asked == [params.SearchTurns, *[params.GetPreference] * 3, *[params.SearchTurns] * 2]
    assert desk.requests.settled == [2, 3, 1]
    assert desk.responder._working == 0


async def test_a_batch_is_answered_in_time_though_the_one_that_has_its_place_is_not_done():
    desk = Desk(concurrency=1)
    is_over = asyncio.Event()
    answer = desk.archive.answer

    async def answer_late(question, until, room):
        if isinstance(question, params.SetPreference):
            await is_over.wait()
        return await answer(question, until, room)

    desk.archive.answer = answer_late
    desk.archive.answering.clear()
    setting = {"method": "preferences.set", "params": {"key": "theme", "value": "dark"}}
    desk.take(1, [QUESTION] * 3, reply_to=REPLY_TO, expiration="1000")
    await becomes(lambda: desk.archive.asked)
    desk.take(2, QUESTION | setting, reply_to=REPLY_TO, expiration="900")
    desk.archive.answering.set()

    await becomes(lambda: desk.requests.settled)
    assert desk.requests.settled == [1]
    assert "result" in json.loads(desk.requests.replies[0][2])[0]
    is_over.set()
    await desk.responder.drain(30)
    assert sorted(desk.requests.settled) == [1, 2]
    assert desk.responder._working == 0


async def test_large_requests_that_wait_for_one_another_keep_no_one_waiting():
    desk = Desk(concurrency=2)
    await desk.large.acquire()
    large = json.dumps(QUESTION).encode() + b" " * 70_000
    for tag in range(1, 21):
        desk.take(tag, large, reply_to=REPLY_TO, expiration="60000")
    desk.take(21, reply_to=REPLY_TO, expiration="60000")

    await becomes(lambda: desk.requests.settled)
    assert desk.requests.settled == [21]
    desk.large.release()
    await desk.responder.drain(30)
    assert sorted(desk.requests.settled) == list(range(1, 22))
    assert desk.responder._working == 0


async def test_no_more_are_answered_at_a_time_after_large_ones_have_waited():
    desk = Desk(concurrency=2)
    is_over = asyncio.Event()
    answer = desk.archive.answer

    async def answer_late(question, until, room):
        if isinstance(question, params.SetPreference):
            desk.archive.asked.append(question)
            await is_over.wait()
        return await answer(question, until, room)

    desk.archive.answer = answer_late
    await desk.large.acquire()
    large = json.dumps(QUESTION).encode() + b" " * 70_000
    for tag in range(1, 11):
        desk.take(tag, large, reply_to=REPLY_TO, expiration="60000")
    setting = {"method": "preferences.set", "params": {"key": "theme", "value": "dark"}}
    for tag in range(11, 31):
        desk.take(tag, QUESTION | setting, reply_to=REPLY_TO, expiration="60000")
    desk.large.release()

    def begun():
        return [type(one) for one in desk.archive.asked].count(params.SetPreference)

    await becomes(lambda: len(desk.requests.settled) == 10 and begun() == 2)
    for _ in range(100):
        await asyncio.sleep(0)

    assert begun() == 2
    is_over.set()
    await desk.responder.drain(30)
    assert len(desk.requests.settled) == 30


@pytest.mark.parametrize("expiration", ["0", "60000"])
async def test_few_bytes_of_requests_are_read_in_one_turn(monkeypatch, expiration):
    """To read sixty kilobytes takes ten milliseconds, for an answer as for a refusal."""
    desk, turn, read = Desk(concurrency=40), 0, Counter[int]()
    parse = jsonrpc.parse_calls

    def watched(body: bytes) -> jsonrpc.Calls:
        read[turn] += len(body)
        return parse(body)

    monkeypatch.setattr(jsonrpc, "parse_calls", watched)
    padded = json.dumps(QUESTION).encode() + b" " * 60_000
    for tag in range(1, 101):
        desk.take(tag, padded, reply_to=REPLY_TO, expiration=expiration)
    while len(desk.requests.replies) < 100:
        turn += 1
        await asyncio.sleep(0)
    await desk.responder.drain(1)

    assert set(desk.errors()) == ({Code.DEADLINE_EXCEEDED} if expiration == "0" else set())
    assert read.total() == 100 * len(padded)
    assert max(read.values()) <= 2 * len(padded)


async def test_few_small_requests_are_refused_in_one_turn(monkeypatch):
    desk, turn, read = Desk(concurrency=1), 0, Counter[int]()
    desk.archive.answering.clear()
    desk.take(1, reply_to=REPLY_TO, expiration="60000")
    await becomes(lambda: desk.archive.asked)
    parse = jsonrpc.parse_calls

    def watched(body: bytes) -> jsonrpc.Calls:
        read[turn] += 1
        return parse(body)

    monkeypatch.setattr(jsonrpc, "parse_calls", watched)
    for tag in range(2, 202):
        desk.take(tag, reply_to=REPLY_TO, expiration="0")
    while len(desk.requests.replies) < 200:
        turn += 1
        await asyncio.sleep(0)

    assert max(read.values()) <= 25
    desk.archive.answering.set()
    await desk.responder.drain(1)
