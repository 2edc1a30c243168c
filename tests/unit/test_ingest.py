"""From deliveries to committed records: what happens in which order."""

import asyncio
import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from hashlib import sha256
from itertools import product
from struct import pack
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands, header
from structlog.testing import capture_logs

from jarvis_recorder import __version__
from jarvis_recorder.errors import (
    BrokerUnavailable,
    MessageTooLarge,
    NotConfirmed,
    NotTried,
    StorageDamaged,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.ingest import batch as batch_module
from jarvis_recorder.ingest import dead_letter_publisher as dead_letters_module
from jarvis_recorder.ingest import intake as intake_module
from jarvis_recorder.ingest import recorder as recorder_module
from jarvis_recorder.ingest.batch import Origin
from jarvis_recorder.ingest.dead_letter_publisher import DeadLetterPublisher
from jarvis_recorder.ingest.intake import Intake
from jarvis_recorder.ingest.recorder import OutageTooLong, Recorder
from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.telemetry.status import RecorderStatus, State
from jarvis_recorder.telemetry.tracing import NoopTracer
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.amqp.properties import Properties
from jarvis_recorder.wire.codec import LARGE, Decoded
from jarvis_recorder.wire.plain import Plain
from jarvis_recorder.wire.records import identity_of
from jarvis_recorder.wire.refusal import MOST_REFUSED_ALONE
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import content_header, delivery, stretch
from tests.support.fakes import FakeConsumer, FakeFlow, FakeIndex, FakePublisher, FakeRepository
from tests.support.publisher import event

LONGEST_TURN_SECONDS = 0.1


class Pipeline:
    """Everything between a channel and a database, with both ends in hand."""

    def __init__(self, *, in_stretches: bool = False) -> None:
        self._in_stretches = in_stretches
        self.effects: list[str] = []
        self.consumer = FakeConsumer(self.effects)
        self.publisher = FakePublisher(self.effects)
        self.repository = FakeRepository(self.effects)
        self.flow = FakeFlow()
        self.status = RecorderStatus()
        self.large = asyncio.Lock()
        self.intake = Intake(self.flow, lambda: 0, self.large, self.status)
        self.settlement = Settlement(TOPICS[0], self.consumer)
        self.index = FakeIndex()
        self.dead_letters = DeadLetterPublisher(self.publisher, self.status, self.index)
        self.recorder = Recorder(
            tracer=NoopTracer(),
            intake=self.intake,
            repository=self.repository,
            dead_letters=self.dead_letters,
            status=self.status,
            clock=lambda: 0,
            large=self.large,
            full_seconds=60.0,
        )
        self._sink = self.intake.sink(self.settlement)
        self._tag = 0

    def receive(self, *messages: str, header: bytes | None = None) -> None:
        """Deliver events with these names; a name that begins with `junk` is the whole body."""
        for name in messages:
            body = name if name.startswith("junk") else json.dumps(event(id=name))
            self.deliver(body.encode(), header)

    def use_window(self, size: int) -> None:
        """Let the broker hand over no more than so many unsettled deliveries."""
        self.settlement = Settlement(TOPICS[0], self.consumer, size)
        self._sink = self.intake.sink(self.settlement)

    def deliver(
        self,
        body: bytes,
        header: bytes | None = None,
        *,
        exchange: bytes = b"jarvis",
        routing_key: bytes = b"cluster.event.alert.info",
        **properties: str,
    ) -> None:
        """Deliver a message with this body, and with this header where there is one."""
        self._tag += 1
        self.consumer.hand_over(self._tag)
        message = delivery(body, self._tag, **properties)
        message = message._replace(exchange=exchange, routing_key=routing_key)
        if header is None:
            self.hand_over(message)
        else:
            self._sink([message._replace(header=header)])

    def hand_over(self, *messages: Delivery) -> None:
        """Hand over messages that have come together."""
        in_a_row = self._in_stretches and all(one.body for one in messages)
        self._sink(stretch(messages) if in_a_row else messages)

    async def run(self) -> list[str]:
        """Record all that was received; return what happened."""
        self.intake.close()
        await self.recorder.run()
        await self.dead_letters.drain(5)
        return self.effects


@pytest.fixture(params=["one by one", "in stretches"])
async def pipeline(request):
    return Pipeline(in_stretches=request.param == "in stretches")


def unmarshalled(letter: bytes) -> commands.Basic.Properties:
    parsed = header.ContentHeader()
    parsed.unmarshal(content_header()[:12] + letter)
    return parsed.properties


async def test_records_are_committed_before_they_are_acknowledged(pipeline):
    """A crash between the two may repeat a record, never lose one."""
    pipeline.receive("a", "b")

    assert await pipeline.run() == ["commit a,b", "ack to 2"]


async def test_what_comes_together_is_told_apart(pipeline):
    """Only what is in doubt or refused is cut out of the bytes that came."""
    pipeline.repository.unwanted = {"bad"}
    bodies = [
        event(id="a"), "junk", event(id="b"), event(id="bad", summary="bad"), event(id="c", weight=1),
        [event(id="d"), event(id="bad", summary="bad")], event(id="e"),
    ]  # fmt: skip
    messages = [delivery(json.dumps(body).encode(), tag) for tag, body in enumerate(bodies, 1)]
    for one in messages:
        pipeline.consumer.hand_over(one.tag)

    pipeline.hand_over(*messages)

    assert pipeline.intake._held_bytes > 2 * sum(len(one.body) for one in messages)
    effects = await pipeline.run()
    assert effects[0] == "commit a,b,bad,c,d,bad,e"
    letters = [effect.removeprefix("dead-letter ") for effect in effects if "dead-letter" in effect]
    bad = json.dumps(bodies[3])
    assert sorted(letters) == sorted(['"junk"', bad, bad])
    assert pipeline.consumer.outstanding == set()
    assert pipeline.status.decoded == {"plain": 6, "full": 1}
    assert pipeline.status.dead_letters == {"invalid": 1, "refused_by_storage": 2}


async def test_every_record_leads_to_its_delivery(pipeline):
    """By it a trace goes on, and a record that is refused becomes a dead letter."""
    array = json.dumps([event(id="b"), event(id="c")]).encode()
    single = json.dumps(event(id="a")).encode()
    messages = [delivery(single, 1), delivery(array, 2), delivery(single, 3)]
    pipeline.hand_over(*messages)
    pipeline.intake.close()

    batch = await pipeline.intake.take()

    one, many, other = messages
    assert [*batch.deliveries()] == [one, many, many, other]
    assert [batch.place(at)[1] for at in range(4)] == [None, 0, 1, None]


async def test_junk_is_acknowledged_only_as_a_confirmed_dead_letter(pipeline):
    pipeline.receive("a", "junk", "b")

    assert await pipeline.run() == ["commit a,b", "ack to 1", "ack 3", "dead-letter junk", "ack 2"]
    assert pipeline.status.dead_letters == {"not_json": 1}


async def test_junk_alone_troubles_no_database(pipeline):
    pipeline.receive("junk")

    assert await pipeline.run() == ["dead-letter junk", "ack 1"]


async def test_what_waits_for_its_dead_letter_holds_up_nobody(pipeline):
    """In a memory alarm the broker confirms nothing, and recording goes on all the same."""
    pipeline.publisher.confirming.clear()
    pipeline.receive("junk", "a")
    working = asyncio.create_task(pipeline.recorder.run())
    while "ack 2" not in pipeline.effects:
        await asyncio.sleep(0)
    pipeline.receive("b", "c")
    while "ack 4" not in pipeline.effects:
        await asyncio.sleep(0)
    assert pipeline.effects == ["commit a", "ack 2", "commit b,c", "ack 3", "ack 4"]
    assert pipeline.consumer.outstanding == {1}

    pipeline.publisher.confirming.set()
    pipeline.receive("d")
    pipeline.intake.close()
    await working
    await pipeline.dead_letters.drain(5)

    assert not pipeline.consumer.outstanding
    assert pipeline.effects.index("dead-letter junk") < pipeline.effects.index("ack 1")


async def test_a_dead_letter_says_why_and_whence(pipeline):
    head = content_header(message_id="m", user_id="monitor", headers={"kept": "yes"})
    pipeline.receive("junk", header=head)

    await pipeline.run()

    ((exchange, routing_key, letter, body),) = pipeline.publisher.published
    assert (exchange, routing_key, body) == ("jarvis.dead", "jarvis.recorder.events", b"junk")
    found = unmarshalled(letter)
    assert found.message_id == "m"
    assert found.user_id is None
    assert found.headers == {
        "kept": "yes",
        "x-recorder-reason": "not_json",
        "x-recorder-error": "not JSON: expected value at line 1 column 1",
        "x-recorder-queue": "jarvis.recorder.events",
        "x-recorder-exchange": "jarvis",
        "x-recorder-routing-key": "cluster.event.alert.info",
        "x-recorder-received-at": "1970-01-01T00:00:00.000000Z",
        "x-recorder-version": __version__,
        "x-recorder-sha256": sha256(b"junk").hexdigest(),
        "x-recorder-user-id": "monitor",
    }


async def test_a_dead_letter_is_indexed_as_it_was_published_once_it_is_confirmed(
    pipeline, monkeypatch
):
    monkeypatch.setattr(dead_letters_module, "_FIRST_DELAY_SECONDS", 0)
    pipeline.publisher.failures = [NotConfirmed("full")]
    pipeline.receive("a", "junk")
    await pipeline.run()

    (noted,) = pipeline.index.noted
    ((_, routing_key, _, body),) = pipeline.publisher.published
    assert (noted.queue, noted.reason, noted.size_bytes) == (routing_key, "not_json", len(body))
    assert (noted.exchange, noted.routing_key) == ("jarvis", "cluster.event.alert.info")


async def test_the_dead_letter_of_an_element_is_a_message_of_its_own(pipeline):
    batch = gzip.compress(b'[{"id": "own"}, 7]')
    pipeline.deliver(batch, message_id="m" * 10, content_encoding="gzip")

    await pipeline.run()

    (_, _, first, one), (_, _, second, two) = pipeline.publisher.published
    assert (one, two) == (b'{"id": "own"}', b"7")
    assert unmarshalled(first).headers["x-recorder-sha256"] == sha256(one).hexdigest()
    for letter, identity in ((first, "own"), (second, "m" * 10 + "/1")):
        found = unmarshalled(letter)
        assert found.message_id == identity
        assert found.content_type == "application/json"
        assert found.content_encoding is None


async def test_an_identity_that_fits_no_property_keeps_nothing_from_being_settled(pipeline):
    pipeline.deliver(b"[7]", message_id="m" * 255)
    umlauts = {"id": "\u00fc" * 255}
    pipeline.deliver(json.dumps([event(**umlauts), event(**umlauts, summary="x")]).encode())

    effects = await pipeline.run()

    assert effects[0].startswith("commit")
    assert {"ack 1", "ack 2"} <= set(effects)
    assert len(pipeline.publisher.published) == 2


async def test_a_long_error_is_cut_between_characters(pipeline):
    key = "x" + "\u00fc" * 30
    pipeline.deliver(b'{"%s":' % key.encode() * 40 + b"1e999" + b"}" * 40)

    await pipeline.run()

    ((_, _, letter, _),) = pipeline.publisher.published
    error = unmarshalled(letter).headers["x-recorder-error"]
    assert isinstance(error, str)
    assert len(error.encode()) <= 1_024


async def test_what_is_not_confirmed_stays_with_the_broker(pipeline):
    pipeline.publisher.confirming.clear()
    pipeline.receive("junk", "a")
    pipeline.intake.close()
    await pipeline.recorder.run()

    await pipeline.dead_letters.drain(0)

    assert pipeline.consumer.outstanding == {1}
    assert pipeline.status.dead_letters.total() == 0


async def test_a_dead_letter_that_is_refused_is_tried_again(pipeline, monkeypatch):
    monkeypatch.setattr("jarvis_recorder.ingest.dead_letter_publisher._FIRST_DELAY_SECONDS", 0)
    pipeline.publisher.failures = [NotConfirmed("full"), NotConfirmed("full")]
    pipeline.receive("junk")

    with capture_logs() as logs:
        assert await pipeline.run() == ["dead-letter junk", "ack 1"]
    assert [line["event"] for line in logs].count("dead_letter_refused") == 1


async def test_a_full_queue_of_dead_letters_leaves_the_window_to_good_messages(
    pipeline, monkeypatch
):
    """A quarter of it may wait; the broker dead-letters the others whole."""
    monkeypatch.setattr(dead_letters_module, "_CONFIRM_SECONDS", 0)
    pipeline.use_window(8)
    pipeline.publisher.confirming.clear()
    pipeline.receive(*(f"junk-{number}" for number in range(8)))
    working = asyncio.create_task(pipeline.recorder.run())

    with capture_logs() as logs:
        await until(lambda: len(pipeline.consumer.outstanding) == 2)
        pipeline.receive("junk-later", "good")
        await until(lambda: pipeline.consumer.outstanding == {1, 2})

    assert {"reject 8", "reject 9", "commit good", "ack 10"} <= set(pipeline.effects)
    assert pipeline.status.dead_letters_waiting == 2
    assert [line["event"] for line in logs].count("dead_letter_refused") == 1
    pipeline.publisher.confirming.set()
    pipeline.intake.close()
    await working
    await pipeline.dead_letters.drain(5)
    assert pipeline.consumer.outstanding == set()
    assert pipeline.status.dead_letters_waiting == 0


async def test_a_delivery_that_has_the_window_to_itself_does_not_wait_at_all(pipeline, monkeypatch):
    monkeypatch.setattr(dead_letters_module, "_CONFIRM_SECONDS", 0)
    pipeline.use_window(1)
    pipeline.publisher.confirming.clear()
    pipeline.receive("junk")
    pipeline.intake.close()

    await pipeline.recorder.run()
    await until(lambda: pipeline.effects == ["reject 1"])


async def test_no_delivery_waits_until_the_broker_closes_the_channel_over_it(pipeline, monkeypatch):
    monkeypatch.setattr(dead_letters_module, "_CONFIRM_SECONDS", 0)
    monkeypatch.setattr(dead_letters_module, "_PATIENCE_SECONDS", 0)
    pipeline.publisher.failures = [NotConfirmed("full")] * 100
    pipeline.receive("junk")
    pipeline.intake.close()

    await pipeline.recorder.run()
    await until(lambda: pipeline.effects == ["reject 1"])
    assert pipeline.status.dead_letters_waiting == 0


@pytest.mark.parametrize(
    ("body", "headers"), [(b"[%b]" % b",".join([b"0"] * 10_000), {}),
                          (b"[1, 2, 3]", {f"h{number}": "v" * 1_000 for number in range(60)})],
    ids=["many elements", "large headers"],
)  # fmt: skip
async def test_no_message_becomes_dead_letters_of_many_times_its_size(pipeline, body, headers):
    pipeline.deliver(body, content_header(len(body), headers=headers, message_id="m"))

    await pipeline.run()

    size = sum(len(letter) + len(body) for _, _, letter, body in pipeline.publisher.published)
    own = len(body) + len(content_header(headers=headers))
    assert size <= 16 * own + 4_096
    assert pipeline.publisher.published


@pytest.mark.parametrize(("text", "letters"), [("", 1), ("x" * 10_000, 15)])
async def test_large_headers_are_not_repeated_for_small_elements(pipeline, text, letters):
    """The broker bounds a queue by its bodies: fifteen times a mebibyte of headers would be free."""
    body = json.dumps([{"bad": text}] * 15).encode()
    headers = {"large": "v" * 90_000}
    pipeline.deliver(body, content_header(len(body), headers=headers, message_id="m"))

    await pipeline.run()

    assert len(pipeline.publisher.published) == letters


async def test_a_batch_with_too_many_bad_elements_is_one_dead_letter(pipeline):
    good = json.dumps(event(id="good"))
    body = f"[{good},{','.join(['0'] * 100)}]".encode()
    pipeline.deliver(body, message_id="m")

    with capture_logs() as logs:
        effects = await pipeline.run()

    assert effects == ["commit good", f"dead-letter {body.decode()}", "ack 1"]
    ((_, _, letter, _),) = pipeline.publisher.published
    found = unmarshalled(letter)
    assert found.message_id == "m"
    assert found.headers["x-recorder-reason"] == "invalid"
    assert str(found.headers["x-recorder-error"]).startswith("100 elements are refused")
    assert [line["event"] for line in logs].count("dead_lettered") == 1


async def test_of_more_bad_elements_than_some_hundred_the_message_is_one_dead_letter(pipeline):
    """Also if their letters would not be far larger than the message; what is good is recorded."""
    bad = [{"bad": number, "text": "x" * 90} for number in range(MOST_REFUSED_ALONE + 1)]
    few = json.dumps([event(id="a"), *bad[1:], event(id="b")]).encode()
    many = json.dumps([event(id="c"), *bad, event(id="d")]).encode()
    pipeline.deliver(few)
    pipeline.deliver(many)

    await pipeline.run()

    assert stored(pipeline) == "abcd"
    assert pipeline.status.dead_letters == {"invalid": MOST_REFUSED_ALONE + 1}
    (whole,) = [letter for _, _, letter, body in pipeline.publisher.published if body == many]
    assert unmarshalled(whole).headers["x-recorder-error"] == (
        "501 elements are refused, together as one message; element 1: source: Field required"
    )


async def test_what_is_dead_lettered_whole_is_not_dead_lettered_by_elements_too(pipeline):
    good, other = event(id="a"), event(id="a", summary="other")
    body = json.dumps([good, other, *[0] * (MOST_REFUSED_ALONE + 1)]).encode()
    pipeline.deliver(body)

    await pipeline.run()

    assert [body for *_, body in pipeline.publisher.published] == [body]
    assert pipeline.status.dead_letters == {"invalid": 1}


@pytest.mark.parametrize(("bad", "reason"), [(0, "id_collision"), (200, "invalid")])
async def test_what_the_database_refuses_of_a_message_counts_with_its_bad_elements(
    pipeline, bad, reason
):
    refused = [event(id="a", summary=f"{n}") for n in range(MOST_REFUSED_ALONE + 1 - bad)]
    odd = [{"bad": n, "text": "x" * 90} for n in range(bad)]
    body = json.dumps([event(id="a"), *odd, *refused]).encode()
    pipeline.deliver(body)

    await pipeline.run()

    assert stored(pipeline) == "a"
    assert [body for *_, body in pipeline.publisher.published] == [body]
    assert pipeline.status.dead_letters == {reason: 1}
    (letter,) = pipeline.index.noted
    assert letter.error.startswith("501 elements are refused, together as one message; ")


@pytest.mark.parametrize("headers", [{}, {"content_encoding": "deflate"}])
async def test_what_came_without_its_body_is_left_to_the_broker_whole(pipeline, headers):
    """It was too large to be read: only the broker has it."""
    pipeline.receive("a")
    pipeline.deliver(b"", header=content_header(64 * 1024 * 1024, **headers))
    pipeline.receive("b")

    await pipeline.run()

    assert stored(pipeline) == "ab"
    assert "reject 2" in pipeline.effects
    assert pipeline.publisher.published == []
    assert pipeline.status.dead_letters == {"too_large": 1}


async def test_an_empty_body_is_no_body_that_was_left_out(pipeline):
    pipeline.deliver(b"")

    await pipeline.run()

    assert [body for *_, body in pipeline.publisher.published] == [b""]
    assert pipeline.status.dead_letters == {"not_json": 1}


@pytest.fixture
def threads(monkeypatch):
    """The threads in which batches were taken apart and dead letters were made, and how often."""
    used: Counter[tuple[str, bool]] = Counter()

    def watch(module: ModuleType, name: str) -> None:
        original = getattr(module, name)

        def watched(*arguments: object) -> object:
            used[name, threading.current_thread() is threading.main_thread()] += 1
            return original(*arguments)

        monkeypatch.setattr(module, name, watched)

    watch(batch_module, "elements_of")
    watch(dead_letters_module, "_letter")
    return used


def with_many_headers(body: bytes) -> bytes:
    """Return a content header with as many keys as its frame takes: they take long to decode."""
    keys = map(bytes, product(b"abcdefghijklmnopqrstuvwxyz", repeat=3))
    table = b"".join(b"\x03" + key + b"V" for key in keys)
    return content_header(len(body))[:12] + pack(">HI", 1 << 13, len(table)) + table


async def longest_turn(running: Coroutine[None, None, object]) -> float:
    """Return the longest turn of the event loop until it ends, in seconds of the CPU."""
    task = asyncio.create_task(running)
    longest = 0.0
    while not task.done():
        began = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - began)
    await task
    return longest


