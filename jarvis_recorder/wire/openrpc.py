"""The methods described in OpenRPC (spec.open-rpc.org, 1.3): what `rpc.discover` answers."""

from functools import cache
from typing import Any, Final

from jarvis_recorder import __version__
from jarvis_recorder.wire.answers import Document
from jarvis_recorder.wire.methods import METHODS, Method, adapter
from jarvis_recorder.wire.rpc import Code
from jarvis_recorder.wire.topics import RPC_EXCHANGE, RPC_KEY

_SCHEMAS: Final = "#/components/schemas/"
_ANY_METHOD_MAY_FAIL_WITH: Final = (
    Code.INVALID_PARAMS,
    Code.FORBIDDEN,
    Code.DEADLINE_EXCEEDED,
    Code.UNAVAILABLE,
    Code.RESULT_TOO_LARGE,
)


@cache
def document() -> Document:
    """Return the OpenRPC document, made from the one table of methods."""
    schemas: dict[str, Any] = {}
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "jarvis_recorder",
            "version": __version__,
            "description": "Questions about what is recorded, and preferences: JSON-RPC 2.0 over "
            f"RabbitMQ, exchange `{RPC_EXCHANGE}`, routing key `{RPC_KEY}`, with `reply_to` and "
            "`correlation_id`. Parameters by name or by position.",
            "license": {"name": "MIT"},
        },
        "methods": [_method(method, schemas) for method in METHODS],
        "components": {"schemas": schemas, "errors": _errors()},
    }


def _method(method: Method, schemas: dict[str, Any]) -> dict[str, Any]:
    question = _schema(method.question, "validation", schemas)
    answer = _schema(method.answer, "serialization", schemas)
    required = question.get("required", ())
    return {
        "name": method.name,
        "summary": _first_sentence(question["description"]),
        "description": question["description"],
        "tags": [{"name": "changes" if method.changes else "reads"}],
        "paramStructure": "either",
        "params": [
            {"name": name, "required": name in required, "schema": schema}
            for name, schema in question.get("properties", {}).items()
        ],
        "result": {"name": "result", "schema": answer},
        "errors": [
            {"$ref": f"#/components/errors/{code.name}"} for code in _ANY_METHOD_MAY_FAIL_WITH
        ],
    }


def _schema(shape: Any, mode: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a class's schema, the classes it is made of moved to the shared ones."""
    schema = adapter(shape).json_schema(mode=mode, ref_template=_SCHEMAS + "{model}")
    schemas.update(schema.pop("$defs", {}))
    return schema


def _first_sentence(description: str) -> str:
    return " ".join(description.split()).partition(". ")[0].removesuffix(".")


def _errors() -> dict[str, Any]:
    return {
        code.name: {"code": int(code), "message": code.name.lower().replace("_", " ")}
        for code in Code
    }
