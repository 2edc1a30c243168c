"""The erasure of a conversation of any size: small steps next to recording, and what they leave."""

import asyncio
import contextlib
import random
import sqlite3
import threading
import tracemalloc
from string import ascii_letters

import pytest

from jarvis_recorder.errors import Conflict, DeadlineExceeded, OutcomeUnknown, StorageUnavailable
from jarvis_recorder.retention_policy import DAY
from jarvis_recorder.storage.erasure import MOST_BYTES, MOST_TURNS
from jarvis_recorder.storage.sqlite import files
from jarvis_recorder.storage.sqlite.search import take_words_out
from jarvis_recorder.storage.sqlite.store import open_store
from jarvis_recorder.storage.tables import conversations
from jarvis_recorder.wire.records import Record, Turn
from jarvis_recorder.wire.rpc.params import DeleteConversation, SearchTurns
from jarvis_recorder.wire.topics import Kind
from tests.support.archive import NOW, ask, clock, rows

MIB = 1024 * 1024
LONG = 5 * MOST_TURNS + 20
ERASE = DeleteConversation(session_id="s")
CHANCE = random.Random(7)
LETTERS = bytes(ord(ascii_letters[n % 52]) for n in range(256))
LARGE = ("größe" + "x" * 30_000 + " ") * 4


def turn(number, content="hello", session="s", age=0):
    body = Turn(session_id=session, role="user", content=content)
    return Record(Kind.TURN, f"t-{number}", NOW - age + number, False, body, None)


async def say(store, *turns):
    await store.repository.append(list(turns), NOW)


async def count(store, session="s"):
    of_session = f"SELECT count(*) FROM conversations WHERE session_id = '{session}'"
    ((found,),) = await rows(store, of_session)
    return found


def between_steps(store, do):
    """Have `do` called after each step that deletes, with the number of steps so far."""
    steps = 0
    made = store.writer.run_with_room

    async def observed(*arguments):
        nonlocal steps
        answer = await made(*arguments)
        steps += 1
        await do(steps)
        return answer

    store.writer.run_with_room = observed


def keep_deleted(store):
    """Have nothing of deleted rows overwritten; return the calls, each a future that ends it."""
    calls = []

    async def forget():
        calls.append(asyncio.get_running_loop().create_future())
        await calls[-1]

    store.writer.forget_deleted = forget
    return calls


async def forget_nothing():
    """Stand for the overwriting of what was deleted."""


@contextlib.contextmanager
def time_over():
    """Let a day pass on the event loop's clock inside the block."""
    loop = asyncio.get_running_loop()
    real = loop.time
    loop.time = lambda: real() + 86_400
    try:
        yield
    finally:
        loop.time = real


async def test_a_long_conversation_goes_in_steps_and_what_is_recorded_meanwhile_is_kept(store):
    # The one with the highest id is the oldest.
    await say(store, *(turn(n) for n in range(LONG - 1)), turn(-1, age=2 * DAY))
    left = []

    async def record(step):
        # Of the same conversation, older or newer than what goes next.
        await say(store, turn(10_000 + step, "new", age=DAY if step % 2 else -DAY))
        left.append(await count(store) - step)

    between_steps(store, record)
    answer = await ask(store, ERASE, 60)

    assert answer.deleted == LONG
    steps = left[:6]
    assert steps == [420, 320, 220, 120, 20, 0]
    assert await rows(store, "SELECT DISTINCT content FROM conversations") == [("new",)]
    assert (await ask(store, SearchTurns(query="hello"))).turns == []


