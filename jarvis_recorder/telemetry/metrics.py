"""
What is measured, under the names of OpenTelemetry's semantic conventions, once for each batch,
publication or call and never for each message.

No measure is registered anywhere: whoever counts owns it, and `monitoring.metrics` shows it.
"""

import time
from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter, Histogram

from jarvis_recorder.ports import Publisher

SYSTEM: Final = "rabbitmq"
DESTINATION: Final = ("messaging_system", "messaging_operation_name", "messaging_destination_name")
# What the conventions advise.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_COMMIT_SECONDS: Final = (0.0005, 0.001, 0.0025, *_SECONDS)
_RECORDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class Batches:
    """How large the batches are and how long they take."""

    def __init__(self) -> None:
        self.records = _histogram(
            "jarvis_recorder_batch_records", "Records committed together.", (), _RECORDS
        )
        self.commit_seconds = _histogram(
            "jarvis_recorder_commit_seconds",
            "From handing a batch to the database until it is synced, outages included.",
            (),
            _COMMIT_SECONDS,
        )
        self.process_seconds = _histogram(
            "messaging_process_duration_seconds",
            "From taking a batch until it is settled, once for each queue in it.",
            DESTINATION,
            _SECONDS,
        )


class Sent:
    """What is published, and how long the broker took to confirm it."""

    def __init__(self) -> None:
        self.messages = Counter(
            "messaging_client_sent_messages",
            "Messages published: dead letters and announcements.",
            (*DESTINATION, "error_type"),
            registry=None,
        )
        self.seconds = _histogram(
            "messaging_client_operation_duration_seconds",
            "From publishing until the broker has confirmed or refused.",
            (*DESTINATION, "error_type"),
            _SECONDS,
        )


class MeasuredPublisher:
    """Another publisher, measured; implements `ports.Publisher`."""

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


class Calls:
    """How long each method took to answer."""

    def __init__(self) -> None:
        self.seconds = _histogram(
            "rpc_server_call_duration_seconds",
            "From reading a call until its answer is written.",
            ("rpc_system_name", "rpc_method", "rpc_response_status_code"),
            _SECONDS,
        )

    def answered(self, method: str, code: int | None, seconds: float) -> None:
        """Note a call; `code` is the error's that it was answered with, if it was one."""
        status = "" if code is None else str(code)
        self.seconds.labels("jsonrpc", method, status).observe(seconds)


def _histogram(
    name: str, documentation: str, labels: Sequence[str], buckets: Sequence[float]
) -> Histogram:
    return Histogram(name, documentation, labels, buckets=buckets, registry=None)
