"""The methods described in OpenRPC (spec.open-rpc.org, 1.3): the result of `rpc.discover`."""

from functools import cache
from typing import Any, Final

from jarvis_recorder import __version__
from jarvis_recorder.errors import Conflict, NotFound, RecorderError
from jarvis_recorder.spec.json_schema import (
    IN_COMPONENTS,
    Schema,
    component,
    first_sentence,
    schema_of,
    shared,
)
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.jsonrpc import Code
from jarvis_recorder.wire.rpc.methods import METHODS, Method, adapter
from jarvis_recorder.wire.rpc.results import Document
from jarvis_recorder.wire.topics import RPC_EXCHANGE, RPC_KEY

DESCRIPTION: Final = f"""\
Requests about what is recorded, and preferences: JSON-RPC 2.0 over RabbitMQ.

**Requests.** Publish a request, or a batch of at most {jsonrpc.MAX_BATCH}, to exchange \
`{RPC_EXCHANGE}` under routing key `{RPC_KEY}`, with `reply_to` and `correlation_id`. Parameters \
go by name or by position. `reply_to` is a direct reply-to (`amq.rabbitmq.reply-to`), a queue \
named by the server, or one named `jarvis.reply.*`; a request with any other is dropped.

**The reply** goes to `reply_to` through the default exchange, with your `correlation_id`: one \
for each request, none for notifications. It is at most {jsonrpc.MAX_REPLY_BYTES} bytes long; ask \
for less where that is not enough, and for the rest by `cursor`.

**The deadline** is the property `expiration` in milliseconds, 5000 without it, 60000 at most. \
The reply or an error arrives before it. After `DEADLINE_EXCEEDED` nothing is changed.

**Once.** A request is carried out again where the recorder or its connection broke before the \
reply was out. `events.record` with a `message_id` and `preferences.set` with an \
`expected_version` change something once even then.

**Permissions.** The caller is the property `user_id`, which the broker checks. An administrator \
may allow each user some methods only; others answer `FORBIDDEN`.

**Errors** carry in `data` the `path` of the field they lie in and a `hint` what to do next, \
where there is one to give. No error repeats a value."""

_ERRORS: Final = {
    Code.PARSE_ERROR: "the body is no JSON",
    Code.INVALID_REQUEST: "the body is no JSON-RPC 2.0 request",
    Code.METHOD_NOT_FOUND: "there is no such method",
    Code.INVALID_PARAMS: "a parameter is missing, unknown or wrong",
    Code.INTERNAL_ERROR: "the recorder failed on it",
    Code.NOT_FOUND: "what was asked for is not there",
    Code.CONFLICT: "something else is stored than was taken for granted; nothing is changed",
    Code.FORBIDDEN: "this user may not ask this",
    Code.DEADLINE_EXCEEDED: "there was no answer in time; nothing is changed",
    Code.UNAVAILABLE: "the database cannot be used now; ask again later",
    Code.RESULT_TOO_LARGE: "the reply would be too large; ask for less",
    Code.OUTCOME_UNKNOWN: "the time was over, or the database lost, while the change was being made; read whether it is",
}
_ANY_METHOD_MAY_FAIL_WITH: Final = (Code.INVALID_PARAMS, Code.FORBIDDEN, Code.INTERNAL_ERROR)
_THE_ARCHIVE_MAY_FAIL_WITH: Final = (
    Code.DEADLINE_EXCEEDED,
    Code.UNAVAILABLE,
    Code.RESULT_TOO_LARGE,
)
_CODES: Final[dict[type[RecorderError], Code]] = {NotFound: Code.NOT_FOUND, Conflict: Code.CONFLICT}
_DISCOVER: Final = "rpc.discover"
_TAGS: Final = {
    "reads": {"name": "reads", "description": "Changes nothing."},
    "changes": {
        "name": "changes",
        "description": "Changes what is stored, and has it on disk when it answers.",
    },
}


@cache
def document() -> Document:
    """Return the OpenRPC document, generated from the one table of methods."""
    schemas: dict[str, Schema] = {}
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "jarvis_recorder",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "methods": [_method(method, schemas) for method in METHODS],
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "errors": {
                code.name: {"code": int(code), "message": message}
                for code, message in _ERRORS.items()
            },
            "tags": _TAGS,
        },
    }


def _method(method: Method, schemas: dict[str, Schema]) -> dict[str, Any]:
    params = shared(schema_of(adapter(method.params), refs=IN_COMPONENTS), schemas)
    return {
        "name": method.name,
        "summary": first_sentence(params["description"]),
        "description": params["description"],
        "tags": [{"$ref": f"#/components/tags/{'changes' if method.changes else 'reads'}"}],
        "paramStructure": "either",
        "params": _params(params),
        "result": _result(method, schemas),
        "errors": [{"$ref": f"#/components/errors/{code.name}"} for code in _errors(method)],
        "examples": _examples(method),
    }


def _params(params: Schema) -> list[dict[str, Any]]:
    required = params.get("required", ())
    return [
        {
            "name": name,
            "description": schema["description"],
            "required": name in required,
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in params.get("properties", {}).items()
    ]


def _result(method: Method, schemas: dict[str, Schema]) -> dict[str, Any]:
    schema = schema_of(adapter(method.result), "serialization", refs=IN_COMPONENTS)
    answer = shared(schema, schemas)
    name = answer["title"]
    schemas[name] = answer
    return {
        "name": name,
        "description": answer["description"],
        "schema": component(name),
    }


def _errors(method: Method) -> list[Code]:
    errors = [*_ANY_METHOD_MAY_FAIL_WITH]
    if method.name != _DISCOVER:
        errors += _THE_ARCHIVE_MAY_FAIL_WITH
    if method.fails is not None:
        errors.append(_CODES[method.fails])
    return errors


def _examples(method: Method) -> list[dict[str, Any]]:
    if method.example is None:
        return []
    given, result = method.example
    return [
        {
            "name": method.name,
            "params": [{"name": name, "value": value} for name, value in given.items()],
            "result": {"name": method.result.__name__, "value": result},
        }
    ]
