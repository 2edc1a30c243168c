"""The parts of the benchmark that need no broker."""

import os
import subprocess
import threading
from contextlib import nullcontext

import pytest
from rich.table import Table

from bench import __main__ as bench
from bench import questions, report, scaling
from bench.contenders import CONTENDERS, THIS, environment, program
from bench.cpu import Cpu
from bench.load import EVENTS, SNAPSHOTS, TURNS, messages
from bench.measure import Throughput
from bench.stores import FileStore, server_store
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import delivery


@pytest.mark.parametrize(
    ("load", "size"), [(EVENTS, 0), (EVENTS, 1_024), (SNAPSHOTS, 8_192), (TURNS, 1_024)]
)
def test_a_load_is_what_the_recorder_accepts_and_of_the_size_asked_for(load, size):
    topic = next(topic for topic in TOPICS if topic.queue == load.queue)

    for message in messages(20, load=load, size=size):
        decoded = decode(delivery(message.body, message_id=message.message_id), topic, 0)
        assert (len(decoded.records), decoded.refusals) == (1, [])
        assert not size or abs(len(message.body) - size) < size / 10


def test_the_time_of_the_first_thread_is_told_apart_from_that_of_the_others():
    worked, read = threading.Event(), threading.Event()

    def work() -> None:
        sum(range(3_000_000))
        worked.set()
        read.wait()

    before = Cpu.read([os.getpid()], os.getpid())
    thread = threading.Thread(target=work)
    thread.start()
    worked.wait()
    used = Cpu.read([os.getpid()], os.getpid()).each_us(before, 1)
    read.set()
    thread.join()

    assert used.others > 1_000
    assert used.others > used.loop


def test_a_curve_measures_each_contender_at_each_value():
    of_bodies = bench._at_each("body=100,200", [CONTENDERS[0]])

    assert [one.size for one in of_bodies] == [100, 200]
    assert [one.name for one in of_bodies] == [
        "jarvis-recorder, body 100",
        "jarvis-recorder, body 200",
    ]


def test_another_checkout_is_measured_next_to_this_one_and_peers_once(tmp_path):
    checkouts = {"here": THIS, "there": tmp_path}

    in_each = bench._in_each(checkouts, [CONTENDERS[0], CONTENDERS[-1]])

    assert [one.checkout for one in in_each] == [THIS, tmp_path, THIS]


def test_a_table_of_results_is_written_as_markdown():
    table = Table("", title="Rates")
    table.add_column("A second", justify="right")
    table.add_row("recorder", "100")

    written = report.markdown([table]).splitlines()

    assert [line for line in written if line][2:] == [
        "## Rates",
        "|  | A second |",
        "| :-- | --: |",
        "| recorder | 100 |",
    ]


def test_the_model_of_more_cores_is_bound_by_processors_and_by_queues():
    cost = scaling.Costs(
        recorder_us=10, broker_us=10, server_us=15, wal_bytes=700, queue_per_second=50_000
    )

    few, many = scaling.scaled(cost, 4), scaling.scaled(cost, 64)

    assert few.per_second == pytest.approx(0.7 * 4 / 35e-6)
    assert (few.recorders, few.queues) == (2, 2)
    assert many.per_second == pytest.approx(16 * few.per_second)
    assert (many.recorders, many.queues) == (19, 26)
    assert many.wal_megabytes == pytest.approx(896)


def test_a_model_needs_both_contenders():
    run = Throughput(1_000, 1.0, 1_000.0, 5.0, 1.0, 6.0, server_us=13.0, wal_bytes=700.0)

    assert scaling.costs({"jarvis-recorder on PostgreSQL": [run]}) is None
    assert scaling.costs(
        {"jarvis-recorder on PostgreSQL": [run], "librabbitmq alone": [run]}
    ) == scaling.Costs(6.0, 6.0, 13.0, 700.0, 1_000.0)


@pytest.mark.long
@pytest.mark.parametrize("on_server", [False, True], ids=["file", "server"])
def test_events_that_a_store_is_filled_with_are_told_from_those_recorded_later(tmp_path, on_server):
    with server_store() if on_server else nullcontext(FileStore(tmp_path / "x.db")) as store:
        subprocess.run(
            [*program(THIS), "db", "upgrade", "--set", f"store.url={store.url}"],
            check=True, capture_output=True, env=environment(),
        )  # fmt: skip
        assert [*questions.fill(store, 1_200)][-1] == 1_200
        with store.reading() as reading:
            assert reading.newest(EVENTS) == 1_200

        stored = store.stored(EVENTS, 200)

        assert (stored.rows, stored.identities, stored.filled, stored.stamped) == (
            1_000,
            1_000,
            1_000,
            0,
        )
        assert stored.last - stored.first == 999_000_000
        assert store.held_bytes(EVENTS) > 100_000
        assert (store.server_ns() > 0) == on_server == (store.wal_bytes() > 100_000)