async def test_what_is_refused_of_a_batch_is_found_in_one_look_and_in_a_thread(pipeline, threads):
    """Each of ten thousand collisions would decode the headers again: minutes in one turn."""
    bodies = [event(id="a", summary=f"{number}") for number in range(MOST_REFUSED_ALONE)]
    body = json.dumps(bodies).encode()
    pipeline.deliver(body, with_many_headers(body))

    assert await longest_turn(pipeline.run()) < LONGEST_TURN_SECONDS

    assert stored(pipeline) == "a"
    assert threads == {("elements_of", False): 1, ("_letter", False): 1}
    assert pipeline.status.dead_letters == {"id_collision": 1}


async def test_no_dead_letter_with_many_headers_is_made_on_the_event_loop(pipeline, threads):
    for number in range(3):
        body = f"junk-{number}".encode()
        pipeline.deliver(body, with_many_headers(body))

    assert await longest_turn(pipeline.run()) < LONGEST_TURN_SECONDS

    assert threads == {("_letter", False): 3}
    assert {letter.message_id for letter in pipeline.index.noted} == {None}


async def test_of_thousands_of_dead_letters_few_are_made_in_one_turn(pipeline, monkeypatch):
    turn, made = 0, Counter[int]()
    make = dead_letters_module._letter

    def counted(*arguments: object) -> object:
        made[turn] += 1
        return make(*arguments)

    monkeypatch.setattr(dead_letters_module, "_letter", counted)
    pipeline.receive(*(f"junk-{number}" for number in range(1_000)))

    running = asyncio.create_task(pipeline.run())
    while not running.done():
        turn += 1
        await asyncio.sleep(0)

    assert made.total() == 1_000
    assert max(made.values()) <= 8


