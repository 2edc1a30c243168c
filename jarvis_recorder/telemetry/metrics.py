"""
The table of metrics, and the counters that the parts keep.

Names follow OpenTelemetry's semantic conventions where these have one. A metric is observed once
for each batch, publication or call, never for each message. None is in a global registry: its owner
counts, `monitoring` exposes it. `docs/metrics.md` is generated from the table.
"""

import time
from enum import StrEnum
from typing import Final, NamedTuple

from prometheus_client import Counter, Histogram

from jarvis_recorder.ports import Publisher

SYSTEM: Final = "rabbitmq"
_DESTINATION: Final = (
    "messaging_system",
    "messaging_operation_name",
    "messaging_destination_name",
)
# The boundaries that the conventions advise.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_COMMIT_SECONDS: Final = (0.0005, 0.001, 0.0025, *_SECONDS)
_RECORDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class MetricKind(StrEnum):
    """The type of a metric, as Prometheus names it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One metric of Prometheus; a histogram is exposed as `_bucket`, `_count` and `_sum`."""

    name: str
    kind: MetricKind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_COUNTER: Final = MetricKind.COUNTER
_GAUGE: Final = MetricKind.GAUGE
_HISTOGRAM: Final = MetricKind.HISTOGRAM

BUILD: Final = Metric(
    "jarvis_recorder_build_info",
    _GAUGE,
    "",
    "What is running.",
    ("version", "python", "sqlite"),
)
STATE: Final = Metric(
    "jarvis_recorder_state",
    _GAUGE,
    "0 or 1",
    "1 for the current state, 0 for the others.",
    ("state",),
)
READY: Final = Metric("jarvis_recorder_ready", _GAUGE, "0 or 1", "1 if /readyz reports ready.")
CHECK_OK: Final = Metric(
    "jarvis_recorder_check_ok",
    _GAUGE,
    "0 or 1",
    "1 if this health check passes, 0 if it fails.",
    ("check",),
)
CONSUMED: Final = Metric(
    "messaging_client_consumed_messages_total",
    _COUNTER,
    "messages",
    "Messages delivered and settled, those delivered again included.",
    _DESTINATION,
)
STORED: Final = Metric("jarvis_recorder_stored_total", _COUNTER, "records", "Records stored.")
DUPLICATES: Final = Metric(
    "jarvis_recorder_duplicates_total", _COUNTER, "records", "Records that were stored already."
)
DEAD_LETTERED: Final = Metric(
    "jarvis_recorder_dead_lettered_total",
    _COUNTER,
    "messages",
    "Messages and elements dead-lettered.",
    ("reason",),
)
DECODED: Final = Metric(
    "jarvis_recorder_decoded_total",
    _COUNTER,
    "records",
    "Records by the path that decoded them: plain, or full for what the plain path leaves.",
    ("path",),
)
NEAR_MISSES: Final = Metric(
    "jarvis_recorder_near_misses_total",
    _COUNTER,
    "records",
    "Names that resemble a field which stayed empty, and are kept in extra.",
    ("messaging_destination_name", "field"),
)
DEAD_LETTERS_WAITING: Final = Metric(
    "jarvis_recorder_dead_letters_waiting",
    _GAUGE,
    "messages",
    "Messages that wait because the queue of dead letters takes nothing.",
)
ATTACHMENTS: Final = Metric(
    "jarvis_recorder_attachments_total",
    _COUNTER,
    "sessions",
    "How often recording has begun on the broker.",
)
OLDEST_UNACKED: Final = Metric(
    "jarvis_recorder_oldest_unacked_seconds",
    _GAUGE,
    "seconds",
    "Age of the oldest message that is not settled.",
)
BATCH_RECORDS: Final = Metric(
    "jarvis_recorder_batch_records",
    _HISTOGRAM,
    "records",
    "Records committed together.",
    buckets=_RECORDS,
)
COMMIT_SECONDS: Final = Metric(
    "jarvis_recorder_commit_seconds",
    _HISTOGRAM,
    "seconds",
    "From handing a batch to the database until it is synced, outages included.",
    buckets=_COMMIT_SECONDS,
)
PROCESS_SECONDS: Final = Metric(
    "messaging_process_duration_seconds",
    _HISTOGRAM,
    "seconds",
    "From taking a batch until it is settled, once for each queue in it.",
    _DESTINATION,
    _SECONDS,
)
SENT: Final = Metric(
    "messaging_client_sent_messages_total",
    _COUNTER,
    "messages",
    "Messages published: dead letters and announcements.",
    (*_DESTINATION, "error_type"),
)
SENT_SECONDS: Final = Metric(
    "messaging_client_operation_duration_seconds",
    _HISTOGRAM,
    "seconds",
    "From publishing until the broker has confirmed or refused.",
    (*_DESTINATION, "error_type"),
    _SECONDS,
)
CALL_SECONDS: Final = Metric(
    "rpc_server_call_duration_seconds",
    _HISTOGRAM,
    "seconds",
    "From reading a call until its answer is written.",
    ("rpc_system_name", "rpc_method", "rpc_response_status_code"),
    _SECONDS,
)
ANNOUNCEMENTS_WAITING: Final = Metric(
    "jarvis_recorder_announcements_waiting",
    _GAUGE,
    "notifications",
    "Changes committed but not announced yet.",
)
DATABASE_BYTES: Final = Metric(
    "jarvis_recorder_database_bytes", _GAUGE, "bytes", "Size of the database file."
)
WAL_BYTES: Final = Metric(
    "jarvis_recorder_wal_bytes", _GAUGE, "bytes", "Size of its write-ahead log."
)
DISK_FREE_BYTES: Final = Metric(
    "jarvis_recorder_disk_free_bytes", _GAUGE, "bytes", "Room on its disk."
)

