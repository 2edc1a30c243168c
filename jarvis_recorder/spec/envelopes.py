"""JSON Schemas of the envelopes around message bodies: AMQP properties, CloudEvents, JSON-RPC."""

from typing import Final

from jarvis_recorder.spec.json_schema import Schema, component
from jarvis_recorder.wire.rpc.jsonrpc import MAX_BATCH, Code
from jarvis_recorder.wire.rpc.methods import METHODS

_TEXT: Final = {"type": "string"}
_SHORT: Final = {"type": "string", "minLength": 1, "maxLength": 255}
_IDENTITY: Final = {"type": ["string", "number", "null"]}

_RECORDED_PROPERTIES: Final = {
    "type": "object",
    "description": "AMQP properties. Identity is `message_id`, else the CloudEvent's `source` and "
    "`id`, else the body's `id`; without any, the message is recorded at least once.",
    "properties": {
        "message_id": _SHORT | {"description": "identity; a UUIDv7 for choice"},
        "timestamp": {
            "type": "integer",
            "description": "seconds since the epoch; the time of a body that names none",
        },
        "content_encoding": {"enum": ["identity", "gzip"]},
        "app_id": _TEXT,
        "user_id": _TEXT,
    },
}


_CLOUD_EVENT_HEADERS: Final = {
    "type": "object",
    "description": "Attributes as headers, under `ce-`, `cloudEvents:` or `cloudEvents_`.",
    "properties": {
        "ce-specversion": {"const": "1.0"},
        "ce-id": {"type": "string", "minLength": 1},
        "ce-source": {"type": "string", "minLength": 1},
        "ce-type": {"type": "string", "minLength": 1},
        "ce-time": {"type": "string", "format": "date-time"},
    },
    "required": ["ce-specversion", "ce-id", "ce-source", "ce-type"],
}


_NOTICE_PROPERTIES: Final = {
    "type": "object",
    "description": "AMQP properties.",
    "properties": {
        "message_id": _SHORT | {"description": "the same whenever it is announced again"},
        "timestamp": {"type": "integer", "description": "seconds since the epoch"},
    },
    "required": ["message_id", "timestamp"],
}


_REQUEST: Final = {
    "type": "object",
    "description": "A JSON-RPC 2.0 request; without `id` a notification, which gets no reply. "
    "`openrpc.json` describes the methods, and so does `rpc.discover`.",
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "method": {"enum": [method.name for method in METHODS]},
        "params": {"type": ["object", "array"]},
        "id": _IDENTITY,
    },
    "required": ["jsonrpc", "method"],
    "examples": [{"jsonrpc": "2.0", "method": "events.get", "params": {"id": 42}, "id": 1}],
}

_RESPONSE: Final = {
    "type": "object",
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "result": {"description": "as the method's own schema says"},
        "error": {
            "type": "object",
            "properties": {
                "code": {"enum": [int(code) for code in Code]},
                "message": {"type": "string"},
                "data": {
                    "type": "object",
                    "properties": {
                        "path": {"type": "string", "description": "the field it lies in"},
                        "hint": {"type": "string", "description": "what to do next"},
                    },
                },
            },
            "required": ["code", "message"],
        },
        "id": _IDENTITY,
    },
    "required": ["jsonrpc", "id"],
    "oneOf": [{"required": ["result"]}, {"required": ["error"]}],
    "examples": [
        {
            "jsonrpc": "2.0",
            "error": {"code": int(Code.NOT_FOUND), "message": "there is no such event"},
            "id": 1,
        }
    ],
}

_REQUEST_PROPERTIES: Final = {
    "type": "object",
    "description": "AMQP properties. All but notifications need `reply_to`.",
    "properties": {
        "reply_to": {
            "type": "string",
            "pattern": r"^(amq\.rabbitmq\.reply-to(\..+)?|amq\.gen-.+|jarvis\.reply\..+)$",
            "description": "direct reply-to, a queue named by the server, or `jarvis.reply.*`",
        },
        "correlation_id": _SHORT | {"description": "comes back with the reply"},
        "expiration": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "the deadline in milliseconds",
        },
        "user_id": {"type": "string", "description": "who asks; the broker checks it"},
    },
}

_RESPONSE_PROPERTIES: Final = {
    "type": "object",
    "description": "AMQP properties.",
    "properties": {
        "correlation_id": _SHORT | {"description": "the request's"},
        "expiration": {"type": "string", "description": "when no one waits for it any more"},
    },
}


def _batch_of(name: str) -> Schema:
    return {
        "type": "array",
        "items": component(name),
        "minItems": 1,
        "maxItems": MAX_BATCH,
    }


ENVELOPES: Final[dict[str, Schema]] = {
    "CloudEventHeaders": _CLOUD_EVENT_HEADERS,
    "NoticeProperties": _NOTICE_PROPERTIES,
    "RecordedProperties": _RECORDED_PROPERTIES,
    "Request": _REQUEST,
    "RequestBatch": _batch_of("Request"),
    "RequestProperties": _REQUEST_PROPERTIES,
    "Response": _RESPONSE,
    "ResponseBatch": _batch_of("Response"),
    "ResponseProperties": _RESPONSE_PROPERTIES,
}
"""The schemas by the names that references use."""


def cloud_event(data: Schema) -> Schema:
    """Return the schema of a CloudEvent in structured mode with data of this schema."""
    return {
        "type": "object",
        "description": "A CloudEvent 1.0. Its `time` is that of a body that names none.",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "minLength": 1},
            "type": {"type": "string", "minLength": 1},
            "time": {"type": "string", "format": "date-time"},
            "data": data,
            "data_base64": {"type": "string", "contentEncoding": "base64"},
        },
        "required": ["specversion", "id", "source", "type"],
        "anyOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
    }
