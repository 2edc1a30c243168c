"""Large and numerous deliveries: in threads, in turns, one after the other."""

import asyncio
import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from itertools import product
from struct import pack
from types import ModuleType

import pytest

from jarvis_recorder.ingest import batch as batch_module
from jarvis_recorder.ingest import dead_letter_publisher as dead_letters_module
from jarvis_recorder.ingest import intake as intake_module
from jarvis_recorder.ingest import recorder as recorder_module
from jarvis_recorder.ingest.batch import Origin
from jarvis_recorder.ingest.settlement import Settlement
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.properties import Properties
from jarvis_recorder.wire.codec import LARGE, Decoded
from jarvis_recorder.wire.plain import Plain
from jarvis_recorder.wire.refusal import MOST_REFUSED_ALONE
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import content_header, delivery
from tests.support.fakes import FakeConsumer
from tests.support.pipeline import (
    LONGEST_TURN_SECONDS,
    finished,
    stored,
    turns_of_the_loop,
    until,
)
from tests.support.publisher import event


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


BAD_ELEMENTS = b"[%b]" % b",".join(b'{"a":%d}' % number for number in range(100))


@pytest.mark.parametrize("settlements", [1, 2])
async def test_no_more_bad_elements_than_some_hundred_are_looked_at_in_one_turn(
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


async def test_bodies_that_are_refused_count_for_more_than_their_values(pipeline, monkeypatch):
    """Two thousand in one turn of the loop took a third of a second."""
    bad = [{"timestamp": f"Sat Jan 31 09:00:00 CET 2026{number}"} for number in range(500)]
    in_main = []
    decode = intake_module.decode

    def watched(*arguments, **options):
        in_main.append(threading.current_thread() is threading.main_thread())
        return decode(*arguments, **options)

    monkeypatch.setattr(intake_module, "decode", watched)
    body = json.dumps(bad).encode()
    for number in range(4):
        pipeline.deliver(body + b" " * number)

    await until(lambda: not pipeline.intake._undecoded)

    assert in_main == [False] * 4


async def test_what_is_held_is_counted_as_it_is_unpacked(pipeline, monkeypatch):
    monkeypatch.setattr(intake_module, "MAX_HELD_BYTES", 50_000)
    body = json.dumps(event(details="x" * 60_000)).encode()
    packed = gzip.compress(body)

    pipeline.intake.sink(pipeline.settlement)([delivery(packed, 1, content_encoding="gzip")])

    assert len(packed) < 1_000
    assert pipeline.flow.effects == ["pause"]
