"""Dead letters on a real broker: listed, mended, replayed, dropped, exported."""

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections import Counter

import aio_pika
import pytest

from jarvis_recorder.broker import dead_letter_queue
from jarvis_recorder.broker.dead_letter_queue import open_dead_letter_queue
from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin, Filter, ReplayOutcome
from jarvis_recorder.errors import NotFound
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.wire.dead_letter import identity_of
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.raw_amqp import RawPublisher
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker

DEAD = "jarvis.recorder.dead"
QUEUE = "jarvis.recorder.events"
MESSAGE_ID = 1 << 7


@pytest.fixture
def jarvis(amqp_url):
    def run(*arguments, url=amqp_url, **environment):
        return subprocess.run(
            [sys.executable, "-m", "jarvis_recorder", "dead", *map(str, arguments),
             "--set", f"broker.url={url}"],
            check=False, capture_output=True, text=True, timeout=120,
            env=os.environ | environment,
        )  # fmt: skip

    return run


def answer(ended):
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


async def waiting(url):
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue(DEAD)
        return queue.declaration_result.message_count


async def until_waiting(url, count):
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 120
    while (found := await waiting(url)) != count:
        assert loop.time() < deadline, f"{found} letters wait, and not {count}"
        await asyncio.sleep(0.1)


async def bury(url, reason, number, **properties):
    """Put good messages among the dead letters, as if the storage had refused them then."""
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("jarvis.dead", ensure=False)
        headers = {
            "x-recorder-reason": reason,
            "x-recorder-routing-key": EVENT_KEY,
            "x-recorder-exchange": "jarvis",
        }
        body = json.dumps(event(number)).encode()
        message = aio_pika.Message(body, headers=headers, **properties)
        await exchange.publish(message, QUEUE)


async def reject_one(url):
    """Have the broker dead-letter a message by itself, while nobody else consumes."""
    await publish(url, (EVENT_KEY, event(5_000), {"message_id": "rejected"}))
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        queue = await (await connection.channel()).get_queue(QUEUE)
        await (await queue.get(timeout=10)).reject(requeue=False)


BAD = {
    "not_json": (300, lambda n: (b"{not json %d" % n, {})),
    "invalid": (394, lambda n: ({"type": "alert", "number": n}, {})),
    "unsupported_encoding": (50, lambda n: (event(n), {"content_encoding": "br"})),
    "too_large": (2, lambda n: (b'"%d%b"' % (n, b"x" * 4_300_000), {})),
    "id_collision": (50, lambda n: (event(1, summary=f"another {n}"), {"message_id": "taken"})),
}


async def test_a_thousand_of_all_reasons_are_replayed(amqp_url, start_recorder, jarvis, tmp_path):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    recorder.stop()
    await reject_one(amqp_url)
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")

    await publish(amqp_url, (EVENT_KEY, event(1), {"message_id": "taken"}))
    await asyncio.to_thread(wait_until, lambda: recorder.count("events") == 1, "it is recorded")
    messages = []
    for reason, (count, make) in BAD.items():
        for number in range(count):
            body, known = make(number)
            messages.append((EVENT_KEY, body, {"message_id": f"{reason}-{number}"} | known))
    await publish(amqp_url, *messages)
    with RawPublisher(amqp_url) as raw:
        undecodable = b"\x02\xff\xfe"
        for _ in range(3):
            raw.publish(b"jarvis", EVENT_KEY.encode(), MESSAGE_ID, undecodable, b"{}")
    for reason in ("refused_by_storage", "internal"):
        for number in range(100):
            await bury(amqp_url, reason, number, message_id=f"{reason}-{number}")
    # Half of those were recorded by another way meanwhile.
    await publish(
        amqp_url,
        *((EVENT_KEY, event(n), {"message_id": f"internal-{n}"}) for n in range(100)),
    )
    await until_waiting(amqp_url, 1_000)
    await asyncio.to_thread(wait_until, lambda: recorder.count("events") == 101, "all recorded")

    listed = answer(jarvis("list", "--json", "--limit", "2000"))
    invalid = next(one for one in listed["letters"] if one["reason"] == "invalid")
    editor = tmp_path / "editor"
    editor.write_text(f"#!/bin/sh\ncat > \"$1\" <<'E'\n{json.dumps(event(9_000))}\nE\n")
    editor.chmod(0o700)
    mended = jarvis("replay", invalid["id"], "--edit", EDITOR=str(editor))
    assert (mended.stdout, mended.stderr) == ("1 replayed\n", "")
    await until_waiting(amqp_url, 999)
    replayed = answer(jarvis("replay", "--all", "--json"))

    # 101 were there, 100 refused by the storage are new, one was rejected, one was mended.
    await asyncio.to_thread(wait_until, lambda: recorder.count("events") == 203, "recorded once")
    bad = sum(count for count, _ in BAD.values()) - 1 + 3
    await until_waiting(amqp_url, bad)
    back = answer(jarvis("list", "--json", "--limit", "2000"))

    assert len(listed["letters"]) == 1_000
    assert listed["counts"] == {
        **{reason: count for reason, (count, _) in BAD.items()},
        "undecodable": 3,
        "refused_by_storage": 100,
        "internal": 100,
        "rejected": 1,
    }
    assert replayed == {"replayed": 999, "not_confirmed": 0, "no_topic": 0}
    assert recorder.count("events") == 203
    assert Counter(one["replays"] for one in back["letters"] if one["reason"] in BAD) == {
        1: bad - 3
    }


