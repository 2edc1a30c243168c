"""
OpenTelemetry traces, if the extra `otel` is installed and an exporter is configured.

Sources: W3C Trace Context, whose `traceparent` and `tracestate` are message headers;
OpenTelemetry's semantic conventions for messaging spans. Without an exporter nothing of it is
imported and no header is read.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import structlog

from jarvis_recorder import __version__
from jarvis_recorder.ports import Tracer
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.refusal import Refused

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link

log = structlog.get_logger(__name__)

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_MOST_LINKS: Final = 128


class NoopTracer:
    """A tracer that traces nothing; implements `ports.Tracer`."""

    @contextlib.contextmanager
    def batch(self, deliveries: Iterable[Delivery], records: int) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def request(self, delivery: Delivery) -> Iterator[Mapping[str, str]]:
        yield {}

    def close(self) -> None:
        pass


class OpenTelemetry:
    """A tracer into a provider; implements `ports.Tracer`."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("jarvis_recorder", __version__)
        self._context = TraceContextTextMapPropagator()
        self._trace = trace

    @contextlib.contextmanager
    def batch(self, deliveries: Iterable[Delivery], records: int) -> Iterator[None]:
        attributes: dict[str, str | int] = {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "process",
            "messaging.batch.message_count": records,
        }
        links = list(self._links(deliveries))
        with self._tracer.start_as_current_span(
            "process batch",
            kind=self._trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=links,
        ):
            yield

    @contextlib.contextmanager
    def request(self, delivery: Delivery) -> Iterator[Mapping[str, str]]:
        with self._tracer.start_as_current_span(
            "answer",
            context=self._context.extract(_headers(delivery)),
            kind=self._trace.SpanKind.SERVER,
            attributes={"rpc.system": "jsonrpc", "messaging.system": "rabbitmq"},
        ):
            carried: dict[str, str] = {}
            self._context.inject(carried)
            yield carried

    def close(self) -> None:
        """Export the spans that have gathered."""
        self._provider.shutdown()

    def _links(self, deliveries: Iterable[Delivery]) -> "Iterator[Link]":
        # To read the headers of every one of some thousands would hold up the event loop.
        for delivery in islice(_traced(deliveries), _MOST_LINKS):
            extracted = self._context.extract(_headers(delivery))
            found = self._trace.get_current_span(extracted).get_span_context()
            if found.is_valid:
                yield self._trace.Link(found)


def _traced(deliveries: Iterable[Delivery]) -> Iterator[Delivery]:
    """Yield each delivery that may have a trace, once: the elements of a batch are adjacent."""
    before = None
    for delivery in deliveries:
        if delivery is not before and b"traceparent" in delivery.header:
            yield delivery
        before = delivery


def _headers(delivery: Delivery) -> Mapping[str, str]:
    try:
        return properties.decode(delivery.header).headers
    except Refused:
        return {}


def open_tracer(environ: Mapping[str, str]) -> Tracer:
    """Return a tracer for the exporter that OpenTelemetry's environment variables name."""
    wanted = any(environ.get(name) for name in _ENDPOINTS)
    if not wanted or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return NoopTracer()
    try:
        return OpenTelemetry(_provider())
    except ImportError as error:
        log.warning(
            "tracing_not_installed",
            missing=error.name,
            use="install opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http",
        )
        return NoopTracer()


def _provider() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    service = {"service.name": "jarvis-recorder", "service.version": __version__}
    # Resource attributes from the environment win.
    provider = TracerProvider(resource=Resource(service).merge(Resource.create()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