# In the order in which they stand above: none is forgotten in the documentation.
METRICS: Final[tuple[Metric, ...]] = (
    *(one for one in tuple(globals().values()) if isinstance(one, Metric)),
    # Collected by prometheus-client, on Linux alone.
    Metric("process_cpu_seconds_total", _COUNTER, "seconds",
           "Total user and system CPU time spent in seconds."),
    Metric("process_resident_memory_bytes", _GAUGE, "bytes", "Resident memory size in bytes."),
    Metric("process_virtual_memory_bytes", _GAUGE, "bytes", "Virtual memory size in bytes."),
    Metric("process_start_time_seconds", _GAUGE, "seconds",
           "Start time of the process since unix epoch in seconds."),
    Metric("process_open_fds", _GAUGE, "descriptors", "Number of open file descriptors."),
    Metric("process_max_fds", _GAUGE, "descriptors", "Maximum number of open file descriptors."),
)  # fmt: skip


class Batches:
    """The sizes and durations of batches."""

    def __init__(self) -> None:
        self.records = _histogram(BATCH_RECORDS)
        self.commit_seconds = _histogram(COMMIT_SECONDS)
        self.process_seconds = _histogram(PROCESS_SECONDS)


class Sent:
    """The messages published, and the seconds until their confirms."""

    def __init__(self) -> None:
        self.messages = Counter(SENT.name, SENT.help, SENT.labels, registry=None)
        self.seconds = _histogram(SENT_SECONDS)


class MeasuredPublisher:
    """A publisher that measures another one; implements `ports.Publisher`."""

    def __init__(self, publisher: Publisher, sent: Sent) -> None:
        self._publisher = publisher
        self._sent = sent

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        properties: bytes,
        body: bytes,
        *,
        mandatory: bool = True,
    ) -> None:
        began = time.monotonic()
        failure = "cancelled"
        try:
            await self._publisher.publish(
                exchange, routing_key, properties, body, mandatory=mandatory
            )
            failure = ""
        except Exception as error:
            failure = type(error).__name__
            raise
        finally:
            labels = (SYSTEM, "send", exchange, failure)
            self._sent.messages.labels(*labels).inc()
            self._sent.seconds.labels(*labels).observe(time.monotonic() - began)


class CallMetrics:
    """The duration of requests by method."""

    def __init__(self) -> None:
        self.seconds = _histogram(CALL_SECONDS)

    def answered(self, method: str, code: int | None, seconds: float) -> None:
        """Record a call; `code` is that of the error in its reply, None for a result."""
        status = "" if code is None else str(code)
        self.seconds.labels("jsonrpc", method, status).observe(seconds)


def _histogram(metric: Metric) -> Histogram:
    return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=None)