async def test_looking_changes_nothing_however_often(amqp_url, start_recorder):
    start_recorder(amqp_url).wait_for("recording")
    await publish(amqp_url, *((EVENT_KEY, b"x%d" % n, {}) for n in range(20)))
    await until_waiting(amqp_url, 20)
    letters = DeadLetterAdmin(amqp_url)

    seen = [[found.letter.id async for found in letters.iterate(Filter())] for _ in range(25)]

    assert {frozenset(ids) for ids in seen} == {frozenset(seen[0])}
    assert len(seen[0]) == await waiting(amqp_url) == 20


@pytest.mark.parametrize("together", [7, 1_000], ids=["in parts", "at once"])
async def test_one_is_opened_wherever_it_is_and_all_stay(
    amqp_url, start_recorder, monkeypatch, together
):
    """Consumed in parts, with less room than they take, and renewed where they were seen often."""
    start_recorder(amqp_url).wait_for("recording")
    await publish(amqp_url, *((EVENT_KEY, b"x%d" % n, {}) for n in range(40)))
    await until_waiting(amqp_url, 40)
    monkeypatch.setattr(dead_letter_queue, "_FIRST_CONSUMED", together)
    monkeypatch.setattr(dead_letter_queue, "_MOST_CONSUMED", together)
    monkeypatch.setattr(dead_letter_queue, "_HELD_BYTES", 5)
    letters = DeadLetterAdmin(amqp_url)
    every = [found async for found in letters.iterate(Filter())]

    opened = [await letters.get(every[place].letter.id) for place in (0, 6, 7, 20, 39)]
    for _ in range(8):
        await letters.get(every[39].letter.id)

    assert [one.delivery.body for one in opened] == [
        every[place].delivery.body for place in (0, 6, 7, 20, 39)
    ]
    with pytest.raises(NotFound):
        await letters.get("000000000000")
    kept = [found.letter.id async for found in letters.iterate(Filter())]
    assert sorted(kept) == sorted(one.letter.id for one in every)
    assert await waiting(amqp_url) == 40


async def test_one_is_opened_while_others_look(amqp_url, start_recorder):
    start_recorder(amqp_url).wait_for("recording")
    await publish(amqp_url, *((EVENT_KEY, b"x%d" % n, {}) for n in range(20)))
    await until_waiting(amqp_url, 20)
    ids = [found.letter.id async for found in DeadLetterAdmin(amqp_url).iterate(Filter())]

    async with open_dead_letter_queue(Addresses(amqp_url)) as queue:
        deliveries = queue.deliveries()
        held = [identity_of(await anext(deliveries)) for _ in range(5)]
        free = next(one for one in ids if one not in held)
        found = await DeadLetterAdmin(amqp_url).get(free)

    assert found.letter.id == free
    await until_waiting(amqp_url, 20)


async def test_all_are_back_in_the_queue_when_a_look_ends(amqp_url, start_recorder):
    start_recorder(amqp_url).wait_for("recording")
    await publish(amqp_url, *((EVENT_KEY, b"x%d" % n, {}) for n in range(1_500)))
    await until_waiting(amqp_url, 1_500)
    connection = await aio_pika.connect(amqp_url, timeout=60)
    async with connection:
        channel = await connection.channel()
        counts = []
        for _ in range(5):
            async with open_dead_letter_queue(Addresses(amqp_url)) as queue:
                assert len([one async for one in queue.deliveries()]) == 1_500
            counts.append((await channel.declare_queue(DEAD, passive=True)).declaration_result)

    assert [count.message_count for count in counts] == [1_500] * 5


async def test_an_element_of_a_batch_keeps_its_identity(amqp_url, start_recorder, jarvis, tmp_path):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    batch = [event(1), event(2, summary=None), event(3)]
    await publish(amqp_url, (EVENT_KEY, batch, {"message_id": "b"}))
    await until_waiting(amqp_url, 1)
    (dead,) = answer(jarvis("list", "--json"))["letters"]
    body = tmp_path / "body.json"
    body.write_text(json.dumps(event(2)))

    assert dead["message_id"] == "b/1"
    assert jarvis("replay", dead["id"], "--body", body).returncode == 0
    await asyncio.to_thread(wait_until, lambda: recorder.count("events") == 3, "it is recorded")
    await publish(amqp_url, (EVENT_KEY, [event(1), event(2), event(3)], {"message_id": "b"}))
    await publish(amqp_url, (EVENT_KEY, event(4), {"message_id": "behind"}))
    await asyncio.to_thread(wait_until, lambda: recorder.count("events") == 4, "the last is there")


