"""Dead letters of what is refused: when, with what, how many."""

import asyncio
import gzip
import json
from hashlib import sha256

import pytest
from structlog.testing import capture_logs

from jarvis_recorder import __version__
from jarvis_recorder.errors import (
    NotConfirmed,
)
from jarvis_recorder.ingest import dead_letter_publisher as dead_letters_module
from jarvis_recorder.wire.refusal import MOST_REFUSED_ALONE
from tests.support.amqp_bytes import content_header
from tests.support.pipeline import (
    stored,
    unmarshalled,
    until,
)
from tests.support.publisher import event


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
