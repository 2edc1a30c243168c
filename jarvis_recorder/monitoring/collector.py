"""The collector of the metrics that Prometheus scrapes."""

import platform
import sqlite3
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from jarvis_recorder import __version__
from jarvis_recorder.monitoring.health import HealthCheck, is_ready
from jarvis_recorder.ports import Clock, StorageHealth
from jarvis_recorder.telemetry import metrics
from jarvis_recorder.telemetry.metrics import SYSTEM, CallMetrics
from jarvis_recorder.telemetry.status import RecorderStatus, State
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.topics import TOPICS


def registry(status: RecorderStatus, calls: CallMetrics, facts: "Facts") -> CollectorRegistry:
    """Return a registry of all metrics."""
    all_of_it = CollectorRegistry(auto_describe=True)
    measured, sent = status.measured, status.sent
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
    """Metrics read from the state of the parts, at each scrape."""

    def __init__(
        self,
        *,
        status: RecorderStatus,
        health: Callable[[], StorageHealth | None],
        checks: Callable[[], Sequence[HealthCheck]],
        clock: Clock,
    ) -> None:
        self._status = status
        self._storage_health = health
        self._checks = checks
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Yield every metric, also at 0, so that the first increase shows in a rate."""
        yield from self._messages()
        yield from self._health()
        yield from self._storage()

    def _messages(self) -> Iterable[Metric]:
        status = self._status
        consumed = _counters(metrics.CONSUMED)
        for topic in TOPICS:
            labels = (SYSTEM, "process", topic.queue)
            consumed.add_metric(labels, status.settled[topic.queue])
        yield consumed
        dead = _counters(metrics.DEAD_LETTERED)
        for reason in Reason:
            dead.add_metric((reason.value,), status.dead_letters[reason])
        yield dead
        decoded = _counters(metrics.DECODED)
        for path in ("plain", "full"):
            decoded.add_metric((path,), status.decoded[path])
        yield decoded
        near = _counters(metrics.NEAR_MISSES)
        for (queue, field), count in status.near_misses.items():
            near.add_metric((queue, field), count)
        yield near
        yield _gauge(metrics.DEAD_LETTERS_WAITING, status.dead_letters_waiting)
        yield _counter(metrics.STORED, status.stored)
        yield _counter(metrics.DUPLICATES, status.duplicates)
        yield _counter(metrics.ATTACHMENTS, status.attachments)
        yield _gauge(metrics.OLDEST_UNACKED, status.lag_seconds(self._clock()))

    def _health(self) -> Iterable[Metric]:
        version = {
            "version": __version__,
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
        }
        build = metrics.BUILD
        yield InfoMetricFamily(build.name.removesuffix("_info"), build.help, version)
        state = _gauges(metrics.STATE)
        for one in State:
            state.add_metric((one.value,), one is self._status.state)
        yield state
        checks = self._checks()
        yield _gauge(metrics.READY, is_ready(checks))
        by_name = _gauges(metrics.CHECK_OK)
        for check in checks:
            by_name.add_metric((check.name,), check.ok)
        yield by_name

    def _storage(self) -> Iterable[Metric]:
        health = self._storage_health()
        if health is None:
            return
        yield _gauge(metrics.DATABASE_BYTES, health.database_bytes)
        if health.wal_bytes is not None:
            yield _gauge(metrics.WAL_BYTES, health.wal_bytes)
        if health.free_bytes is not None:
            yield _gauge(metrics.DISK_FREE_BYTES, health.free_bytes)
        yield _gauge(metrics.ANNOUNCEMENTS_WAITING, health.announcements_waiting)


def _counter(metric: metrics.Metric, value: int) -> Metric:
    return CounterMetricFamily(metric.name, metric.help, value)


def _counters(metric: metrics.Metric) -> CounterMetricFamily:
    return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)


def _gauge(metric: metrics.Metric, value: float) -> Metric:
    return GaugeMetricFamily(metric.name, metric.help, value)


def _gauges(metric: metrics.Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