async def test_a_step_deletes_few_bytes_whatever_is_in_a_turn(store):
    await say(store, *(turn(n, letters(MOST_BYTES * 2 // 5)) for n in range(9)))
    await say(store, turn(9, letters(2 * MOST_BYTES)))
    left = []

    async def look(_):
        left.append(await count(store))

    between_steps(store, look)
    await ask(store, ERASE, 60)

    # The large one is a step of its own.
    assert left[:6] == [8, 6, 4, 2, 1, 0]


def letters(size):
    """Return a word that a server cannot compress."""
    return CHANCE.randbytes(size).translate(LETTERS).decode()


async def test_the_log_of_an_erasure_keeps_within_the_room(sqlite_store, path):
    for number in range(0, 40, 4):
        await say(sqlite_store, *(turn(n, f"{n} " * 80_000) for n in range(number, number + 4)))
    await sqlite_store.writer.empty_log()
    log = files.companions(path)[0]
    sqlite_store.writer.most_bytes = files.size(path) + 2 * MIB
    longest = 0

    async def look(_):
        nonlocal longest
        longest = max(longest, files.size(log))

    between_steps(sqlite_store, look)
    assert (await ask(sqlite_store, ERASE, 60)).deleted == 40

    # The step that crosses the limit is made, and with it SQLite may merge those before.
    assert longest < 6 * MIB


async def test_few_turns_are_in_memory_at_a_time(sqlite_store):
    """Words that are not ASCII are made again, to take them out of the index."""
    for number in range(100):
        await say(sqlite_store, turn(number, LARGE))

    def take_out(connection):
        take_words_out(connection, conversations.c.id > 0)
        raise Conflict("to be rolled back")

    with most_memory() as of_words, contextlib.suppress(Conflict):
        await sqlite_store.writer.run(take_out)
    with most_memory() as of_all:
        assert (await ask(sqlite_store, ERASE, 120)).deleted == 100

    assert of_words[0] < 80 * len(LARGE)
    assert of_all[0] < 40 * len(LARGE)


@contextlib.contextmanager
def most_memory():
    """Yield a list that has the most memory that Python takes inside the block, after it."""
    most = []
    tracemalloc.start()
    try:
        yield most
        most.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


async def test_to_erase_nothing_overwrites_nothing(store):
    await say(store, turn(1, session="another"))
    calls = []

    async def forget():
        calls.append("forget")

    store.writer.forget_deleted = forget
    answers = [await ask(store, ERASE, 60) for _ in range(3)]

    assert [one.deleted for one in answers] == [0, 0, 0]
    assert calls == []
    assert await count(store, "another") == 1


async def test_many_erasures_are_overwritten_by_one_task_and_once_again(store):
    await say(store, *(turn(n, session=f"s{n}") for n in range(40)))
    calls = keep_deleted(store)
    erasing = [
        asyncio.create_task(ask(store, DeleteConversation(session_id=f"s{n}"), 60))
        for n in range(40)
    ]
    while not calls or store.archive._eraser._erasing:
        await asyncio.sleep(0.01)

    assert await rows(store, "SELECT count(*) FROM conversations") == [(0,)]
    assert len(calls) == 1
    calls[0].set_result(None)
    while len(calls) < 2:
        await asyncio.sleep(0.01)
    calls[1].set_result(None)

    assert [one.deleted for one in await asyncio.gather(*erasing)] == [1] * 40
    assert len(calls) == 2


async def test_what_is_committed_is_answered_though_words_are_left_at_the_deadline(store):
    await say(store, *(turn(n) for n in range(3)))
    calls = keep_deleted(store)
    erasing = asyncio.create_task(ask(store, ERASE, 60))
    while not calls:
        await asyncio.sleep(0.01)

    with time_over():
        assert (await erasing).deleted == 3


async def test_an_erasure_under_way_at_the_deadline_goes_on(store):
    await say(store, *(turn(n) for n in range(LONG)))
    first, goes_on = asyncio.Event(), asyncio.Event()

    async def wait(_):
        first.set()
        await goes_on.wait()

    between_steps(store, wait)
    erasing = asyncio.create_task(ask(store, ERASE, 60))
    await first.wait()
    with time_over(), pytest.raises(OutcomeUnknown, match="ask again"):
        await erasing
    assert await count(store) == LONG - MOST_TURNS
    goes_on.set()

    # It waits for the one before, and finds nothing.
    assert (await ask(store, ERASE, 60)).deleted == 0
    assert await count(store) == 0


async def test_an_erasure_that_has_not_begun_at_the_deadline_never_will(sqlite_store):
    await say(sqlite_store, turn(1))
    hangs = threading.Event()
    commit = asyncio.create_task(sqlite_store.writer.run(lambda _: hangs.wait(60)))
    await asyncio.sleep(0)
    try:
        with pytest.raises(DeadlineExceeded):
            await ask(sqlite_store, ERASE, 0.2)
    finally:
        hangs.set()
        await commit

    assert await count(sqlite_store) == 1


async def test_a_short_conversation_does_not_wait_for_a_long_one(store):
    await say(store, *(turn(n) for n in range(LONG)), turn(-1, session="short"))
    store.writer.forget_deleted = forget_nothing
    asked, left = [], []

    async def look(step):
        if step == 1:
            short = DeleteConversation(session_id="short")
            asked.append(asyncio.create_task(ask(store, short, 60)))
        if not await count(store, "short"):
            left.append(await count(store))

    between_steps(store, look)
    long = await ask(store, ERASE, 60)

    assert (long.deleted, (await asked[0]).deleted) == (LONG, 1)
    assert left[0] > MOST_TURNS


async def test_an_erasure_that_fails_between_two_steps_says_that_a_part_is_left(store):
    await say(store, *(turn(n) for n in range(LONG)))

    async def fail(step):
        if step == 2:

            async def refuse(*_):
                raise StorageUnavailable("no room")

            store.writer.run_with_room = refuse

    between_steps(store, fail)
    with pytest.raises(OutcomeUnknown, match="200 turns are erased"):
        await ask(store, ERASE, 60)
    del store.writer.run_with_room

    assert (await ask(store, ERASE, 60)).deleted == LONG - 200


async def test_one_that_fails_at_once_has_changed_nothing(store):
    await say(store, turn(1))

    async def refuse(*_):
        raise StorageUnavailable("no room")

    store.writer.run_with_room = refuse
    with pytest.raises(StorageUnavailable):
        await ask(store, ERASE, 60)
    del store.writer.run_with_room

    assert await count(store) == 1


async def test_a_new_turn_that_got_the_id_of_a_pruned_one_is_kept(sqlite_store):
    await say(sqlite_store, *(turn(n) for n in range(LONG - 2)))
    await say(sqlite_store, *(turn(n, age=100 * DAY) for n in (LONG - 2, LONG - 1)))

    async def prune(step):
        if step == 1:
            # Those of the oldest time have the highest ids.
            await rows(sqlite_store, f"DELETE FROM conversations WHERE id >= {LONG - 1}")
            await say(sqlite_store, turn(10_000, "new"), turn(10_001, "new"))

    between_steps(sqlite_store, prune)
    with pytest.raises(OutcomeUnknown, match="pruned"):
        await ask(sqlite_store, ERASE, 60)
    del sqlite_store.writer.run_with_room

    news = "SELECT id FROM conversations WHERE content = 'new' ORDER BY id"
    assert await rows(sqlite_store, news) == [(LONG - 1,), (LONG,)]


async def test_closing_ends_an_erasure_after_a_step_and_the_next_erases_the_rest(path):
    async with open_store(path, clock) as store:
        await say(store, *(turn(n) for n in range(LONG)))
        third = asyncio.Event()

        async def look(step):
            if step == 3:
                third.set()
                await asyncio.sleep(3_600)

        between_steps(store, look)
        erasing = asyncio.create_task(ask(store, ERASE, 60))
        await third.wait()
    with pytest.raises(asyncio.CancelledError):
        await erasing

    async with open_store(path, clock) as store:
        assert (await ask(store, ERASE, 60)).deleted == LONG - 3 * MOST_TURNS


async def test_closing_ends_the_overwriting(path):
    async with open_store(path, clock) as store:
        await say(store, turn(1))
        calls = keep_deleted(store)
        erasing = asyncio.create_task(ask(store, ERASE, 60))
        while not calls:
            await asyncio.sleep(0.01)

    assert (await erasing).deleted == 1
    assert calls[0].cancelled()


async def test_erased_words_go_though_turns_are_recorded_while_they_are_merged_away(
    sqlite_store, path
):
    """A few new segments keep SQLite from going on with a merge of few old ones."""
    await say(sqlite_store, *(turn(n, words(n), "others") for n in range(1_500)))
    await sqlite_store.writer.forget_deleted()
    await say(sqlite_store, turn(5_000, "xyzzy"))

    async def record(step):
        # The first step deletes, the second begins the merge.
        if step == 2:
            for number in range(3):
                await say(sqlite_store, turn(6_000 + number, "new", "others"))

    between_steps(sqlite_store, record)
    await ask(sqlite_store, ERASE, 120)

    assert blocks_with(path, b"xyzzy") == 0
    assert len((await ask(sqlite_store, SearchTurns(query="w17"))).turns) > 0


def words(number):
    return " ".join(f"w{number * 7 % 1_500}x{n}" for n in range(60)) + " w17"


def blocks_with(path, word):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        blocks = connection.execute("SELECT block FROM conversations_fts_data").fetchall()
    return sum(word in block for (block,) in blocks)


async def test_overwriting_waits_for_a_reader_outside_of_the_writers_turn(sqlite_store, path):
    """In SQLite's thread it would keep all others from writing for seconds."""
    await say(sqlite_store, turn(1))
    waits = []
    empty_log = sqlite_store.writer.empty_log

    async def observed(*, wait=False, until=None):
        waits.append(wait)
        return await empty_log(wait=wait, until=until)

    sqlite_store.writer.empty_log = observed
    await ask(sqlite_store, ERASE, 60)

    assert waits == [False]
    assert files.size(files.companions(path)[0]) == 0
