"""The parts of the benchmark that need no broker."""

import os
import threading

import pytest
from rich.table import Table

from bench import __main__ as bench
from bench import report
from bench.contenders import CONTENDERS, THIS
from bench.cpu import Cpu
from bench.load import EVENTS, SNAPSHOTS, TURNS, messages
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

    before = Cpu.read(os.getpid(), os.getpid())
    thread = threading.Thread(target=work)
    thread.start()
    worked.wait()
    used = Cpu.read(os.getpid(), os.getpid()).each_us(before, 1)
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