async def test_a_body_that_would_be_refused_again_is_not_sent(amqp_url, start_recorder, jarvis):
    start_recorder(amqp_url).wait_for("recording")
    await publish(amqp_url, (EVENT_KEY, b"{", {}))
    await until_waiting(amqp_url, 1)
    (dead,) = answer(jarvis("list", "--json"))["letters"]

    refused = jarvis("replay", dead["id"], "--body", "/dev/null")
    unknown = jarvis("replay", "000000000000")

    assert refused.returncode == unknown.returncode == 1
    assert "it would be refused again" in refused.stderr
    assert "no such dead letter" in unknown.stderr
    assert await waiting(amqp_url) == 1


async def test_what_is_exported_is_whole_and_what_is_dropped_is_gone(
    amqp_url, start_recorder, jarvis, tmp_path
):
    start_recorder(amqp_url).wait_for("recording")
    with RawPublisher(amqp_url) as raw:
        raw.publish(
            b"jarvis", b"cluster.event.\xff", MESSAGE_ID, b"\x02\xff\xfe", b"\x00\xff\x1b[2J"
        )
    await publish(amqp_url, (EVENT_KEY, b'{"\x1b[2J', {"message_id": "m"}))
    await until_waiting(amqp_url, 2)
    file = tmp_path / "dead.jsonl"

    assert jarvis("export", file).returncode == 0
    exported = [json.loads(line) for line in file.read_text().splitlines()]
    shown = [jarvis("show", one["id"]) for one in exported]
    nobody = jarvis("drop", "--all")
    dropped = answer(jarvis("drop", exported[0]["id"], "--yes", "--json"))

    assert base64.b64decode(exported[0]["body_base64"]) == b"\x00\xff\x1b[2J"
    assert base64.b64decode(exported[0]["properties_base64"]).endswith(b"\x02\xff\xfe")
    assert "00 ff 1b 5b" in shown[0].stdout
    assert "␛[2J" in shown[1].stdout
    assert not any("\x1b" in one.stdout for one in shown)
    assert nobody.returncode == 2
    assert dropped == {"dropped": 1}
    assert await waiting(amqp_url) == 1


async def test_one_too_large_to_be_shown_is_named_replayed_exported_and_dropped(
    generous_url, start_recorder, jarvis, tmp_path
):
    start_recorder(generous_url).wait_for("recording")
    body = b"x" * (16 * 1024 * 1024 + 1)
    # The recorder does not read it, so the broker dead-letters it.
    await publish(generous_url, (EVENT_KEY, body, {"message_id": "large"}))
    await until_waiting(generous_url, 1)
    letters = DeadLetterAdmin(generous_url)

    (listed,) = [found async for found in letters.iterate(Filter())]
    opened = await letters.get(listed.letter.id)
    shown = jarvis("show", listed.letter.id, url=generous_url)
    edited = jarvis("replay", listed.letter.id, "--edit", url=generous_url, EDITOR="true")
    file = tmp_path / "dead.jsonl"
    assert jarvis("export", file, url=generous_url).returncode == 0
    exported = json.loads(file.read_text())

    assert (listed.letter.size_bytes, listed.delivery.body) == (len(body), b"")
    assert opened.letter == listed.letter
    assert opened.is_without_body
    assert "too large to be shown" in shown.stdout
    assert (edited.returncode, "too large to be edited" in edited.stderr) == (1, True)
    assert (exported["id"], exported["body"]) == (listed.letter.id, body.decode())

    assert (await letters.replay(Filter(ids=[listed.letter.id])))[ReplayOutcome.REPLAYED] == 1
    await until_waiting(generous_url, 1)
    (again,) = [found async for found in letters.iterate(Filter())]
    assert (again.letter.replays, again.letter.size_bytes) == (1, len(body))
    assert await letters.drop(Filter(ids=[again.letter.id])) == 1
    assert await waiting(generous_url) == 0


async def test_a_dead_letter_that_is_from_elsewhere_stays(amqp_url, start_recorder):
    start_recorder(amqp_url).wait_for("recording")
    connection = await aio_pika.connect(amqp_url, timeout=60)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("jarvis.dead", ensure=False)
        await exchange.publish(aio_pika.Message(b"{}"), "orders")

    outcomes = await DeadLetterAdmin(amqp_url).replay(Filter())

    assert outcomes[ReplayOutcome.NO_TOPIC] == 1
    assert await waiting(amqp_url) == 1
