"""What Prometheus reads, collected when it asks."""

import platform
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from jarvis_recorder import __version__
from jarvis_recorder.monitoring.health import Check, is_ready
from jarvis_recorder.ports import Clock, StorageHealth
from jarvis_recorder.telemetry.metrics import DESTINATION, SYSTEM, Calls
from jarvis_recorder.telemetry.status import Progress, State
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.topics import TOPICS

_OURS: Final = "jarvis_recorder_"


def registry(progress: Progress, calls: Calls, facts: "Facts") -> CollectorRegistry:
    """Return all that is measured, in a registry of its own."""
    all_of_it = CollectorRegistry(auto_describe=True)
    measured, sent = progress.measured, progress.sent
    for measure in (
        measured.records,
        measured.commit_seconds,
        measured.process_seconds,
        sent.messages,
        sent.seconds,
        calls.seconds,
        facts,
    ):
        all_of_it.register(measure)
    ProcessCollector(registry=all_of_it)
    return all_of_it


class Facts(Collector):
    """What the parts know of themselves anyway."""

    def __init__(
        self,
        *,
        progress: Progress,
        condition: Callable[[], StorageHealth | None],
        checks: Callable[[], Sequence[Check]],
        clock: Clock,
    ) -> None:
        self._progress = progress
        self._condition = condition
        self._checks = checks
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Yield everything; also what is 0, so that a rate can be taken from the first on."""
        yield from self._messages()
        yield from self._health()
        yield from self._storage()

    def _messages(self) -> Iterable[Metric]:
        progress = self._progress
        consumed = CounterMetricFamily(
            "messaging_client_consumed_messages",
            "Messages delivered and settled, those delivered again included.",
            labels=DESTINATION,
        )
        for topic in TOPICS:
            labels = (SYSTEM, "process", topic.queue)
            consumed.add_metric(labels, progress.settled[topic.queue])
        yield consumed
        dead = CounterMetricFamily(
            f"{_OURS}dead_lettered", "Messages and elements dead-lettered.", labels=("reason",)
        )
        for reason in Reason:
            dead.add_metric((reason.value,), progress.dead_letters[reason])
        yield dead
        near = CounterMetricFamily(
            f"{_OURS}near_misses",
            "Names that resemble a field which stayed empty, and are kept in extra.",
            labels=("messaging_destination_name", "field"),
        )
        for (queue, field), count in progress.near_misses.items():
            near.add_metric((queue, field), count)
        yield near
        yield _gauge(
            "dead_letters_waiting",
            "Messages that wait because the queue of dead letters takes nothing.",
            progress.letters_waiting,
        )
        yield _counter("stored", "Records stored.", progress.stored)
        yield _counter("duplicates", "Records that were stored already.", progress.duplicates)
        yield _counter(
            "attachments", "How often recording has begun on the broker.", progress.attachments
        )
        waited = progress.lag_seconds(self._clock())
        yield _gauge(
            "oldest_unacked_seconds", "Age of the oldest message that is not settled.", waited
        )

    def _health(self) -> Iterable[Metric]:
        version = {
            "version": __version__,
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
        }
        yield InfoMetricFamily(f"{_OURS}build", "What is running.", version)
        state = GaugeMetricFamily(
            f"{_OURS}state", "1 for what recording does now.", labels=("state",)
        )
        for one in State:
            state.add_metric((one.value,), one is self._progress.state)
        yield state
        checks = self._checks()
        yield _gauge("ready", "1 where /readyz says so.", is_ready(checks))
        by_name = GaugeMetricFamily(
            f"{_OURS}check_ok", "1 for what is so, of all that has to be.", labels=("check",)
        )
        for check in checks:
            by_name.add_metric((check.name,), check.ok)
        yield by_name

    def _storage(self) -> Iterable[Metric]:
        condition = self._condition()
        if condition is None:
            return
        yield _gauge("database_bytes", "Size of the database file.", condition.database_bytes)
        yield _gauge("wal_bytes", "Size of its write-ahead log.", condition.wal_bytes)
        yield _gauge("disk_free_bytes", "Room on its disk.", condition.free_bytes)
        yield _gauge(
            "announcements_waiting",
            "Changes committed but not announced yet.",
            condition.announcements_waiting,
        )


def _counter(name: str, documentation: str, value: int) -> Metric:
    return CounterMetricFamily(_OURS + name, documentation, value)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(_OURS + name, documentation, value)