async def test_what_came_past_the_rights_of_its_publisher_is_not_recorded(pipeline):
    """With a header CC RabbitMQ routes by keys that the publisher may not use."""
    good = json.dumps(event(id="a")).encode()
    for key in (b"chat.turn.user", b"cluster.eventful", b"cluster.event", b"cluster.event.x.y"):
        pipeline.deliver(good, routing_key=key)

    await pipeline.run()

    assert [record.message_id for record in pipeline.repository.stored] == ["a"]
    assert pipeline.status.dead_letters == {"invalid": 2}
    ((_, _, letter, _), _) = pipeline.publisher.published
    assert "CC" in str(unmarshalled(letter).headers["x-recorder-error"])


async def test_what_an_administrator_has_bound_from_elsewhere_is_recorded(pipeline):
    pipeline.deliver(json.dumps(event(id="a")).encode(), exchange=b"legacy", routing_key=b"old")

    assert await pipeline.run() == ["commit a", "ack to 1"]


async def test_a_lost_connection_ends_the_attempt(pipeline):
    pipeline.publisher.failures = [BrokerUnavailable("gone")]
    pipeline.receive("junk")

    assert await pipeline.run() == []
    assert pipeline.consumer.outstanding == {1}


@pytest.mark.parametrize("where", ["properties", "publisher"])
async def test_what_takes_no_reason_is_dead_lettered_by_the_broker(pipeline, where):
    if where == "publisher":
        pipeline.publisher.failures = [MessageTooLarge("headers")]
        pipeline.receive("junk", "a", "b")
    else:
        pipeline.receive("junk", header=b"broken")
        pipeline.receive("a", "b")

    assert sorted(await pipeline.run()) == sorted(["commit a,b", "ack 2", "ack 3", "reject 1"])
    assert pipeline.index.noted == []


