"""Publishers as their users run them, with nothing set that they set themselves: docs/publishers.md."""

import asyncio
import json
from datetime import UTC, datetime

import kombu
import pika
import pytest
from cloudevents.core.bindings import amqp, rabbitmq
from cloudevents.core.v1.event import CloudEvent
from faststream.rabbit import RabbitBroker, RabbitExchange

from tests.support.publisher import event
from tests.support.recorder import wait_until

pytestmark = pytest.mark.broker

ALERT = "cluster.event.alert.critical"
AT = "2026-11-20T08:00:00Z"
AT_MICROS = 1_795_161_600_000_000


def settled(recorder, count):
    """Wait until so many events are recorded, or something is refused; return what was."""
    wait_until(
        lambda: recorder.count() >= count or recorder.logged("dead_lettered"), "all are settled"
    )
    assert recorder.logged("dead_lettered") == []
    return recorder.rows("SELECT summary, severity, message_id, timestamp, extra FROM events")


async def test_kombu_which_celery_publishes_with(amqp_url, recorder):
    bodies = {
        "as json": event(summary="as json", timestamp=AT),
        "as text": json.dumps(event(summary="as text", timestamp=AT)),
        "as bytes": json.dumps(event(summary="as bytes", timestamp=AT)).encode(),
    }

    def publish():
        # Kombu asks for no confirm: what it sends may be lost with a connection that ends at once.
        with kombu.Connection(amqp_url) as connection:
            producer = connection.Producer()
            for body in bodies.values():
                producer.publish(body, exchange="jarvis", routing_key=ALERT)
            return settled(recorder, len(bodies))

    rows = await asyncio.to_thread(publish)
    assert rows == [(summary, "warning", None, AT_MICROS, None) for summary in bodies]


async def test_faststream(amqp_url, recorder):
    bodies = {
        "as json": event(summary="as json", timestamp=AT),
        "as text": json.dumps(event(summary="as text", timestamp=AT)),
        "as bytes": json.dumps(event(summary="as bytes", timestamp=AT)).encode(),
    }
    exchange = RabbitExchange("jarvis", declare=False)

    async with RabbitBroker(amqp_url) as broker:
        for body in bodies.values():
            await broker.publish(body, exchange=exchange, routing_key=ALERT)

    rows = await asyncio.to_thread(settled, recorder, len(bodies))
    assert [(row[0], row[1], *row[3:]) for row in rows] == [
        (summary, "warning", AT_MICROS, None) for summary in bodies
    ]
    assert all(row[2] for row in rows), "it names its messages"


async def test_the_sdk_of_cloudevents_in_each_of_its_modes(amqp_url, recorder):
    def cloud_event(name):
        attributes = {
            "id": name,
            "source": "/monitor",
            "type": "alert.raised",
            "time": datetime(2026, 11, 20, 8, tzinfo=UTC),
            "datacontenttype": "application/json",
        }
        return CloudEvent(attributes, event(summary=name, severity=None, timestamp=None))

    messages = []
    for mode in ("to_binary_event", "to_structured_event"):
        made = getattr(rabbitmq, mode)(cloud_event(f"rabbitmq {mode}"))
        messages.append((made.body, made.headers, made.content_type))
        of_1_0 = getattr(amqp, mode)(cloud_event(f"amqp {mode}"))
        headers, content_type = of_1_0.application_properties, of_1_0.properties["content-type"]
        messages.append((of_1_0.application_data, headers, content_type))

    def publish():
        connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        channel = connection.channel()
        for body, headers, content_type in messages:
            properties = pika.BasicProperties(headers=headers, content_type=content_type)
            channel.basic_publish("jarvis", ALERT, body, properties)
        found = settled(recorder, len(messages))
        connection.close()
        return found

    rows = await asyncio.to_thread(publish)
    about = {"source": "/monitor", "type": "alert.raised"}
    assert [(*row[:4], json.loads(row[4])) for row in rows] == [
        (name, "critical", f"/monitor#{name}", AT_MICROS, {"cloudevent": {"id": name} | about})
        for name in (
            *("rabbitmq to_binary_event", "amqp to_binary_event"),
            *("rabbitmq to_structured_event", "amqp to_structured_event"),
        )
    ]
