"""The index of the dead letters: written beside recording, corrected by looks, never in the way."""

import asyncio
import time
from dataclasses import asdict, replace
from datetime import timedelta

from jarvis_recorder.client.dead_letter_look import Look
from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.storage import dead_letters as module
from jarvis_recorder.storage.dead_letters import EngineDeadLetterIndex
from jarvis_recorder.wire.dead_letter import DeadLetter, fault_of
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import (
    ListDeadFaults,
    ListDeadLetters,
    ReadDeadLetters,
    ReconcileDeadLetters,
    WaitingLetter,
)
from jarvis_recorder.wire.rpc.results import DeadLetterFaults, IndexedDeadLetters
from jarvis_recorder.wire.times import to_datetime
from tests.support.amqp_bytes import delivery
from tests.support.archive import NOW, ask

QUEUE = "jarvis.recorder.events"
NOON = to_datetime(NOW)


def letter(number, error="line 1: no JSON", **more):
    found = DeadLetter(
        id=f"{number:012x}", reason="not_json", error=error, queue=QUEUE, exchange="jarvis",
        routing_key="cluster.event.alert.info", received_at=NOON + timedelta(seconds=number),
        message_id=None, size_bytes=10, replays=0,
    )  # fmt: skip
    return replace(found, **more)


async def indexed(store, *letters, seconds_ago=60):
    index = EngineDeadLetterIndex(store.writer, lambda: NOW - seconds_ago * 1_000_000)
    for one in letters:
        index.note(one)
    await index.finish()


async def read(store, asked, waiting=None, room=jsonrpc.MAX_REPLY_BYTES):
    until = asyncio.get_running_loop().time() + 60
    question = ReadDeadLetters(asked=asked, waiting=waiting)
    shape = IndexedDeadLetters if isinstance(asked, ListDeadLetters) else DeadLetterFaults
    return adapter(shape).validate_json(await store.archive.answer(question, until, room))


async def ids(store, **asked):
    return [one.id for one in (await read(store, ListDeadLetters(**asked))).letters]


async def reconciled(store, *letters, ago=0.0, **part):
    found = [WaitingLetter(**asdict(one)) for one in letters]
    return await ask(
        store, ReconcileDeadLetters(letters=found, began_seconds_ago=ago, **part), 60.0
    )


async def test_dead_letters_are_listed_newest_first_whatever_the_order_of_their_confirms(store):
    await indexed(store, letter(2), letter(3), letter(1, message_id="a", replays=2))

    page = await read(store, ListDeadLetters(limit=2), waiting=3)
    rest = await read(store, ListDeadLetters(limit=2, cursor=page.next_cursor), waiting=3)

    assert [one.id[-1] for one in (*page.letters, *rest.letters)] == ["3", "2", "1"]
    assert rest.next_cursor is None
    assert (page.waiting, page.indexed, page.complete) == (3, 3, True)
    last = rest.letters[0]
    assert (last.message_id, last.replays, last.copies) == ("a", 2, 1)
    assert last.received_at == NOON + timedelta(seconds=1)


async def test_one_fault_is_counted_whatever_numbers_its_errors_have(store):
    await indexed(
        store,
        *(letter(n, f"line {n}, column {n * 7}: no JSON") for n in range(1, 6)),
        letter(6, "line 1: no JSON", reason="invalid"),
        letter(7, "line 1, column 1: no JSON", queue="jarvis.recorder.turns"),
    )

    faults = (await read(store, ListDeadFaults())).faults
    few = await read(store, ListDeadFaults(limit=1))

    assert [(one.fault, one.reason, one.queue, one.count) for one in faults] == [
        ("line N, column N: no JSON", "not_json", QUEUE, 5),
        ("line N, column N: no JSON", "not_json", "jarvis.recorder.turns", 1),
        ("line N: no JSON", "invalid", QUEUE, 1),
    ]
    first = faults[0]
    assert (first.first_at, first.last_at) == (letter(1).received_at, letter(5).received_at)
    assert first.example_id == letter(5).id
    assert (len(few.faults), few.truncated) == (1, True)


async def test_filters_combine(store):
    await indexed(
        store,
        letter(1, "line 1"),
        letter(2, "line 2", reason="invalid"),
        letter(3, "depth", reason="invalid"),
        letter(4, "depth", reason="invalid", queue="other"),
    )

    assert await ids(store, reason="invalid", queue=QUEUE) == [letter(3).id, letter(2).id]
    assert await ids(store, fault=fault_of("line 77")) == [letter(2).id, letter(1).id]
    since, until = letter(2).received_at, letter(4).received_at
    assert await ids(store, since=since, until=until) == [letter(3).id, letter(2).id]
    counted = await read(store, ListDeadFaults(reason="invalid", since=since, until=until))
    assert [(one.fault, one.count) for one in counted.faults] == [("depth", 1), ("line N", 1)]


async def test_an_index_with_fewer_or_more_than_wait_says_that_it_is_not_complete(store):
    await indexed(store, letter(1))

    said = [
        (page.waiting, page.indexed, page.complete)
        for asked in (ListDeadLetters(), ListDeadFaults())
        for waiting in (0, 1, 2, None)
        for page in [await read(store, asked, waiting)]
    ]

    assert said == 2 * [(0, 1, False), (1, 1, True), (2, 1, False), (None, 1, False)]


async def test_a_dead_letter_that_is_noted_twice_is_indexed_once(store):
    await indexed(store, letter(1), letter(1))
    await indexed(store, letter(1))

    assert (await read(store, ListDeadLetters())).indexed == 1