async def test_a_reject_on_a_lost_channel_is_no_matter(pipeline):
    pipeline.consumer.gone = True
    pipeline.receive("junk", header=b"broken")

    assert await pipeline.run() == []


async def test_a_collision_is_dead_lettered_and_its_neighbours_are_not(pipeline):
    other = json.dumps(event(id="a", summary="other"))
    pipeline.receive("a")
    pipeline.deliver(other.encode())
    pipeline.receive("b")

    effects = await pipeline.run()

    assert effects == ["commit a,a,b", "ack to 1", "ack 3", f"dead-letter {other}", "ack 2"]
    assert pipeline.status.stored == 2


async def test_a_batch_message_with_two_bad_elements_is_settled_once(pipeline):
    good = json.dumps(event(id="good"))
    pipeline.deliver(f"[{good}, 1, 2]".encode())

    effects = await pipeline.run()

    assert effects == ["commit good", "dead-letter 1", "dead-letter 2", "ack 1"]


async def test_an_unavailable_database_only_delays(pipeline, monkeypatch):
    monkeypatch.setattr(recorder_module, "_FIRST_RETRY_SECONDS", 0)
    pipeline.repository.failures = 3
    pipeline.receive("a", "b")

    with capture_logs() as logs:
        effects = await pipeline.run()

    assert effects == ["commit a,b", "ack to 2"]
    assert [line["event"] for line in logs].count("storage_unavailable") == 3
    assert [line["event"] for line in logs].count("storage_available") == 1
    assert pipeline.status.state is State.RECORDING


async def test_what_the_database_refuses_is_dead_lettered_alone(pipeline):
    pipeline.repository.unwanted = {"bad"}
    bad = json.dumps(event(id="b", summary="bad"))
    pipeline.receive("a")
    pipeline.deliver(f"[{bad}, {json.dumps(event(id='c'))}]".encode())

    effects = await pipeline.run()

    assert effects == ["commit a,b,c", "ack to 1", f"dead-letter {bad}", "ack 2"]
    assert pipeline.status.dead_letters == {"refused_by_storage": 1}


async def test_nothing_is_settled_while_the_database_is_away(pipeline, monkeypatch):
    monkeypatch.setattr(recorder_module, "_FIRST_RETRY_SECONDS", 0)
    pipeline.repository.failures = 10**9
    pipeline.receive("a", "junk", "b")
    working = asyncio.create_task(pipeline.recorder.run())
    while pipeline.status.state is not State.STORAGE_UNAVAILABLE:
        await asyncio.sleep(0)
    await turns_of_the_loop(20)

    assert pipeline.effects == []
    assert pipeline.consumer.outstanding == {1, 2, 3}

    pipeline.repository.failures = 0
    pipeline.intake.close()
    await working
    await pipeline.dead_letters.drain(5)

    assert pipeline.effects == ["commit a,b", "ack to 1", "ack 3", "dead-letter junk", "ack 2"]


async def test_an_outage_with_a_full_intake_gives_the_messages_back(pipeline, monkeypatch):
    """While the flow is paused nothing can be answered, not even the broker's heartbeats."""
    monkeypatch.setattr(intake_module, "MAX_BATCH_RECORDS", 1)
    monkeypatch.setattr(intake_module, "MAX_HELD_RECORDS", 2)
    pipeline.repository.failures = 10**9
    pipeline.receive("a", "b", "c")

    with pytest.raises(OutageTooLong) as outage:
        await pipeline.run()

    assert pipeline.consumer.outstanding == {1, 2, 3}
    assert [*map(identity_of, outage.value.records)] == ["a"]


async def test_a_commit_that_never_ends_gives_the_messages_back(pipeline, monkeypatch):
    """As of a server that is frozen, or waits for its standby."""
    monkeypatch.setattr(recorder_module, "HOLD_SECONDS", 0.0)
    monkeypatch.setattr(recorder_module, "_LEAST_PATIENCE_SECONDS", 0.01)
    pipeline.repository.disk.clear()
    pipeline.receive("a", "b")

    with pytest.raises(OutageTooLong) as outage:
        await pipeline.run()

    assert pipeline.consumer.outstanding == {1, 2}
    assert [*map(identity_of, outage.value.records)] == ["a", "b"]
    assert pipeline.status.state is State.STORAGE_UNAVAILABLE


