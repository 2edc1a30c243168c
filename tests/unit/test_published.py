"""OpenRPC and AsyncAPI: valid by their own specifications, and true."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from jarvis_recorder.broker.topology import EXCHANGES, QUEUES
from jarvis_recorder.rpc import responder
from jarvis_recorder.spec import asyncapi, openrpc
from jarvis_recorder.spec.documents import documents
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.methods import BY_NAME, METHODS, adapter
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import content_header
from tests.support.validation import admits, objection

SPECIFICATIONS = Path(__file__).parents[1] / "specifications"
OPENRPC = openrpc.document()
ASYNCAPI = asyncapi.document()
METHOD = {method["name"]: method for method in OPENRPC["methods"]}
TOPIC = {f"{topic.kind}s": topic for topic in TOPICS}
RECORDED = [
    pytest.param(TOPIC[channel], message, id=name)
    for channel in TOPIC
    for name, message in ASYNCAPI["channels"][channel]["messages"].items()
]


def specification(name: str) -> Draft7Validator:
    schema = json.loads((SPECIFICATIONS / f"{name}.json").read_text("utf-8"))
    other = json.loads((SPECIFICATIONS / "json-schema.json").read_text("utf-8"))
    registry = Registry().with_resources(
        (uri, DRAFT7.create_resource(other))
        for uri in ("https://meta.json-schema.tools", "https://meta.json-schema.tools/")
    )
    return Draft7Validator(schema, registry=registry)


@pytest.mark.parametrize(("name", "document"), [("openrpc", OPENRPC), ("asyncapi", ASYNCAPI)])
def test_the_specification_admits_the_document(name, document):
    errors = [f"{error.json_path}: {error.message}" for error in
              specification(name).iter_errors(document)]  # fmt: skip

    assert errors == []


@pytest.mark.parametrize(("name", "document"), [("openrpc", OPENRPC), ("asyncapi", ASYNCAPI)])
def test_the_specification_would_refuse_a_wrong_one(name, document):
    assert not specification(name).is_valid({**document, "info": {"title": 5}})
    assert not specification(name).is_valid({**document, name: "0.1"})


# OpenRPC


def test_every_method_is_described():
    assert list(METHOD) == [method.name for method in METHODS]


@pytest.mark.parametrize("name", METHOD)
def test_every_parameter_is_explained(name):
    assert METHOD[name]["description"]
    assert [param["name"] for param in METHOD[name]["params"] if not param["description"]] == []


@pytest.mark.parametrize("name", METHOD)
def test_what_must_be_given_comes_first(name):
    """OpenRPC: all optional params must be positioned after all required ones."""
    required = [param["required"] for param in METHOD[name]["params"]]

    assert required == sorted(required, reverse=True)


@pytest.mark.parametrize("name", METHOD)
def test_parameters_by_position_are_in_the_order_described(name):
    """The values of the example, given by position, make the same question as by name."""
    for example in METHOD[name].get("examples", ()):
        given = {param["name"]: param["value"] for param in example["params"]}
        names = [param["name"] for param in METHOD[name]["params"]]
        last = max((names.index(name) for name in given), default=-1)
        defaults = {
            param["name"]: param["schema"].get("default") for param in METHOD[name]["params"]
        }
        by_position = [(defaults | given)[name] for name in names[: last + 1]]

        method = BY_NAME[name]
        assert jsonrpc.read_params(method, by_position) == jsonrpc.read_params(method, given)


@pytest.mark.long
@pytest.mark.parametrize("name", METHOD)
def test_every_method_but_discover_has_an_example_that_its_schemas_admit(name):
    examples = METHOD[name]["examples"]

    assert len(examples) == (name != "rpc.discover")
    for example in examples:
        params = {param["name"]: param["value"] for param in example["params"]}
        assert objection(documents()[f"rpc/{name}.params"], params) == ""
        assert objection(documents()[f"rpc/{name}.result"], example["result"]["value"]) == ""


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_example_is_exactly_what_is_sent(method):
    """A field left out, or a time written in another way, would mislead any caller who copies it."""
    if method.example is None:
        return
    given, result = method.example
    params = jsonrpc.read_params(method, given)
    written = json.loads(jsonrpc.request(params, 1))["params"]
    answered = adapter(method.result).validate_python(result)

    assert written == given
    assert json.loads(jsonrpc.write_answer(method, answered)) == result


def test_every_error_code_is_explained():
    assert {error["code"] for error in OPENRPC["components"]["errors"].values()} == set(
        jsonrpc.Code
    )


def test_methods_that_change_something_say_so():
    tagged = {name for name, method in METHOD.items()
              if method["tags"] == [{"$ref": "#/components/tags/changes"}]}  # fmt: skip

    assert tagged == {method.name for method in METHODS if method.changes}


def test_the_deadlines_told_are_those_kept():
    for seconds in (responder.DEFAULT_SECONDS, responder.LONGEST_SECONDS):
        assert f"{seconds * 1_000:.0f}" in OPENRPC["info"]["description"]


# AsyncAPI


@pytest.mark.parametrize(("topic", "message"), RECORDED)
def test_every_message_shown_is_recorded_and_admitted_by_its_schema(topic, message):
    payload = message["payload"] | {"components": ASYNCAPI["components"]}
    for example in message["examples"]:
        headers = example.get("headers", {})
        header = content_header(content_type=message["contentType"], headers=headers)
        body = json.dumps(example["payload"]).encode()
        decoded = decode(Delivery(1, False, b"jarvis", b"key", header, body), topic, 0)

        assert objection(payload, example["payload"]) == ""
        assert decoded.records
        assert not decoded.refusals


@pytest.mark.parametrize(("topic", "message"), RECORDED)
def test_a_message_without_its_body_is_neither_recorded_nor_admitted(topic, message):
    payload = message["payload"] | {"components": ASYNCAPI["components"]}
    for wrong in ({}, [], [{}], "text"):
        header = content_header(content_type=message["contentType"])
        body = json.dumps(wrong).encode()
        decoded = decode(Delivery(1, False, b"jarvis", b"key", header, body), topic, 0)

        assert not admits(payload, wrong)
        assert not decoded.records


@pytest.mark.parametrize(
    "name", ["eventResolved", "eventReopened", "incidentOpened", "preferenceChanged"]
)
def test_every_notice_shown_is_admitted_by_its_schema(name):
    (message,) = ASYNCAPI["channels"][name]["messages"].values()
    payload = message["payload"] | {"components": ASYNCAPI["components"]}

    for example in message["examples"]:
        assert objection(payload, example["payload"]) == ""


def test_a_deleted_preference_is_announced_by_its_key():
    schema = documents()["notices/recorder.preference.changed"]

    assert admits(schema, {"preference": {"key": "theme", "deleted": True}})
    assert not admits(schema, {"preference": {"key": "theme", "deleted": False}})
    assert not admits(schema, {"preference": {"key": "theme"}})


def test_exchanges_and_queues_are_those_that_are_declared():
    bindings = [channel["bindings"]["amqp"] for channel in ASYNCAPI["channels"].values()]
    exchanges = {(amqp["exchange"]["name"], amqp["exchange"]["type"]) for amqp in bindings}
    queues = {
        (amqp["x-queue"]["name"], amqp["exchange"]["name"], amqp["x-queue"]["routingKey"])
        for amqp in bindings
        if "x-queue" in amqp
    }

    assert exchanges - {("", "default")} == set(EXCHANGES)
    assert queues == {(queue.name, queue.exchange, queue.routing_key) for queue in QUEUES}


@pytest.mark.parametrize(
    "address",
    ["amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.g1h2", "amq.gen-Xa9", "jarvis.reply.ui",
     "jarvis.recorder.events", "", "amq.gen-", "my.jarvis.reply.ui"],
)  # fmt: skip
def test_replies_go_where_it_is_said(address):
    schema = ASYNCAPI["components"]["schemas"]["RequestProperties"]

    assert admits(schema, {"reply_to": address}) == bool(responder._REPLY_ADDRESS(address))


def test_requests_and_responses_are_admitted_by_their_schemas():
    schemas = ASYNCAPI["components"]["schemas"]
    error = jsonrpc.RpcError(
        jsonrpc.Code.NOT_FOUND, "there is no such event", path="id", hint="look"
    )
    for response in (jsonrpc.response(1, b"{}"), jsonrpc.error_response("x", error)):
        assert objection(schemas["Response"], json.loads(response)) == ""
    for example in schemas["Request"]["examples"]:
        assert objection(schemas["Request"], example) == ""
        call = jsonrpc.parse_calls(json.dumps(example).encode()).calls[0]
        assert jsonrpc.read_params(BY_NAME["events.get"], call.params)
