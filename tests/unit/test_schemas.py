"""The files in `schemas/` are what the code says, and they say what the code does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.delivery import Delivery
from jarvis_recorder.wire.records import BODIES
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.schemas import documents
from jarvis_recorder.wire.topics import TOPICS, Kind

SCHEMAS = Path(__file__).parents[2] / "schemas"
ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "default", "format"}

NODE_DOWN = {
    "type": "alert",
    "severity": "critical",
    "source": "monitor",
    "node": "pve",
    "summary": "[Monitor] NODE_DOWN: pve changed from online to offline",
    "details": {"previousState": "online", "currentState": "offline"},
    "timestamp": "2026-01-26T08:00:37Z",
}
STATE = {"snapshot": {"nodes": [{"name": "Home"}], "vms": []}, "cluster": "home"}
ANSWER = {
    "session_id": "session-0",
    "role": "assistant",
    "content": "Node Home is online; CPU 12 %.",
    "model": "qwen",
    "tokens_used": 122,
    "cost_usd": "0.0012",
    "tool_calls": [{"name": "get_node_status", "input": {"node": "Home"}}],
}
EXAMPLES = {Kind.EVENT: NODE_DOWN, Kind.SNAPSHOT: STATE, Kind.TURN: ANSWER}
WRONG = [
    (Kind.EVENT, NODE_DOWN | {"type": "rumour"}),
    (Kind.EVENT, NODE_DOWN | {"severity": None}),
    (Kind.EVENT, NODE_DOWN | {"summary": ""}),
    (Kind.EVENT, NODE_DOWN | {"summary": "x" * 8_193}),
    (Kind.EVENT, {"type": "alert", "source": "monitor"}),
    (Kind.EVENT, [NODE_DOWN]),
    (Kind.SNAPSHOT, STATE | {"snapshot": [1]}),
    (Kind.SNAPSHOT, STATE | {"cluster": "x" * 256}),
    (Kind.TURN, ANSWER | {"role": "jester"}),
    (Kind.TURN, ANSWER | {"tokens_used": -1}),
    (Kind.TURN, ANSWER | {"tokens_used": 1.5}),
    (Kind.TURN, ANSWER | {"tokens_used": "1"}),
    (Kind.TURN, ANSWER | {"cost_usd": "cheap"}),
    (Kind.TURN, ANSWER | {"session_id": ""}),
    (Kind.TURN, ANSWER | {"id": "x" * 256}),
]

IS_OF_TYPE = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "null": lambda value: value is None,
}


def admits(schema: dict[str, Any], value: Any, root: dict[str, Any] | None = None) -> bool:
    """
    Whether a JSON Schema admits a value: the keywords that the documents use, no others.

    A validator from PyPI would be one more dependency for twelve keywords.
    """
    root = schema if root is None else root
    rules = {
        "$ref": lambda path: admits(root["$defs"][path.removeprefix("#/$defs/")], value, root),
        "anyOf": lambda options: any(admits(option, value, root) for option in options),
        "enum": lambda options: value in options,
        "type": lambda name: IS_OF_TYPE[name](value),
        "required": lambda names: all(name in value for name in names),
        "properties": lambda fields: all(
            admits(fields[name], item, root) for name, item in value.items() if name in fields
        ),
        "additionalProperties": lambda allowed: allowed is True,
        "items": lambda each: all(admits(each, item, root) for item in value),
        "minItems": lambda least: len(value) >= least,
        "maxItems": lambda most: len(value) <= most,
        "minLength": lambda least: len(value) >= least,
        "maxLength": lambda most: len(value) <= most,
        "minimum": lambda least: value >= least,
        "maximum": lambda most: value <= most,
        "pattern": lambda pattern: re.search(pattern, value) is not None,
    }
    if "type" in schema and not rules["type"](schema["type"]):
        return False
    return all(rules[key](rule) for key, rule in schema.items() if key not in ANNOTATIONS)


def is_recorded(kind: Kind, body: Any) -> bool:
    (topic,) = (topic for topic in TOPICS if topic.kind is kind)
    text = json.dumps(body).encode()
    decoded = decode(Delivery(1, False, b"jarvis", b"key", bytes(14), text), topic, 0)
    return bool(decoded.records) and not decoded.refusals


def test_the_files_are_what_the_code_says():
    """`make schemas` writes them anew."""
    written = {path.stem: json.loads(path.read_text("utf-8")) for path in SCHEMAS.glob("*.json")}

    assert documents().items() <= written.items()


@pytest.mark.parametrize(("name", "document"), documents().items())
def test_each_schema_says_what_it_is(name, document):
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"] == f"urn:jarvis-recorder:schema:{name}"
    assert document["title"]
    assert document["description"]


@pytest.mark.parametrize("kind", Kind)
def test_every_field_of_a_body_is_described_by_its_schema(kind):
    assert documents()[kind]["properties"].keys() == BODIES[kind].fields


@pytest.mark.parametrize("kind", Kind)
def test_a_good_message_is_admitted_and_recorded(kind):
    body = EXAMPLES[kind]
    more = body | {"reporter": "a newer publisher"}

    for good in (body, more):
        assert admits(documents()[kind], good)
        assert is_recorded(kind, good)
    assert admits(documents()[f"{kind}-batch"], [body, more])
    assert is_recorded(kind, [body, more])


@pytest.mark.parametrize(("kind", "body"), WRONG)
def test_a_wrong_message_is_neither_admitted_nor_recorded(kind, body):
    assert not admits(documents()[kind], body)
    if not isinstance(body, list):
        assert not is_recorded(kind, body)
        assert not admits(documents()[f"{kind}-batch"], [EXAMPLES[kind], body])


@pytest.mark.parametrize("kind", Kind)
def test_an_empty_batch_is_neither_admitted_nor_recorded(kind):
    assert not admits(documents()[f"{kind}-batch"], [])
    assert not is_recorded(kind, [])


def test_the_dead_letter_names_every_reason():
    headers = documents()["dead-letter"]["properties"]

    assert headers["x-recorder-reason"]["enum"] == [reason.value for reason in Reason]


@pytest.mark.parametrize("timestamp", [5, 5.0, True, 1_769_414_437])
def test_a_time_is_text(timestamp):
    body = NODE_DOWN | {"timestamp": timestamp}

    assert not admits(documents()[Kind.EVENT], body)
    assert not is_recorded(Kind.EVENT, body)
