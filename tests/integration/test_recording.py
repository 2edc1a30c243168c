"""Every published message is recorded once, with all its content."""

import json
import zlib
from typing import Any

import pytest

from tests.support.engines import on_both
from tests.support.publisher import EVENT_KEY, dead_letters, event, publish
from tests.support.recorder import wait_until

pytestmark = [pytest.mark.broker, on_both]


async def test_an_event_keeps_every_field(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    body = event(7, details={"b": [1, 2.5, None], "a": "ü"}, reporter="cron", weight=3)

    await publish(amqp_url, (EVENT_KEY, body, {"message_id": "m-1"}))
    wait_until(recorder.count, "the event is recorded")

    (row,) = recorder.rows(
        "SELECT message_id, timestamp, stamped, type, severity, source, node, summary, details,"
        " resolved, resolved_at, resolved_by, extra, recorded_at > timestamp FROM events"
    )
    assert row[:8] == (
        "m-1", 1795410007000007, 0, "alert", "warning", "monitor", "pve2", body["summary"],
    )  # fmt: skip
    assert row[8] == '{"b":[1,2.5,null],"a":"ü"}'
    assert row[9:12] == (0, None, None)
    assert json.loads(row[12]) == {"reporter": "cron", "weight": 3}


async def test_a_turn_keeps_its_cost_exactly(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    turn = (
        b'{"session_id": "s-1", "role": "assistant", "content": "ok", "model": "qwen",'
        b' "tokens_used": 120, "input_tokens": 100, "output_tokens": 20,'
        b' "cost_usd": 0.00012345678901234567890, "tool_calls": [{"name": "restart_vm"}]}'
    )

    await publish(amqp_url, ("chat.turn.assistant", turn, {"message_id": "t-1"}))
    wait_until(lambda: recorder.count("conversations"), "the turn is recorded")

    (row,) = recorder.rows(
        "SELECT session_id, role, content, model, tokens_used, input_tokens, output_tokens,"
        " cost_usd, tool_calls, stamped FROM conversations"
    )
    assert row == (
        "s-1", "assistant", "ok", "qwen", 120, 100, 20,
        "0.00012345678901234567890", '[{"name":"restart_vm"}]', 1,
    )  # fmt: skip


async def test_a_snapshot_is_stored_compressed(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    state = {"nodes": [{"name": f"pve{number}", "cpu": 0.5} for number in range(50)]}

    await publish(amqp_url, ("cluster.snapshot.home", {"snapshot": state, "cluster": "home"}, {}))
    wait_until(lambda: recorder.count("cluster_snapshots"), "the snapshot is recorded")

    ((cluster, snapshot, size),) = recorder.rows(
        "SELECT cluster, snapshot, size_bytes FROM cluster_snapshots"
    )
    assert cluster == "home"
    assert json.loads(zlib.decompress(snapshot)) == state
    assert size == len(zlib.decompress(snapshot)) > len(snapshot)


async def test_what_is_delivered_twice_is_stored_once(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    twice = (EVENT_KEY, event(1), {"message_id": "same"})

    await publish(amqp_url, twice, twice, (EVENT_KEY, event(2), {"message_id": "last"}))
    wait_until(lambda: recorder.count() == 2, "both are recorded")

    assert recorder.stop() == 0
    assert recorder.count() == 2
    assert recorder.logged("stopped")[0]["duplicates"] == 1


async def test_another_message_under_the_same_identity_is_dead_lettered(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    other = event(1, summary="something else altogether")

    await publish(
        amqp_url,
        (EVENT_KEY, event(1), {"message_id": "same"}),
        (EVENT_KEY, other, {"message_id": "same", "app_id": "monitor"}),
    )
    (letter,) = await dead_letters(amqp_url, 1)

    assert json.loads(letter.body) == other
    assert letter.message_id == "same"
    assert letter.app_id == "monitor"
    assert letter.headers["x-recorder-reason"] == "id_collision"
    assert recorder.count() == 1


async def test_a_batch_with_one_bad_element_loses_only_that_one(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    batch: list[dict[str, Any]] = [event(number) for number in range(5)]
    batch[3]["type"] = "rumour"

    await publish(amqp_url, (EVENT_KEY, batch, {"message_id": "batch"}))
    (letter,) = await dead_letters(amqp_url, 1)
    wait_until(lambda: recorder.count() == 4, "the good ones are recorded")

    assert json.loads(letter.body) == batch[3]
    assert letter.message_id == "batch/3"
    assert letter.headers["x-recorder-reason"] == "invalid"
    assert letter.headers["x-recorder-error"].startswith("element 3: type: Input should be")
    assert "rumour" not in letter.headers["x-recorder-error"]
    assert recorder.rows("SELECT message_id FROM events ORDER BY id") == [
        ("batch/0",),
        ("batch/1",),
        ("batch/2",),
        ("batch/4",),
    ]


async def test_a_collision_inside_a_batch_is_dead_lettered_by_itself(amqp_url, start_recorder):
    recorder = start_recorder(amqp_url)
    recorder.wait_for("recording")
    first = event(1, id="one")
    second = event(1, id="one", summary="another story")

    await publish(amqp_url, (EVENT_KEY, [first, second, event(2, id="two")], {}))
    (letter,) = await dead_letters(amqp_url, 1)
    wait_until(lambda: recorder.count() == 2, "the others are recorded")

    assert json.loads(letter.body) == second
    assert letter.headers["x-recorder-reason"] == "id_collision"


async def test_a_backlog_larger_than_the_intake_does_not_keep_it_from_starting(
    amqp_url, start_recorder
):
    """The first queue fills the intake before the others are even attached."""
    first = start_recorder(amqp_url)
    first.wait_for("recording")
    assert first.stop() == 0
    batches = (
        (EVENT_KEY, [event(n * 10_000 + at) for at in range(10_000)], {"message_id": f"b-{n}"})
        for n in range(5)
    )
    await publish(amqp_url, *batches)

    recorder = start_recorder(amqp_url, "broker.heartbeat=2")
    recorder.wait_for("recording")
    wait_until(lambda: recorder.count() == 50_000, "all are recorded")

    assert not recorder.logged("broker_unavailable")
