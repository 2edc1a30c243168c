"""
The messages and their channels, described in AsyncAPI 3.0 (www.asyncapi.com).

From the recorder's side, as AsyncAPI requires: it receives the messages that others publish.
The AMQP properties of a message are listed among its headers, under AMQP's own names, because
AsyncAPI has no other place for them. The methods called by JSON-RPC are described in `openrpc`.
"""

from typing import Any, Final

from jarvis_recorder import __version__
from jarvis_recorder.spec import messages, openrpc
from jarvis_recorder.spec.envelopes import ENVELOPES, cloud_event
from jarvis_recorder.spec.examples import BODIES
from jarvis_recorder.spec.json_schema import IN_COMPONENTS, Schema, component, shared
from jarvis_recorder.wire import cloudevents
from jarvis_recorder.wire.codec import MAX_BATCH
from jarvis_recorder.wire.notifications import NOTICES, Notification
from jarvis_recorder.wire.topics import (
    DEAD_EXCHANGE,
    DEAD_QUEUE,
    EXCHANGE,
    MIB,
    RPC_EXCHANGE,
    RPC_KEY,
    RPC_QUEUE,
    TOPICS,
    Kind,
    Topic,
)

Fragment = dict[str, Any]

JSON: Final = "application/json"
_BINDING: Final = "0.3.0"

# A publisher's routing key for each kind. The last part of a snapshot's may be left out.
_ADDRESSES: Final = {
    Kind.EVENT: "cluster.event.{type}.{severity}",
    Kind.SNAPSHOT: "cluster.snapshot.{cluster}",
    Kind.TURN: "chat.turn.{role}",
}


def document() -> Fragment:
    """Return the AsyncAPI document."""
    schemas: dict[str, Schema] = {**ENVELOPES, "DeadLetter": messages.dead_letter()}
    channels = {
        **{_channel_name(topic): _recorded(topic, schemas) for topic in TOPICS},
        "deadLetters": _dead_letters(),
        **{_notice_name(announced): _announced(announced, schemas) for announced in NOTICES},
        "questions": _requests(),
        "replies": _replies(),
    }
    return {
        "asyncapi": "3.0.0",
        "id": "urn:jarvis-recorder",
        "info": {
            "title": "jarvis_recorder",
            "version": __version__,
            "description": "Records what a cluster says on RabbitMQ: every message, once. And "
            "answers requests about it.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": JSON,
        "servers": {"rabbitmq": _SERVER},
        "channels": channels,
        "operations": _operations(),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"user": {"type": "userPassword"}},
        },
    }


_SERVER: Final = {
    "host": "localhost:5672",
    "pathname": "/",
    "protocol": "amqp",
    "protocolVersion": "0.9.1",
    "description": "RabbitMQ; the setting `broker.url` names it. The path is the virtual host.",
    "security": [{"$ref": "#/components/securitySchemes/user"}],
}


# Recorded messages.


def _recorded(topic: Topic, schemas: dict[str, Schema]) -> Fragment:
    name = topic.kind.capitalize()
    schemas[f"{name}Batch"] = shared(messages.batch(topic, refs=IN_COMPONENTS), schemas)
    schemas[name] = messages.body(topic)
    schemas[f"{name}CloudEvent"] = cloud_event(component(name))
    return {
        "address": _ADDRESSES[topic.kind],
        "title": f"{name}s",
        "description": f"Every routing key that `{topic.binding}` matches is recorded; it chooses "
        "the queue, and the body is the truth about everything else. At most "
        f"{topic.max_bytes // MIB} MiB, packed and unpacked alike.",
        "parameters": _parameters(topic, schemas[name]),
        "messages": _shapes(topic, name),
        "bindings": _exchange(EXCHANGE, "topic", topic.queue, topic.binding),
    }


def _parameters(topic: Topic, body: Schema) -> Fragment:
    """Describe each part of the address by the field of the body that it repeats."""
    parameters = {}
    for part in _ADDRESSES[topic.kind].split("."):
        field = part.strip("{}")
        if field != part:
            values = body["properties"][field].get("enum")
            parameters[field] = {"description": f"the `{field}` of the body"} | (
                {"enum": values} if values else {}
            )
    return parameters


def _shapes(topic: Topic, name: str) -> Fragment:
    """Return the five formats that a record may come in."""
    body = BODIES[topic.kind]
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/monitor",
        "type": f"jarvis.{topic.kind}",
        "time": "2026-01-26T08:00:37Z",
    }
    headers = {f"ce-{attribute}": value for attribute, value in event.items()}
    batch_of_events = {
        "type": "array",
        "items": component(f"{name}CloudEvent"),
        "minItems": 1,
        "maxItems": MAX_BATCH,
    }
    return {
        f"{topic.kind}": _record(name, JSON, component(name), body),
        f"{topic.kind}Batch": _record(
            f"{name} batch", JSON, component(f"{name}Batch"), [body, body]
        ),
        f"{topic.kind}CloudEvent": _record(
            f"{name} as a CloudEvent, structured mode",
            cloudevents.STRUCTURED,
            component(f"{name}CloudEvent"),
            event | {"data": body},
        ),
        f"{topic.kind}CloudEventBatch": _record(
            f"{name}s as CloudEvents", cloudevents.BATCH, batch_of_events, [event | {"data": body}]
        ),
        f"{topic.kind}CloudEventBinary": {
            **_record(f"{name} as a CloudEvent, binary mode", JSON, component(name), body),
            "headers": {"allOf": [component("RecordedProperties"), component("CloudEventHeaders")]},
            "examples": [{"headers": headers, "payload": body}],
        },
    }


