"""The files in `schemas/` are what the code says, and they say what the code does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from jarvis_recorder.cli.schema import text
from jarvis_recorder.spec.documents import documents
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.records import BODIES
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.topics import TOPICS, Kind
from tests.support.validation import admits

SCHEMAS = Path(__file__).parents[2] / "schemas"
README = Path(__file__).parents[2] / "README.md"
JSON_SCHEMAS = {
    name: document for name, document in documents().items() if name not in ("asyncapi", "openrpc")
}

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
    (Kind.EVENT, NODE_DOWN | {"severity": "purple"}),
    (Kind.EVENT, NODE_DOWN | {"summary": ""}),
    (Kind.EVENT, NODE_DOWN | {"summary": "x" * 8_193}),
    (Kind.EVENT, {"type": "alert", "source": "monitor"}),
    (Kind.EVENT, [NODE_DOWN]),
    (Kind.SNAPSHOT, STATE | {"snapshot": [1]}),
    (Kind.SNAPSHOT, STATE | {"cluster": "x" * 256}),
    (Kind.TURN, ANSWER | {"role": "jester"}),
    (Kind.TURN, ANSWER | {"tokens_used": -1}),
    (Kind.TURN, ANSWER | {"tokens_used": 1.5}),
    (Kind.TURN, ANSWER | {"tokens_used": "one"}),
    (Kind.TURN, ANSWER | {"cost_usd": "cheap"}),
    (Kind.TURN, ANSWER | {"session_id": ""}),
    (Kind.TURN, ANSWER | {"id": "x" * 256}),
]


def is_recorded(kind: Kind, body: Any) -> bool:
    (topic,) = (topic for topic in TOPICS if topic.kind is kind)
    text = json.dumps(body).encode()
    decoded = decode(Delivery(1, False, b"jarvis", b"key", bytes(14), text), topic, 0)
    return bool(decoded.records) and not decoded.refusals


def test_the_files_are_what_the_code_says():
    """`make schemas` writes them anew."""
    written = {
        path.relative_to(SCHEMAS).as_posix(): path.read_text("utf-8")
        for path in SCHEMAS.rglob("*.json")
    }

    assert {f"{name}.json": text(document) for name, document in documents().items()} == written


@pytest.mark.parametrize(("name", "document"), JSON_SCHEMAS.items())
def test_each_schema_says_what_it_is(name, document):
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"] == f"urn:jarvis-recorder:schema:{name}"
    assert document["title"]
    assert document["description"]
    Draft202012Validator.check_schema(document)


@pytest.mark.parametrize("document", documents().values(), ids=documents())
def test_every_reference_leads_somewhere(document):
    for reference in references(document):
        there = document
        for part in reference.removeprefix("#/").split("/"):
            there = there[part]
        assert there


def references(document: Any) -> Iterator[str]:
    match document:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for part in document.values():
                yield from references(part)
        case list():
            for part in document:
                yield from references(part)


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


@pytest.mark.long
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


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.EVENT, NODE_DOWN | {"severity": "notice"}),
        (Kind.EVENT, NODE_DOWN | {"severity": None}),
        (Kind.EVENT, NODE_DOWN | {"timestamp": 1_769_414_437}),
        (Kind.TURN, ANSWER | {"role": "developer"}),
        (Kind.TURN, ANSWER | {"tokens_used": "1"}),
    ],
)
def test_what_common_publishers_send_is_recorded_but_no_form_to_write(kind, body):
    assert not admits(documents()[kind], body)
    assert is_recorded(kind, body)


@pytest.mark.parametrize("timestamp", [5, 5.0, True, 20_260_131])
def test_a_time_that_names_no_instant_is_neither(timestamp):
    body = NODE_DOWN | {"timestamp": timestamp}

    assert not admits(documents()[Kind.EVENT], body)
    assert not is_recorded(Kind.EVENT, body)


def test_the_message_of_the_readme_is_admitted_and_recorded():
    (example,) = re.findall(r"```json\n(.+?)```", README.read_text("utf-8"), re.DOTALL)
    body = json.loads(example)

    assert admits(documents()["event"], body)
    assert is_recorded(Kind.EVENT, body)
