"""The index of the dead letters agrees with their queue, or says that it does not."""

import asyncio
import subprocess
import sys
from dataclasses import asdict

import aio_pika
import pytest

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin, Filter
from tests.support.engines import on_both
from tests.support.publisher import EVENT_KEY, event, publish

pytestmark = [pytest.mark.broker, on_both]

DEAD = "jarvis.recorder.dead"


@pytest.fixture
def start(start_recorder, amqp_url):
    def start():
        recorder = start_recorder(amqp_url)
        recorder.wait_for("recording")
        recorder.wait_for("answering")
        return recorder

    return start


@pytest.fixture
async def client(amqp_url):
    async with RecorderClient(amqp_url, timeout=60) as client:
        yield client


async def junk(url, count, first=0):
    await publish(
        url,
        *(
            (EVENT_KEY, b"{not json %d" % n, {"message_id": f"junk-{n}"})
            for n in range(first, first + count)
        ),
    )


async def bury(url, count):
    """Put dead letters in their queue that no recorder knows of, as if it had been killed."""
    async with await aio_pika.connect(url, timeout=60) as connection:
        exchange = await (await connection.channel()).get_exchange("jarvis.dead", ensure=False)
        for number in range(count):
            message = aio_pika.Message(
                b"{", message_id=f"buried-{number}", headers={"x-recorder-reason": "not_json"}
            )
            await exchange.publish(message, "jarvis.recorder.events")


async def until(client, is_so):
    """Return a page of the index once it is so."""
    async with asyncio.timeout(240):
        while not is_so(page := await client.dead.list(limit=1_000)):
            await asyncio.sleep(0.05)
    return page


async def until_complete(client, count):
    return await until(client, lambda page: page.complete and page.indexed == count)


async def in_queue(letters):
    return {found.letter.id: asdict(found.letter) async for found in letters.iterate(Filter())}


def in_index(page):
    """Return what the index has of each, as the queue has it."""
    return {
        one.id: {name: value for name, value in asdict(one).items() if name not in _OWN}
        for one in page.letters
    }


_OWN = ("fault", "copies")


async def test_what_the_recorder_dead_letters_is_indexed_as_the_queue_has_it(
    start, amqp_url, client
):
    start()
    await junk(amqp_url, 30)
    await publish(
        amqp_url,
        (EVENT_KEY, event(severity="urgent"), {"message_id": "ä" * 20, "headers": {"a": 1}}),
        (EVENT_KEY, [event(1), {"type": "?"}, {"type": "!"}], {"message_id": "several"}),
        (EVENT_KEY, b"\x1f\x8b?", {"content_encoding": "gzip", "expiration": 600, "priority": 3}),
        (EVENT_KEY, b"x" * 5_000_000, {}),
    )

    page = await until_complete(client, 35)
    faults = await client.dead.faults()

    assert in_index(page) == await in_queue(DeadLetterAdmin(amqp_url))
    assert sum(one.count for one in faults.faults) == 35
    assert faults.faults[0].count >= 30
    assert (faults.waiting, faults.complete, faults.truncated) == (35, True, False)


async def test_after_a_purge_the_index_says_so_and_a_look_corrects_it(start, amqp_url, client):
    start()
    await junk(amqp_url, 20)
    await until_complete(client, 20)

    async with await aio_pika.connect(amqp_url, timeout=60) as connection:
        await (await (await connection.channel()).get_queue(DEAD, ensure=False)).purge()
    page = await client.dead.list()

    assert (page.waiting, page.indexed, page.complete) == (0, 20, False)
    assert await in_queue(DeadLetterAdmin(amqp_url)) == {}
    page = await until_complete(client, 0)
    assert page.letters == []


async def test_after_a_replay_and_a_drop_the_index_agrees_with_the_queue(start, amqp_url, client):
    start()
    await junk(amqp_url, 20)
    page = await until_complete(client, 20)
    first, second, *_ = [one.id for one in page.letters]
    letters = DeadLetterAdmin(amqp_url)

    assert await letters.drop(Filter(ids=(first,))) == 1
    page = await until_complete(client, 19)
    assert first not in in_index(page)

    # It fails again: it comes back as another dead letter, with a count.
    await letters.replay(Filter(ids=(second,)))
    page = await until(
        client,
        lambda page: page.complete and second not in in_index(page) and len(page.letters) == 19,
    )
    assert [one.replays for one in page.letters].count(1) == 1
    assert in_index(page) == await in_queue(letters)

    await letters.drop(Filter())
    await until_complete(client, 0)


async def test_after_a_crash_the_index_says_that_it_is_behind_until_someone_looks(
    start, amqp_url, client
):
    recorder = start()
    await junk(amqp_url, 300)
    await until(client, lambda page: page.indexed)
    recorder.kill()
    await bury(amqp_url, 10)
    start()
    # Those that were not acked come again, and are in the queue twice.
    page = await until(client, lambda page: (page.waiting or 0) >= 310)
    assert not page.complete

    ended = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable, "-m", "jarvis_recorder", "dead", "list", "--json",
            "--set", f"broker.url={amqp_url}",
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip

    assert ended.stderr == b""
    page = await until(client, lambda page: page.complete)
    assert in_index(page) == await in_queue(DeadLetterAdmin(amqp_url))


async def test_a_look_works_as_before_while_no_recorder_runs(amqp_url, start):
    recorder = start()
    await junk(amqp_url, 5)
    async with RecorderClient(amqp_url, timeout=60) as client:
        await until_complete(client, 5)
        recorder.stop()
        letters = DeadLetterAdmin(amqp_url)
        assert len(await in_queue(letters)) == 5
        assert await letters.drop(Filter()) == 5

        start()
        page = await client.dead.list()
        assert page.complete is (page.indexed == 0)
        await in_queue(letters)
        await until_complete(client, 0)