def _record(title: str, content_type: str, payload: Fragment, example: Any) -> Fragment:
    return {
        "title": title,
        "contentType": content_type,
        "headers": component("RecordedProperties"),
        "payload": payload,
        "examples": [{"payload": example}],
    }


# Dead letters.


def _dead_letters() -> Fragment:
    return {
        "address": "{queue}",
        "title": "Dead letters",
        "description": f"What could not be recorded; all of it is kept in `{DEAD_QUEUE}`.",
        "parameters": {
            "queue": {
                "description": "the queue it was taken from",
                "enum": [topic.queue for topic in TOPICS],
            }
        },
        "messages": {
            "deadLetter": {
                "title": "Dead letter",
                "description": "Body and properties are the original's, whatever they are.",
                "contentType": "application/octet-stream",
                "headers": component("DeadLetter"),
            }
        },
        "bindings": _exchange(DEAD_EXCHANGE, "topic", DEAD_QUEUE, "#"),
    }


# Notifications.


def _announced(announced: Notification, schemas: dict[str, Schema]) -> Fragment:
    name = _notice_name(announced)
    schema = _capital(name)
    schemas[schema] = shared(messages.notice(announced, refs=IN_COMPONENTS), schemas)
    return {
        "address": announced.routing_key,
        "title": announced.routing_key,
        "description": announced.occasion,
        "messages": {
            name: {
                "title": announced.routing_key,
                "contentType": JSON,
                "headers": component("NoticeProperties"),
                "payload": component(schema),
                "examples": [{"payload": announced.example}],
            }
        },
        "bindings": _exchange(EXCHANGE, "topic"),
    }


# Requests and replies.

_CORRELATION: Final = {"location": "$message.header#/correlation_id"}


def _requests() -> Fragment:
    return {
        "address": RPC_KEY,
        "title": "Requests",
        "description": openrpc.DESCRIPTION,
        "messages": {
            "request": _rpc_message("Request", "RequestProperties"),
            "requestBatch": _rpc_message("RequestBatch", "RequestProperties"),
        },
        "bindings": _exchange(RPC_EXCHANGE, "direct", RPC_QUEUE, RPC_KEY),
    }


def _replies() -> Fragment:
    return {
        "address": None,
        "title": "Replies",
        "description": "The queue that the request names in `reply_to`.",
        "messages": {
            "response": _rpc_message("Response", "ResponseProperties"),
            "responseBatch": _rpc_message("ResponseBatch", "ResponseProperties"),
        },
        "bindings": _exchange("", "default"),
    }


def _rpc_message(name: str, properties: str) -> Fragment:
    return {
        "title": name,
        "contentType": JSON,
        "headers": component(properties),
        "payload": component(name),
        "correlationId": _CORRELATION,
    }


# The operations on all of them.


def _operations() -> Fragment:
    return {
        **{
            f"record{_capital(_channel_name(topic))}": _receive(
                _channel_name(topic),
                "Store each once; ack what is committed, dead-letter what is refused.",
            )
            for topic in TOPICS
        },
        "deadLetter": _send("deadLetters", "Publish what cannot be recorded, with the reason."),
        **{
            f"announce{_capital(_notice_name(announced))}": _send(
                _notice_name(announced), announced.occasion
            )
            for announced in NOTICES
        },
        "answer": _receive("questions", "Answer a request.")
        | {"messages": [_message("questions", "request")], "reply": _reply("response")},
        "answerBatch": _receive("questions", "Answer a batch of requests.")
        | {"messages": [_message("questions", "requestBatch")], "reply": _reply("responseBatch")},
    }


def _send(channel: str, summary: str) -> Fragment:
    return {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _receive(channel: str, summary: str) -> Fragment:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "bindings": {"amqp": {"ack": True, "bindingVersion": _BINDING}},
    }


def _reply(message: str) -> Fragment:
    return {
        "address": {"location": "$message.header#/reply_to"},
        "channel": {"$ref": "#/channels/replies"},
        "messages": [_message("replies", message)],
    }


def _message(channel: str, message: str) -> Fragment:
    return {"$ref": f"#/channels/{channel}/messages/{message}"}


def _channel_name(topic: Topic) -> str:
    return f"{topic.kind}s"


def _notice_name(announced: Notification) -> str:
    """Return `eventResolved` for `recorder.event.resolved`."""
    _, subject, change = announced.routing_key.split(".")
    return subject + change.capitalize()


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def _exchange(name: str, kind: str, queue: str | None = None, key: str | None = None) -> Fragment:
    """Return the binding of a channel: its exchange, and the queue that reads from it."""
    exchange = {"name": name, "type": kind, "durable": True, "autoDelete": False}
    amqp: Fragment = {"is": "routingKey", "exchange": exchange, "bindingVersion": _BINDING}
    if queue is not None:
        amqp["x-queue"] = {"name": queue, "durable": True, "routingKey": key}
    return {"amqp": amqp}