async def test_a_hanging_commit_with_a_full_intake_gives_the_messages_back_sooner(
    pipeline, monkeypatch
):
    """A paused connection lives no longer than a silent one."""
    monkeypatch.setattr(intake_module, "MAX_HELD_RECORDS", 3)
    monkeypatch.setattr(recorder_module, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(pipeline.recorder, "_full_seconds", 0.01)
    pipeline.repository.disk.clear()
    pipeline.receive("a", "b")
    working = asyncio.create_task(pipeline.recorder.run())
    await asyncio.sleep(0.1)
    assert not working.done()

    pipeline.receive("c")
    with pytest.raises(OutageTooLong) as outage:
        async with asyncio.timeout(60):
            await working

    assert [*map(identity_of, outage.value.records)] == ["a", "b"]
    assert pipeline.consumer.outstanding == {1, 2, 3}


async def test_a_hanging_commit_that_keeps_a_large_delivery_waiting_gives_the_messages_back(
    pipeline, monkeypatch
):
    monkeypatch.setattr(intake_module, "_HELD_BESIDE_LARGE", 1)
    monkeypatch.setattr(recorder_module, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(pipeline.recorder, "_full_seconds", 0.01)
    pipeline.repository.disk.clear()
    pipeline.receive("a")
    pipeline.deliver(json.dumps(event(id="large", details="x" * 40_000)).encode())

    with pytest.raises(OutageTooLong):
        async with asyncio.timeout(60):
            await pipeline.recorder.run()

    pipeline.intake.abandon()
    assert pipeline.consumer.outstanding == {1, 2}


async def test_dead_letters_that_nobody_confirms_do_not_fill_the_memory(pipeline, monkeypatch):
    """Beyond the bound the broker buries them whole, for which it needs nothing from us."""
    monkeypatch.setattr(dead_letters_module, "MAX_HELD_BYTES", 2_500)
    monkeypatch.setattr(dead_letters_module, "_CONFIRM_SECONDS", 0.01)
    pipeline.publisher.confirming.clear()
    pipeline.receive("junk-1", "junk-2", "junk-3")
    pipeline.intake.close()

    await pipeline.recorder.run()
    await turns_of_the_loop(10)

    assert pipeline.effects == ["reject 3"]
    assert pipeline.consumer.outstanding == {1, 2}
    pipeline.publisher.confirming.set()
    await pipeline.dead_letters.drain(5)
    assert pipeline.consumer.outstanding == set()


async def test_dead_letters_wait_for_a_broker_that_confirms(pipeline, monkeypatch):
    monkeypatch.setattr(dead_letters_module, "MAX_HELD_BYTES", 2_500)
    pipeline.receive(*(f"junk-{number}" for number in range(20)))

    await pipeline.run()

    assert len(pipeline.publisher.published) == 20
    assert pipeline.consumer.outstanding == set()


async def test_what_is_refused_of_a_batch_counts_with_what_it_takes(pipeline, monkeypatch):
    """Ten thousand bad elements are some megabytes more than the message that they came in."""
    monkeypatch.setattr(dead_letters_module, "MAX_HELD_BYTES", 50_000)
    monkeypatch.setattr(dead_letters_module, "_CONFIRM_SECONDS", 0.01)
    pipeline.publisher.confirming.clear()
    batch = json.dumps([{"bad": number, "text": "x" * 90} for number in range(40)]).encode()
    for _ in range(3):
        pipeline.deliver(batch)
    pipeline.intake.close()

    await pipeline.recorder.run()
    await turns_of_the_loop(10)

    assert pipeline.effects == ["reject 2", "reject 3"]


async def test_large_deliveries_are_decoded_aside_and_recorded_in_their_order(pipeline):
    large = json.dumps(event(id="large", details="x" * 40_000)).encode()
    pipeline.receive("a")
    pipeline.deliver(large)
    pipeline.receive("b", "junk")
    assert pipeline.flow.effects == ["pause"]
    recording = asyncio.create_task(pipeline.recorder.run())

    await pipeline.intake.settled()
    pipeline.intake.close()
    await recording
    await pipeline.dead_letters.drain(5)

    assert pipeline.flow.effects == ["pause", "resume"]
    assert [found.message_id for found in pipeline.repository.stored] == ["a", "large", "b"]
    assert pipeline.consumer.outstanding == set()


async def test_a_large_delivery_is_decoded_once_the_large_reply_has_left(pipeline):
    await pipeline.large.acquire()
    pipeline.deliver(json.dumps(event(id="large", details="x" * 40_000)).encode())
    recording = asyncio.create_task(pipeline.recorder.run())
    await until(lambda: bool(pipeline.large._waiters))
    assert pipeline.effects == []

    pipeline.large.release()

    await asyncio.wait_for(pipeline.intake.settled(), 10)
    assert [found.message_id for found in pipeline.repository.stored] == ["large"]
    pipeline.intake.close()
    await recording
    assert not pipeline.large.locked()


async def test_a_large_batch_is_stored_once_the_large_reply_has_left(pipeline, monkeypatch):
    monkeypatch.setattr(recorder_module, "_VERY_LARGE_BYTES", 1)
    await pipeline.large.acquire()
    pipeline.receive("a")
    recording = asyncio.create_task(pipeline.recorder.run())
    await until(lambda: bool(pipeline.large._waiters))
    assert pipeline.effects == []

    pipeline.large.release()

    await asyncio.wait_for(pipeline.intake.settled(), 10)
    pipeline.intake.close()
    await recording
    assert not pipeline.large.locked()


async def test_a_large_reply_that_does_not_leave_stops_no_recording(pipeline, monkeypatch):
    monkeypatch.setattr(intake_module, "LARGE_PATIENCE_SECONDS", 0.02)
    await pipeline.large.acquire()
    pipeline.deliver(json.dumps(event(id="large", details="x" * 40_000)).encode())
    recording = asyncio.create_task(pipeline.recorder.run())

    await asyncio.wait_for(pipeline.intake.settled(), 10)

    assert [found.message_id for found in pipeline.repository.stored] == ["large"]
    pipeline.intake.close()
    await recording
    assert pipeline.large.locked()


BAD_ELEMENTS = b"[%b]" % b",".join(b'{"a":%d}' % number for number in range(500))


@pytest.mark.parametrize("settlements", [1, 2])
async def test_no_more_bad_elements_than_some_thousand_are_looked_at_in_one_turn(
    pipeline, settlements
):
    """However many messages they come in; what follows keeps its order."""
    others = [pipeline.settlement, Settlement(TOPICS[0], FakeConsumer())][:settlements]
    sinks = [pipeline.intake.sink(settlement) for settlement in others]
    for number in range(10):
        sinks[number % settlements]([delivery(BAD_ELEMENTS, number)])
    assert len(pipeline.intake._undecoded) == 6
    assert pipeline.flow.effects == ["pause"]

    await until(lambda: not pipeline.intake._undecoded)
    sinks[0]([delivery(BAD_ELEMENTS, 11)])

    assert not pipeline.intake._undecoded, "the next turn has its own"
    batch = pipeline.intake._batches[0]
    tags = [origin.delivery.tag for origin, _ in batch.refusals]
    assert tags == sorted(tags)


@pytest.mark.long
@pytest.mark.parametrize("packed", [bytes, gzip.compress])
@pytest.mark.parametrize("element", [b"0", b"{}"])
async def test_ten_thousand_bad_elements_take_little_of_the_event_loop(pipeline, packed, element):
    body = packed(b"[%b]" % b",".join([element] * 10_000))
    assert len(body) < LARGE

    async def receive() -> None:
        for _ in range(10):
            pipeline.deliver(body)
        await pipeline.run()

    assert await longest_turn(receive()) < LONGEST_TURN_SECONDS

    assert pipeline.status.dead_letters == {"invalid": 10}
    assert {body for *_, body in pipeline.publisher.published} == {body}


async def test_what_takes_long_to_decode_is_decoded_bit_by_bit(pipeline, monkeypatch):
    """Large replies and large messages are in memory by turns: a reply would miss its deadline."""
    monkeypatch.setattr(intake_module, "_DECODING_SECONDS", 0)
    decode, together = intake_module._decode_some, []

    def counted(origins: Sequence[Origin]) -> list[Decoded | Plain]:
        together.append(found := decode(origins))
        return found

    monkeypatch.setattr(intake_module, "_decode_some", counted)
    for name in "abc":
        pipeline.deliver(json.dumps(event(id=name, details="x" * 40_000)).encode())

    await pipeline.run()

    assert stored(pipeline) == "abc"
    assert [len(found) for found in together] == [1, 1, 1]


async def test_nothing_is_decoded_while_too_many_records_are_held(pipeline, monkeypatch):
    """A few kilobytes of gzip may hold as many as a day of events."""
    monkeypatch.setattr(intake_module, "_DECODING_SECONDS", 0)
    monkeypatch.setattr(intake_module, "MAX_HELD_RECORDS", 3)
    pipeline.repository.disk.clear()
    for first in ("a", "d"):
        names = range(ord(first), ord(first) + 3)
        bodies = [event(id=chr(name), details="x" * 20_000) for name in names]
        pipeline.deliver(json.dumps(bodies).encode())
    working = asyncio.create_task(pipeline.recorder.run())

    await until(lambda: bool(pipeline.repository.under_way))
    for _ in range(10):
        await asyncio.to_thread(bool)
    assert len(pipeline.intake._undecoded) == 1

    await finished(pipeline, working)
    assert stored(pipeline) == "abcdef"


async def test_what_waits_to_be_decoded_is_told_as_what_waits_longest(pipeline):
    assert pipeline.status.waiting_since is None
    pipeline.deliver(json.dumps(event(id="large", details="x" * 40_000)).encode())
    assert pipeline.status.waiting_since == 0

    await pipeline.run()

    assert pipeline.status.waiting_since is None


async def test_what_is_abandoned_while_it_is_decoded_is_not_recorded(pipeline):
    pipeline.deliver(json.dumps(event(id="large", details="x" * 40_000)).encode())

    pipeline.intake.abandon()
    await pipeline.recorder.run()

    assert pipeline.effects == []
    assert pipeline.status.waiting_since is None


async def test_a_long_header_is_decoded_in_a_thread(pipeline, monkeypatch):
    """A table of 128 KiB takes a sixth of a second, each of the three times that it is decoded."""
    decode, in_main = properties.decode, []

    def watched(head: bytes) -> Properties:
        in_main.append(threading.current_thread() is threading.main_thread())
        return decode(head)

    monkeypatch.setattr(properties, "decode", watched)
    body = json.dumps(event(id="a")).encode()
    long = delivery(body, 1)._replace(header=with_many_headers(body))
    pipeline.hand_over(long)
    assert [origin.delivery for origin in pipeline.intake._undecoded] == [long]

    await until(lambda: not pipeline.intake._undecoded)

    assert set(in_main) == {False}
    assert pipeline.intake._batches[0].count == 1


async def test_headers_count_as_values_of_a_turn(pipeline):
    """Ten deliveries of two kilobytes of headers each took a tenth of a second."""
    table = b"\0V" * 1_000
    head = content_header(7)[:12] + pack(">HI", 1 << 13, len(table)) + table
    for _ in range(30):
        pipeline.deliver(b'{"a":1}', head)

    assert 0 < len(pipeline.intake._undecoded) < 30
    await until(lambda: not pipeline.intake._undecoded)
    assert pipeline.intake._batches[0].count == 30


async def test_what_is_held_is_counted_as_it_is_unpacked(pipeline, monkeypatch):
    monkeypatch.setattr(intake_module, "MAX_HELD_BYTES", 50_000)
    body = json.dumps(event(details="x" * 60_000)).encode()
    packed = gzip.compress(body)

    pipeline.intake.sink(pipeline.settlement)([delivery(packed, 1, content_encoding="gzip")])

    assert len(packed) < 1_000
    assert pipeline.flow.effects == ["pause"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def turns_of_the_loop(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_each_settlement_is_settled_by_its_own_tags(pipeline):
    effects: list[str] = []
    other = FakeConsumer(effects)
    sink = pipeline.intake.sink(Settlement(TOPICS[1], other))
    pipeline.receive("a", "b")
    for tag, body in ((1, b'{"snapshot": {}}'), (2, b"junk"), (3, b'{"snapshot": {}}')):
        other.hand_over(tag)
        sink([delivery(body, tag)._replace(routing_key=b"cluster.snapshot")])

    await pipeline.run()

    assert pipeline.effects[:2] == ["commit a,b,None,None", "ack to 2"]
    assert effects == ["ack to 1", "ack 3", "ack 2"]
    assert pipeline.publisher.published[0][1] == "jarvis.recorder.snapshots"


async def test_after_a_long_outage_the_broker_has_its_messages_back(pipeline, monkeypatch):
    monkeypatch.setattr(recorder_module, "HOLD_SECONDS", 0)
    pipeline.repository.failures = 10**6
    pipeline.receive("a")

    with pytest.raises(OutageTooLong):
        await pipeline.run()
    assert pipeline.effects == []
    assert pipeline.consumer.outstanding == {1}


async def test_a_lost_ack_is_survived(pipeline):
    pipeline.receive("a")
    pipeline.consumer.gone = True

    with capture_logs() as logs:
        assert await pipeline.run() == ["commit a"]
    assert "ack_lost" in [line["event"] for line in logs]


async def test_batches_are_closed_so_that_acks_flow_back(pipeline, monkeypatch):
    monkeypatch.setattr(intake_module, "MAX_BATCH_RECORDS", 2)
    pipeline.receive("a", "b", "c")

    assert await pipeline.run() == ["commit a,b", "ack to 2", "commit c", "ack to 3"]


@pytest.mark.parametrize(("limit", "value"), [("MAX_HELD_RECORDS", 2), ("MAX_HELD_BYTES", 300)])
async def test_the_flow_is_paused_while_too_much_is_held(pipeline, monkeypatch, limit, value):
    monkeypatch.setattr(intake_module, limit, value)
    monkeypatch.setattr(intake_module, "MAX_BATCH_RECORDS", 1)

    pipeline.receive("a", "b", "c")
    assert pipeline.flow.effects == ["pause"]
    assert pipeline.intake.is_full
    await pipeline.run()

    assert pipeline.flow.effects == ["pause", "resume"]


async def test_what_is_abandoned_is_not_recorded(pipeline):
    pipeline.receive("a")

    pipeline.intake.abandon()
    await pipeline.recorder.run()

    assert pipeline.effects == []


async def test_taking_waits_for_something_to_arrive(pipeline):
    taking = asyncio.create_task(pipeline.intake.take())
    await asyncio.sleep(0)
    assert not taking.done()

    pipeline.receive("a")

    batch = await taking
    assert [*map(identity_of, batch.records)] == ["a"]


STEPS = ["good", "hold", "settle", "release", "reject", "ahead"]


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=40))
def test_every_tag_is_settled_exactly_once(steps):
    """The fake channel raises as RabbitMQ would for a tag that is settled already."""

    async def play() -> None:
        consumer = FakeConsumer()
        settlement = Settlement(TOPICS[0], consumer)
        arrived = taken = settled = 0
        held: list[int] = []
        for step, which in steps:
            if step == "ahead" or (step in ("good", "hold") and taken == arrived):
                arrived += 1
                consumer.hand_over(arrived)
            if step in ("good", "hold"):
                taken += 1
                if step == "hold":
                    settlement.hold(taken)
                    held.append(taken)
            elif step == "settle" and taken > settled:
                settled = taken
                await settlement.settle(taken)
            elif step in ("release", "reject") and held:
                settle = settlement.release if step == "release" else settlement.reject
                await settle(held.pop(which % len(held)))
        for left in held:
            await settlement.release(left)
        if arrived > settled:
            await settlement.settle(arrived)
        assert sorted(consumer.settled) == list(range(1, arrived + 1))
        assert not consumer.outstanding

    asyncio.run(play())


class WaitingConsumer(FakeConsumer):
    """A channel on which the settling of delivery 1 waits for room to write, as aiormq has it wait."""

    def __init__(self) -> None:
        super().__init__()
        self.has_room = asyncio.Event()

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        if tag == 1:
            await self.has_room.wait()
        await super().ack(tag, multiple=multiple)

    async def reject(self, tag: int) -> None:
        await self.has_room.wait()
        await super().reject(tag)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("step", ["release", "reject"])
async def test_an_ack_of_others_does_not_overtake_what_waits_to_be_sent(step, ahead):
    """It would cover a delivery that is to be rejected: its dead letter would be lost."""
    consumer = WaitingConsumer()
    settlement = Settlement(TOPICS[0], consumer)
    for tag in (1, 2, 3):
        consumer.hand_over(tag)
    settlement.hold(1)
    if not ahead:
        await settlement.settle(1)
    settle = settlement.release if step == "release" else settlement.reject
    settling = asyncio.create_task(settle(1))
    await asyncio.sleep(0)

    if ahead and step == "release":
        consumer.has_room.set()
    await settlement.settle(2)
    await settlement.settle(3)
    consumer.has_room.set()
    await settling

    assert sorted(consumer.settled) == [1, 2, 3]
    assert ("reject 1" in consumer.effects) is (step == "reject")


async def test_a_rejected_delivery_is_remembered_until_its_own_batch_is_settled():

    consumer = FakeConsumer()
    settlement = Settlement(TOPICS[0], consumer)
    consumer.hand_over(1)
    consumer.hand_over(2)
    settlement.hold(2)
    await settlement.reject(2)

    await settlement.settle(1)
    await settlement.settle(2)

    assert consumer.settled == [2, 1]


@pytest.fixture
def two_at_once(pipeline, monkeypatch):
    """A pipeline with batches of two records, on a disk that does not answer yet."""
    monkeypatch.setattr(intake_module, "MAX_BATCH_RECORDS", 2)
    monkeypatch.setattr(recorder_module, "_FIRST_RETRY_SECONDS", 0)
    pipeline.repository.disk.clear()
    return pipeline


async def recording_two(pipeline: Pipeline) -> asyncio.Task[None]:
    """Begin to record; return once two batches are under way."""
    working = asyncio.create_task(pipeline.recorder.run())
    await until(lambda: len(pipeline.repository.under_way) == 2)
    await turns_of_the_loop(10)
    assert len(pipeline.repository.under_way) == 2, "and no third"
    assert pipeline.effects == []
    return working


async def finished(pipeline: Pipeline, working: asyncio.Task[None]) -> list[str]:
    """Let the disk answer and the recorder end; return what happened."""
    pipeline.intake.close()
    pipeline.repository.disk.set()
    await working
    await pipeline.dead_letters.drain(5)
    return pipeline.effects


def stored(pipeline: Pipeline) -> str:
    return "".join(str(identity_of(record)) for record in pipeline.repository.stored)


async def test_a_full_batch_is_handed_over_while_one_is_being_committed(two_at_once):
    two_at_once.receive(*"abcdefg")
    working = await recording_two(two_at_once)

    effects = await finished(two_at_once, working)

    assert [done for done in effects if done.startswith("commit")] == [
        "commit a,b", "commit c,d", "commit e,f", "commit g",
    ]  # fmt: skip
    assert [done for done in effects if done.startswith("ack")] == [
        "ack to 2", "ack to 4", "ack to 6", "ack to 7",
    ]  # fmt: skip
    for commit, ack in (("a,b", 2), ("c,d", 4), ("e,f", 6), ("g", 7)):
        assert effects.index(f"commit {commit}") < effects.index(f"ack to {ack}")


async def test_a_batch_that_is_not_full_waits_for_the_commit_and_grows(two_at_once):
    two_at_once.receive("a")
    working = asyncio.create_task(two_at_once.recorder.run())
    await until(lambda: len(two_at_once.repository.under_way) == 1)
    two_at_once.receive("b")
    await turns_of_the_loop(10)
    assert len(two_at_once.repository.under_way) == 1

    two_at_once.receive("c")
    await until(lambda: len(two_at_once.repository.under_way) == 2)

    effects = await finished(two_at_once, working)
    assert [done for done in effects if done.startswith("commit")] == ["commit a", "commit b,c"]


async def test_a_batch_is_acked_only_after_the_one_before_it(two_at_once, monkeypatch):
    """An ack covers all deliveries before it, committed or not."""
    two_at_once.receive(*"abcd")
    acked = asyncio.Event()
    settle = two_at_once.settlement.settle

    async def slowly(tag: int) -> None:
        await acked.wait()
        await settle(tag)

    monkeypatch.setattr(two_at_once.settlement, "settle", slowly)
    working = await recording_two(two_at_once)

    two_at_once.repository.disk.set()
    await until(lambda: "commit c,d" in two_at_once.effects)
    await turns_of_the_loop(10)
    assert two_at_once.effects == ["commit a,b", "commit c,d"]

    acked.set()
    assert await finished(two_at_once, working) == [
        "commit a,b", "commit c,d", "ack to 2", "ack to 4",
    ]  # fmt: skip


@pytest.mark.parametrize("failures", [1, 3])
async def test_after_a_failure_both_batches_are_tried_again_in_their_order(two_at_once, failures):
    two_at_once.receive(*"abcdef")
    two_at_once.repository.failures = failures
    working = await recording_two(two_at_once)

    with capture_logs() as logs:
        effects = await finished(two_at_once, working)

    assert stored(two_at_once) == "abcdef"
    assert [done for done in effects if done.startswith("ack")] == [
        "ack to 2", "ack to 4", "ack to 6",
    ]  # fmt: skip
    reports = [line["event"] for line in logs]
    assert reports.count("storage_unavailable") == failures
    assert reports.count("storage_available") == 1


async def test_a_failure_of_the_second_does_not_keep_the_first_from_being_acked(two_at_once):
    two_at_once.receive(*"abcdef")
    two_at_once.repository.outcomes = [None, StorageUnavailable("full"), StorageUnavailable("full")]
    working = await recording_two(two_at_once)

    effects = await finished(two_at_once, working)

    assert effects[:2] == ["commit a,b", "ack to 2"]
    assert stored(two_at_once) == "abcdef"


async def test_no_batch_is_handed_over_behind_one_that_is_tried_again(two_at_once, monkeypatch):
    """While the first waits for its next attempt, the second would be stored before it."""
    monkeypatch.setattr(recorder_module, "_FIRST_RETRY_SECONDS", 0.02)
    two_at_once.repository.failures = 1
    two_at_once.receive(*"ab")
    working = asyncio.create_task(two_at_once.recorder.run())
    two_at_once.repository.disk.set()
    await until(lambda: two_at_once.status.state is State.STORAGE_UNAVAILABLE)

    two_at_once.receive(*"cdef")

    await finished(two_at_once, working)
    assert stored(two_at_once) == "abcdef"


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("error", [StorageUncertain("sync"), StorageDamaged("corrupt")])
async def test_what_ends_the_process_leaves_nothing_acked_from_there_on(two_at_once, which, error):
    two_at_once.receive(*"abcdef")
    two_at_once.repository.outcomes = [None] * which + [error]
    working = await recording_two(two_at_once)

    with pytest.raises(type(error)):
        await finished(two_at_once, working)

    assert stored(two_at_once) == "ab" * which
    assert two_at_once.consumer.outstanding == set(range(2 * which + 1, 7))


async def test_an_outage_that_is_too_long_gives_both_batches_back(two_at_once, monkeypatch):
    monkeypatch.setattr(recorder_module, "HOLD_SECONDS", 0)
    two_at_once.receive(*"abcdef")
    two_at_once.repository.failures = 10**6
    working = await recording_two(two_at_once)

    with pytest.raises(OutageTooLong) as outage:
        await finished(two_at_once, working)

    assert "".join(str(identity_of(record)) for record in outage.value.records) == "ab"
    assert two_at_once.consumer.outstanding == {1, 2, 3, 4, 5, 6}
    assert not two_at_once.repository.under_way


async def test_an_outage_of_the_first_does_not_shorten_the_patience_with_the_second(
    two_at_once, monkeypatch
):
    two_at_once.receive(*"abcd")
    two_at_once.repository.outcomes = [StorageUnavailable("full"), None, StorageUnavailable("full")]
    working = await recording_two(two_at_once)
    longest = []
    report = two_at_once.recorder._report_outage
    monkeypatch.setattr(
        two_at_once.recorder,
        "_report_outage",
        lambda error, waiting, seconds: (longest.append(seconds), report(error, waiting, seconds)),
    )
    await asyncio.sleep(0.05)

    await finished(two_at_once, working)

    assert longest[0] >= 0.05 > longest[1]
    assert stored(two_at_once) == "abcd"


async def test_a_stop_records_both_batches_that_are_under_way(two_at_once):
    two_at_once.receive(*"abcd")
    working = await recording_two(two_at_once)
    two_at_once.intake.close()

    await finished(two_at_once, working)

    assert not two_at_once.consumer.outstanding
    await two_at_once.intake.settled()


async def test_when_the_connection_is_lost_both_batches_under_way_are_finished(two_at_once):
    two_at_once.receive(*"abcdef")
    working = await recording_two(two_at_once)
    two_at_once.consumer.gone = True
    two_at_once.intake.abandon()

    with capture_logs() as logs:
        assert await finished(two_at_once, working) == ["commit a,b", "commit c,d"]

    assert [line["event"] for line in logs].count("ack_lost") == 2


async def test_a_cancelled_recorder_acks_nothing(two_at_once):
    two_at_once.receive(*"abcd")
    working = await recording_two(two_at_once)

    working.cancel()
    two_at_once.repository.disk.set()
    with pytest.raises(asyncio.CancelledError):
        await working

    assert two_at_once.consumer.outstanding == {1, 2, 3, 4}
    assert not two_at_once.repository.under_way


async def test_refusals_of_two_batches_are_settled_with_their_own(two_at_once):
    two_at_once.receive("a", "junk", "b", "junk")
    working = await recording_two(two_at_once)

    effects = await finished(two_at_once, working)

    assert effects.index("commit a") < effects.index("ack to 1") < effects.index("ack 3")
    assert effects.index("commit b") < effects.index("ack 3")
    assert two_at_once.status.dead_letters == {"not_json": 2}
    assert not two_at_once.consumer.outstanding


@pytest.mark.parametrize(("limit", "value"), [("MAX_HELD_RECORDS", 4), ("MAX_HELD_BYTES", 500)])
async def test_both_batches_under_way_count_as_held(two_at_once, monkeypatch, limit, value):
    monkeypatch.setattr(intake_module, limit, value)
    two_at_once.receive(*"abcd")
    assert two_at_once.flow.effects == ["pause"]
    working = await recording_two(two_at_once)
    assert two_at_once.intake.is_full

    await finished(two_at_once, working)

    assert two_at_once.flow.effects == ["pause", "resume"]
    assert not two_at_once.intake.is_full


async def test_the_second_batch_is_held_until_it_is_settled_itself(two_at_once, monkeypatch):
    two_at_once.receive(*"abcd")
    acked = asyncio.Event()
    settle = two_at_once.settlement.settle

    async def slowly(tag: int) -> None:
        if tag == 4:
            await acked.wait()
        await settle(tag)

    monkeypatch.setattr(two_at_once.settlement, "settle", slowly)
    working = await recording_two(two_at_once)
    assert two_at_once.intake._held_records == 4

    two_at_once.repository.disk.set()
    await until(lambda: "ack to 2" in two_at_once.effects)
    await turns_of_the_loop(10)
    assert two_at_once.intake._held_records == 2

    acked.set()
    await finished(two_at_once, working)
    assert two_at_once.intake._held_records == two_at_once.intake._held_bytes == 0


async def test_the_first_is_not_tried_again_before_the_second_has_ended(two_at_once, monkeypatch):
    """Both at once would be in the wrong order."""
    ended = asyncio.Event()
    append = two_at_once.repository.append
    calls: list[str] = []

    async def slowly(records, recorded_at):
        calls.append("".join(str(identity_of(record)) for record in records))
        try:
            return await append(records, recorded_at)
        except NotTried:
            await ended.wait()
            raise

    monkeypatch.setattr(two_at_once.repository, "append", slowly)
    two_at_once.repository.failures = 1
    two_at_once.receive(*"abcd")
    working = await recording_two(two_at_once)
    two_at_once.repository.disk.set()
    await until(lambda: two_at_once.status.state is State.STORAGE_UNAVAILABLE)
    await turns_of_the_loop(20)
    assert calls == ["ab", "cd"]

    ended.set()
    await finished(two_at_once, working)
    assert calls == ["ab", "cd", "ab", "cd"]


async def test_what_is_abandoned_still_counts_what_is_under_way(two_at_once, monkeypatch):
    monkeypatch.setattr(intake_module, "MAX_HELD_RECORDS", 4)
    two_at_once.receive(*"abcdef")
    working = await recording_two(two_at_once)

    two_at_once.intake.abandon()
    assert two_at_once.intake.is_full

    await finished(two_at_once, working)
    await two_at_once.intake.settled()
    assert stored(two_at_once) == "abcd"


@pytest.mark.parametrize("large", ["first", "second"])
async def test_a_very_large_batch_is_under_way_alone(two_at_once, monkeypatch, large):
    monkeypatch.setattr(recorder_module, "_VERY_LARGE_BYTES", 5_000)
    for number in range(4):
        is_large = (number < 2) == (large == "first")
        body = event(id=f"{number}", details="x" * 3_000 * is_large)
        two_at_once.deliver(json.dumps(body).encode())
    working = asyncio.create_task(two_at_once.recorder.run())
    await until(lambda: len(two_at_once.repository.under_way) == 1)

    await turns_of_the_loop(20)
    assert len(two_at_once.repository.under_way) == 1

    await finished(two_at_once, working)
    assert stored(two_at_once) == "0123"