async def test_the_texts_of_any_publisher_can_be_indexed_and_are_bounded(store):
    long = "\0" + "x" * 5_000
    await indexed(
        store,
        letter(1, long, reason=long, exchange=long, routing_key=long, queue=long, message_id=long),
        letter(2, "\ud800"),
    )

    two, one = (await read(store, ListDeadLetters())).letters
    assert two.error == "?"
    assert one.error == "\ufffd" + "x" * 1_023
    for text in (one.reason, one.fault, one.exchange, one.routing_key, one.queue, one.message_id):
        assert text == "\ufffd" + "x" * 254


async def test_the_index_keeps_the_newest_of_very_many(store, monkeypatch):
    monkeypatch.setattr(module, "MOST_INDEXED", 3)

    await indexed(store, letter(1), letter(5), letter(3))
    await indexed(store, letter(4), letter(2))

    assert await ids(store) == [letter(n).id for n in (5, 4, 3)]


async def test_a_look_makes_the_index_the_same_as_the_queue(store):
    await indexed(store, letter(1), letter(2), letter(3))

    found = [letter(2), letter(4, received_at=None, error="given up by the broker")]
    first = await reconciled(store, *found)
    again = await reconciled(store, *found)

    assert (first.added, first.removed) == (1, 2)
    assert (again.added, again.removed) == (0, 0)
    # One without a time is listed by the time at which it was found.
    assert await ids(store) == [letter(2).id, letter(4).id]


async def test_what_was_indexed_since_the_look_began_stays(store):
    await indexed(store, letter(1), seconds_ago=60)
    await indexed(store, letter(2), seconds_ago=30)

    done = await reconciled(store, ago=45.0)

    assert done.removed == 1
    assert await ids(store) == [letter(2).id]


async def test_a_part_corrects_no_other_part(store):
    await indexed(store, *(letter(n) for n in range(1, 7)))

    await reconciled(store, letter(3), after=letter(2).id, up_to=letter(4).id)
    assert await ids(store) == [letter(n).id for n in (6, 5, 3, 2, 1)]

    await reconciled(store, up_to=letter(1).id)
    await reconciled(store, after=letter(5).id)
    assert await ids(store) == [letter(n).id for n in (5, 3, 2)]


def seen(*letters):
    look = Look(time.monotonic())
    for tag, one in enumerate(letters):
        look.saw(one, delivery(b"", tag))
    return look


def requests_of(look):
    bodies = list(look.requests())
    assert all(len(body) < 64 * 1024 for body in bodies)
    (calls,) = zip(*[jsonrpc.parse_calls(body).calls for body in bodies], strict=True)
    assert all(call.is_notification for call in calls)
    return [jsonrpc.read_params(call.method, call.params) for call in calls]


async def test_a_look_at_very_many_is_told_in_parts_which_together_are_all_ids(store):
    await indexed(store, *(letter(n) for n in range(400)))
    there = [letter(n, "x" * 1_000) for n in range(200, 500)]

    requests = requests_of(seen(*there))
    assert len(requests) > 5
    for request in reversed(requests):  # in any order
        await ask(store, replace(request, began_seconds_ago=0.0), 60.0)

    assert await ids(store, limit=1_000) == [one.id for one in reversed(there)]


async def test_a_look_at_an_empty_queue_empties_the_index(store):
    await indexed(store, letter(1))

    (request,) = requests_of(seen())
    await ask(store, request, 60.0)

    assert await ids(store) == []


async def test_dead_letters_that_are_the_same_to_the_last_byte_count_as_so_many(store):
    await indexed(store, letter(1))
    twice = seen(letter(1), letter(1), letter(2))

    (request,) = requests_of(twice)
    await ask(store, request, 60.0)
    page = await read(store, ListDeadLetters(), waiting=3)
    faults = await read(store, ListDeadFaults(), waiting=3)

    assert [one.copies for one in page.letters] == [1, 2]
    assert (page.indexed, page.complete) == (3, True)
    assert [one.count for one in faults.faults] == [3]

    twice.removed(delivery(b"", 1))
    (request,) = requests_of(twice)
    await ask(store, request, 60.0)
    assert (await read(store, ListDeadLetters())).indexed == 2


class Unavailable:
    """A writer that is out of order for a while."""

    def __init__(self, writer, failures):
        self._writer = writer
        self.failures = failures
        self.crowded = asyncio.Event()
        self.tried = asyncio.Event()

    def require_room(self):
        self.tried.set()
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("the disk is full")

    def require_bounds(self, connection):
        self._writer.require_bounds(connection)

    async def run(self, work):
        return await self._writer.run(work)


async def test_while_the_database_is_unavailable_dead_letters_wait_bounded(store, monkeypatch):
    monkeypatch.setattr(module, "_MOST_NOTED_BYTES", 3_000)
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.01)
    writer = Unavailable(store.writer, failures=3)
    index = EngineDeadLetterIndex(writer, lambda: NOW)
    stop = asyncio.Event()
    running = asyncio.create_task(index.run(stop))

    for number in range(5):
        index.note(letter(number))
    async with asyncio.timeout(60):
        while await ids(store) != [letter(n).id for n in (2, 1, 0)]:
            await asyncio.sleep(0.01)
    stop.set()
    await running

    assert writer.failures == 0


async def test_what_is_noted_as_the_recorder_stops_is_indexed_or_given_up_in_silence(store):
    index = EngineDeadLetterIndex(Unavailable(store.writer, failures=1), lambda: NOW)
    index.note(letter(1))

    await index.finish()
    assert await ids(store) == []
    await index.finish()
    assert await ids(store) == [letter(1).id]
