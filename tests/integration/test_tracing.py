"""Traces go on through the recorder, to a collector that listens."""

import asyncio
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aio_pika
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from jarvis_recorder.telemetry.tracing import NoopTracer, OpenTelemetry, open_tracer
from jarvis_recorder.wire.amqp import properties
from tests.support.amqp_bytes import delivery
from tests.support.publisher import EVENT_KEY, event, publish
from tests.support.recorder import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Collector:
    """A receiver that keeps the spans that are sent to it."""

    def __init__(self):
        spans = self.spans = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sent = ExportTraceServiceRequest.FromString(body)
                for resource in sent.resource_spans:
                    for scope in resource.scope_spans:
                        spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


async def ask(url):
    """Ask a question with a trace; return the headers of its reply."""
    connection = await aio_pika.connect(url, timeout=60)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("", exclusive=True, auto_delete=True)
        exchange = await channel.get_exchange("jarvis.rpc", ensure=False)
        body = b'{"jsonrpc":"2.0","id":1,"method":"recorder.stats"}'
        message = aio_pika.Message(
            body, reply_to=queue.name, correlation_id="1", headers={"traceparent": PARENT}
        )
        await exchange.publish(message, "recorder")
        async with asyncio.timeout(60):
            while (reply := await queue.get(fail=False)) is None:
                await asyncio.sleep(0.01)
        await reply.ack()
        return reply.headers


@pytest.mark.broker
async def test_batches_are_linked_and_replies_carried_on(amqp_url, start_recorder, monkeypatch):
    with Collector() as collector:
        port = collector.server.server_port
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        recorder = start_recorder(amqp_url)
        recorder.wait_for("recording")
        recorder.wait_for("answering")
        known = {"message_id": "m-1", "headers": {"traceparent": PARENT}}
        await publish(amqp_url, (EVENT_KEY, event(1), known))
        carried = await ask(amqp_url)
        names = lambda: {span.name for span in collector.spans}  # noqa: E731
        await asyncio.to_thread(wait_until, lambda: names() == {"process batch", "answer"}, "spans")
        assert await asyncio.to_thread(recorder.stop) == 0

    batch = next(span for span in collector.spans if span.name == "process batch")
    answer = next(span for span in collector.spans if span.name == "answer")
    assert [link.trace_id.hex() for link in batch.links] == [TRACE]
    assert answer.trace_id.hex() == TRACE
    assert carried["traceparent"].split("-")[1:3] == [TRACE, answer.span_id.hex()]


@pytest.mark.parametrize(("headers", "read"), [({"other": "x"}, 0), ({"traceparent": "x"}, 128)])
def test_few_headers_of_a_batch_are_read_for_their_traces(monkeypatch, headers, read):
    """One batch has the headers of thousands of messages, and the event loop waits for them."""
    decoded = []
    decode = properties.decode
    monkeypatch.setattr(properties, "decode", lambda head: decoded.append(head) or decode(head))
    tracer = open_tracer({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    messages = [delivery(b"{}", tag, headers=headers) for tag in range(300)]

    with tracer.batch(messages, len(messages)):
        pass

    assert len(decoded) == read
    tracer.close()


def test_without_an_exporter_nothing_is_traced():
    assert isinstance(open_tracer({}), NoopTracer)
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    assert isinstance(open_tracer(named | {"OTEL_SDK_DISABLED": "true"}), NoopTracer)
    tracer = open_tracer(named)
    assert isinstance(tracer, OpenTelemetry)
    tracer.close()


def test_where_it_is_not_installed_that_is_said_and_nothing_else_happens(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)

    assert isinstance(
        open_tracer(os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}), NoopTracer
    )
