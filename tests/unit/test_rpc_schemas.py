"""Every request and reply on the wire is valid by the published schemas."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jarvis_recorder.spec.documents import documents
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.jsonrpc import RpcError
from jarvis_recorder.wire.rpc.methods import BY_NAME, BY_PARAMS
from tests.support.exchanges import answers, questions
from tests.support.validation import admits, objection

SCHEMAS = documents()
thorough = settings(max_examples=400, suppress_health_check=[HealthCheck.filter_too_much])


@thorough
@given(questions())
def test_every_request_is_admitted_and_arrives_as_it_was_asked(question):
    method = BY_PARAMS[type(question)]
    (call,) = jsonrpc.parse_calls(jsonrpc.request(question, 1)).calls

    assert call.method is method
    assert objection(SCHEMAS[f"rpc/{method.name}.params"], call.params) == ""
    assert jsonrpc.read_params(method, call.params) == question


@pytest.mark.long
@thorough
@given(answers(), st.uuids().map(str) | st.integers(-(2**63), 2**63 - 1))
def test_every_answer_is_admitted_and_arrives_as_it_was_given(exchange, identity):
    method, answer = exchange
    response = jsonrpc.response(identity, jsonrpc.write_answer(method, answer))
    question = object.__new__(method.params)

    result = json.loads(response)["result"]
    assert objection(SCHEMAS[f"rpc/{method.name}.result"], result) == ""
    assert json.loads(response)["id"] == identity
    assert jsonrpc.read_response(question, response) == answer


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("events.list", {"limit": 0}),
        ("events.list", {"limit": 1_001}),
        ("events.list", {"limit": "50"}),
        ("events.list", {"limit": True}),
        ("events.list", {"resolved": "yes"}),
        ("events.list", {"resolved": 1}),
        ("events.list", {"type": "rumour"}),
        ("events.list", {"since": "2026-01-26T08:00:00"}),
        ("events.list", {"since": 5}),
        ("events.list", {"order": "asc"}),
        ("events.list", {"text": ""}),
        ("events.get", {}),
        ("events.get", {"id": 0}),
        ("events.get", {"id": "1"}),
        ("events.record", {"type": "alert", "source": "monitor"}),
        ("events.record", {"type": "alert", "source": "monitor", "summary": "s", "extra": 1}),
        ("events.histogram", {"since": "2026-01-26T08:00:00Z"}),
        ("conversations.turns", {"session_id": "x" * 256}),
        ("conversations.usage", {"since": "2026-01-26T08:00:00Z", "by": "hour"}),
        ("timeline.around", {"timestamp": "2026-01-26T08:00:00Z", "window_seconds": 0}),
        ("preferences.set", {"key": "theme"}),
        ("preferences.set", {"key": "theme", "value": None}),
        ("preferences.set", {"key": "theme", "value": "x" * 65_537}),
        ("preferences.set", {"key": "theme", "value": "dark", "expected_version": -1}),
        ("recorder.stats", {"verbose": True}),
        ("rpc.discover", {"method": "events.list"}),
    ],
)
def test_wrong_parameters_are_neither_admitted_nor_accepted(method, params):
    assert not admits(SCHEMAS[f"rpc/{method}.params"], params)
    with pytest.raises(RpcError) as refused:
        jsonrpc.read_params(BY_NAME[method], params)
    assert refused.value.code == jsonrpc.Code.INVALID_PARAMS


TIMES = [
    ("events.list", {}, "since"),
    ("events.list", {}, "until"),
    ("events.histogram", {"until": "2026-01-27T00:00:00Z"}, "since"),
    ("conversations.sessions", {}, "since"),
    ("conversations.usage", {}, "since"),
    ("snapshots.list", {}, "until"),
    ("snapshots.at", {}, "timestamp"),
    ("timeline.around", {}, "timestamp"),
    ("events.record", {"type": "alert", "source": "user", "summary": "s"}, "timestamp"),
]


@pytest.mark.parametrize(("method", "others", "name"), TIMES)
@pytest.mark.parametrize(
    "given",
    [1_769_414_437, 1_769_414_437.0, 1_769_414_437_000, 1_769_414_437_000_000,
     1_769_414_437_000_000_000, "2026-01-26T08:00:37Z"],
)  # fmt: skip
def test_a_time_is_also_a_number_of_the_unit_that_its_magnitude_tells(method, others, name, given):
    params = others | {name: given}

    assert admits(SCHEMAS[f"rpc/{method}.params"], params)
    question = jsonrpc.read_params(BY_NAME[method], params)
    assert getattr(question, name) == datetime(2026, 1, 26, 8, 0, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    "given", ["1769414437", "2026-01-26T09:00:37+01", "2026-01-26T08:00:37,0Z"]
)
def test_a_time_is_taken_in_the_spellings_of_a_message_too(given):
    question = jsonrpc.read_params(BY_NAME["events.list"], {"since": given})

    assert question.since == datetime(2026, 1, 26, 8, 0, 37, tzinfo=UTC)


@pytest.mark.parametrize("given", [5, 20_260_131, 202_601_310_800, -1_769_414_437, True, [], {}])
@pytest.mark.parametrize(("method", "others", "name"), TIMES)
def test_what_is_no_time_is_neither_admitted_nor_accepted(method, others, name, given):
    params = others | {name: given}

    assert not admits(SCHEMAS[f"rpc/{method}.params"], params)
    with pytest.raises(RpcError, match="a time"):
        jsonrpc.read_params(BY_NAME[method], params)


@pytest.mark.parametrize("given", ["2026-01-26", "2026-01-26T09:00:37 01:00", "yesterday"])
def test_what_names_no_instant_outside_a_url_or_a_machine_is_refused(given):
    with pytest.raises(RpcError, match="a time"):
        jsonrpc.read_params(BY_NAME["events.list"], {"since": given})


def test_an_event_may_carry_fields_that_no_one_knows_yet():
    params = {"type": "alert", "source": "monitor", "summary": "s", "rack": 3, "extra": {"u": 1}}

    assert admits(SCHEMAS["rpc/events.record.params"], params)
    question = jsonrpc.read_params(BY_NAME["events.record"], params)
    assert question.extra == {"rack": 3, "u": 1}


def test_null_means_what_is_not_given():
    params = dict.fromkeys(("type", "since", "until", "text", "cursor", "resolved"))

    assert admits(SCHEMAS["rpc/events.list.params"], params)
    assert jsonrpc.read_params(BY_NAME["events.list"], params) == jsonrpc.read_params(
        BY_NAME["events.list"], {}
    )
