"""
The documents in `schemas/`, by name.

Generated from the classes that validate and write, so that they say nothing of a message that
the code does not do.
"""

from collections.abc import Iterator

from jarvis_recorder.spec import asyncapi, messages, openrpc
from jarvis_recorder.spec.json_schema import DIALECT, Schema, schema_of
from jarvis_recorder.wire.notifications import NOTICES
from jarvis_recorder.wire.rpc.methods import METHODS, Method, adapter
from jarvis_recorder.wire.topics import TOPICS


def documents() -> dict[str, Schema]:
    """Return every document by its name; the parts of a name are folders and a file."""
    schemas = {name: _named(name, schema) for name, schema in _schemas()}
    return {"asyncapi": asyncapi.document(), "openrpc": openrpc.document(), **schemas}


def _schemas() -> Iterator[tuple[str, Schema]]:
    for topic in TOPICS:
        yield topic.kind.value, messages.body(topic)
        yield f"{topic.kind.value}-batch", messages.batch(topic)
    yield "dead-letter", messages.dead_letter()
    for announced in NOTICES:
        yield f"notices/{announced.routing_key}", messages.notice(announced)
    for method in METHODS:
        yield f"rpc/{method.name}.params", _params(method)
        yield f"rpc/{method.name}.result", _result(method)


def _params(method: Method) -> Schema:
    return schema_of(adapter(method.params)) | {"title": f"Parameters of {method.name}"}


def _result(method: Method) -> Schema:
    schema = schema_of(adapter(method.result), "serialization")
    return schema | {"title": f"Result of {method.name}"}


def _named(name: str, schema: Schema) -> Schema:
    """Return a schema with an `$id` that identifies it wherever it is found."""
    head = {
        "$schema": DIALECT,
        "$id": f"urn:jarvis-recorder:schema:{name}",
        "title": schema["title"],
        "description": schema["description"],
    }
    return head | {key: value for key, value in schema.items() if key not in head}
