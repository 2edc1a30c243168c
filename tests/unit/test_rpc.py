"""JSON-RPC 2.0: the examples of its specification, section 7, and whatever else may be sent."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jarvis_recorder.errors import NotFound
from jarvis_recorder.rpc.dispatcher import Dispatcher
from jarvis_recorder.rpc.permissions import Permissions
from jarvis_recorder.telemetry.metrics import CallMetrics
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.jsonrpc import Call, Code, Malformed, RpcError, parse_calls
from jarvis_recorder.wire.rpc.methods import BY_NAME, adapter
from jarvis_recorder.wire.rpc.params import (
    DeletePreference,
    GetPreference,
    ListPreferences,
    SetPreference,
)
from jarvis_recorder.wire.rpc.results import Deleted, OnePreference, Preference
from jarvis_recorder.wire.times import EPOCH, format_datetime
from tests.support.dispatching import dispatched
from tests.support.exchanges import JSON, NUMBERS, SAFE_TEXT
from tests.support.fakes import FakeCount

GET = {"jsonrpc": "2.0", "method": "preferences.get", "params": {"key": "theme"}, "id": 1}


def preference(key: str, value: str = "dark", version: int = 1) -> Preference:
    return Preference(key, value, EPOCH, None, version)


class Shelf:
    """An archive of preferences; implements as much of `ports.Archive` as is asked here."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def answer(self, question: Any, until: float, room: int) -> bytes:
        answer = self._answer(question)
        return adapter(type(answer)).dump_json(answer)

    def _answer(self, question: Any) -> Any:
        self.asked.append(question)
        match question:
            case GetPreference(key="nowhere"):
                raise NotFound("there is no such preference")
            case GetPreference(key=key):
                return OnePreference(preference(key))
            case SetPreference(key=key, value=value):
                return OnePreference(preference(key, value))
            case DeletePreference():
                return Deleted(1)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def ask(shelf):
    """Send a text, return what the reply says; None where there is none."""
    dispatcher = Dispatcher(
        archive=shelf,
        permissions=Permissions({}),
        activity=None,
        document=dict,
        calls=CallMetrics(),
        large=asyncio.Lock(),
        dead_letters=FakeCount(),
    )

    async def send(text: Any) -> Any:
        body = text.encode() if isinstance(text, str) else json.dumps(text).encode()
        reply = await dispatched(dispatcher, body)
        return None if reply is None else json.loads(reply)

    return send


def result(key: str, identity: Any, value: str = "dark") -> dict[str, Any]:
    shown = {
        "key": key,
        "value": value,
        "updated_at": format_datetime(EPOCH),
        "updated_by": None,
        "version": 1,
    }
    return {"jsonrpc": "2.0", "result": {"preference": shown}, "id": identity}


def code_of(reply: dict[str, Any]) -> int:
    """The code of an error response, which holds nothing else."""
    assert reply.keys() == {"jsonrpc", "error", "id"}
    assert reply["jsonrpc"] == "2.0"
    assert reply["error"]["message"]
    return reply["error"]["code"]


# Section 7 of the specification, in its order.


async def test_parameters_by_position(ask):
    ask_for = {"jsonrpc": "2.0", "method": "preferences.set"}

    assert await ask(ask_for | {"params": ["theme", "dark"], "id": 1}) == result("theme", 1)
    assert await ask(ask_for | {"params": ["dark", "theme"], "id": 2}) == result("dark", 2, "theme")


async def test_parameters_by_name_in_any_order(ask):
    ask_for = {"jsonrpc": "2.0", "method": "preferences.set"}
    one_way, other_way = {"key": "theme", "value": "dark"}, {"value": "dark", "key": "theme"}

    assert await ask(ask_for | {"params": one_way, "id": 3}) == result("theme", 3)
    assert await ask(ask_for | {"params": other_way, "id": 4}) == result("theme", 4)


async def test_a_notification_is_carried_out_and_not_answered(ask, shelf):
    assert await ask('{"jsonrpc": "2.0", "method": "preferences.delete", "params": ["a"]}') is None
    assert await ask('{"jsonrpc": "2.0", "method": "foobar"}') is None
    assert shelf.asked == [DeletePreference(key="a")]


async def test_a_method_that_is_not_there(ask):
    reply = await ask('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}')

    assert code_of(reply) == Code.METHOD_NOT_FOUND
    assert reply["id"] == "1"


async def test_what_is_no_json(ask):
    reply = await ask('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]')

    assert code_of(reply) == Code.PARSE_ERROR
    assert reply["id"] is None


async def test_what_is_no_request(ask):
    reply = await ask('{"jsonrpc": "2.0", "method": 1, "params": "bar"}')

    assert code_of(reply) == Code.INVALID_REQUEST
    assert reply["id"] is None


async def test_a_batch_that_is_no_json(ask):
    reply = await ask(
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        '{"jsonrpc": "2.0", "method"]'
    )

    assert code_of(reply) == Code.PARSE_ERROR
    assert reply["id"] is None


async def test_an_empty_array_gets_one_answer(ask):
    reply = await ask("[]")

    assert code_of(reply) == Code.INVALID_REQUEST
    assert reply["id"] is None


@pytest.mark.parametrize("count", [1, 3])
async def test_an_array_of_what_is_no_request_gets_an_answer_for_each(ask, count):
    replies = await ask(list(range(count)))

    assert [code_of(reply) for reply in replies] == [Code.INVALID_REQUEST] * count
    assert [reply["id"] for reply in replies] == [None] * count


async def test_a_batch_of_everything(ask, shelf):
    replies = await ask([
        {"jsonrpc": "2.0", "method": "preferences.get", "params": ["theme"], "id": "1"},
        {"jsonrpc": "2.0", "method": "preferences.delete", "params": ["old"]},
        {"jsonrpc": "2.0", "method": "preferences.set", "params": ["zoom", "2"], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "rpc.discover", "id": "9"},
    ])  # fmt: skip

    assert replies[:2] == [result("theme", "1"), result("zoom", "2", "2")]
    assert [code_of(reply) for reply in replies[2:4]] == [
        Code.INVALID_REQUEST,
        Code.METHOD_NOT_FOUND,
    ]
    assert [reply["id"] for reply in replies] == ["1", "2", None, "5", "9"]
    assert replies[4]["result"] == {}
    assert [type(question) for question in shelf.asked] == [
        GetPreference,
        DeletePreference,
        SetPreference,
    ]


async def test_a_batch_of_notifications_is_not_answered(ask, shelf):
    delete = {"jsonrpc": "2.0", "method": "preferences.delete"}

    assert await ask([delete | {"params": ["a"]}, delete | {"params": ["b"]}]) is None
    assert len(shelf.asked) == 2


# Beyond the examples.


@pytest.mark.parametrize("identity", ["1", "", "ü\n", 1, 0, -1, 2**63 - 1, -(2**63), 1.5, None])
async def test_an_id_comes_back_as_it_was(ask, identity):
    """An id of null is one, and wants an answer."""
    good = await ask(GET | {"id": identity})
    bad = await ask(GET | {"id": identity, "method": "foobar"})
    malformed = await ask(GET | {"id": identity, "params": 5})

    for reply in (good, bad, malformed):
        assert reply["id"] == identity
        assert type(reply["id"]) is type(identity)
    assert "result" in good


@pytest.mark.parametrize("identity", [True, False, [], [1], {}, {"a": 1}])
async def test_an_id_of_another_type_is_refused(ask, identity):
    reply = await ask(GET | {"id": identity})

    assert code_of(reply) == Code.INVALID_REQUEST
    assert reply["id"] is None
    assert reply["error"]["data"]["path"] == "id"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"jsonrpc": "1.0"}, "jsonrpc"),
        ({"jsonrpc": 2.0}, "jsonrpc"),
        ({"jsonrpc": None}, "jsonrpc"),
        ({"method": None}, "method"),
        ({"method": ["preferences.get"]}, "method"),
        ({"params": None}, "params"),
        ({"params": "theme"}, "params"),
        ({"params": 1}, "params"),
        ({"params": True}, "params"),
    ],
)
async def test_a_wrong_member_is_named(ask, change, path):
    reply = await ask(GET | change)

    assert code_of(reply) == Code.INVALID_REQUEST
    assert reply["error"]["data"]["path"] == path
    assert reply["id"] == 1


async def test_members_no_one_knows_are_passed_over(ask):
    assert await ask(GET | {"auth": "x", "result": 1}) == result("theme", 1)


async def test_a_byte_order_mark_is_skipped(ask):
    assert await ask("\ufeff" + json.dumps(GET)) == result("theme", 1)


@pytest.mark.parametrize(
    "text",
    ['{"jsonrpc":"2.0","method":"a","id":1,"id":2}', '{"jsonrpc":"2.0","id":NaN}',
     '{"jsonrpc":"2.0","method":"a","params":["\\u0000"]}', "[" * 200 + "]" * 200,
     '{"jsonrpc":"2.0","id":1e999,"method":"a"}', '"\\ud800"'],
)  # fmt: skip
def test_json_that_readers_do_not_agree_on_is_refused(text):
    ((identity, error),) = parse_calls(text.encode()).calls

    assert identity is None
    assert error.code in (Code.INVALID_REQUEST, Code.PARSE_ERROR)
    assert error.hint


def test_a_batch_of_one_is_a_batch_and_a_hundred_is_the_most():
    assert parse_calls(json.dumps([GET]).encode()).is_batch
    assert (
        len(parse_calls(json.dumps([GET] * jsonrpc.MAX_BATCH).encode()).calls) == jsonrpc.MAX_BATCH
    )

    too_many = parse_calls(json.dumps([GET] * (jsonrpc.MAX_BATCH + 1)).encode())
    assert not too_many.is_batch
    ((_, error),) = too_many.calls
    assert error.code == Code.INVALID_REQUEST


async def test_an_error_is_told_to_who_asked_and_not_to_who_notified(ask, shelf):
    nowhere = {"jsonrpc": "2.0", "method": "preferences.get", "params": ["nowhere"]}

    assert code_of(await ask(nowhere | {"id": 1})) == Code.NOT_FOUND
    assert await ask(nowhere) is None
    assert len(shelf.asked) == 2


@pytest.mark.parametrize(
    ("method", "params", "path"),
    [
        ("preferences.get", [], "key"),
        ("preferences.get", {}, "key"),
        ("preferences.get", [5], "key"),
        ("preferences.get", ["a", "b"], ""),
        ("preferences.get", {"key": "a", "colour": 1}, "colour"),
        ("recorder.stats", [1], ""),
        ("events.histogram", ["2026-01-26T08:00:00Z", "2026-01-26T07:00:00Z"], ""),
    ],
)
def test_wrong_parameters_are_reported_by_their_path(method, params, path):
    with pytest.raises(RpcError) as refused:
        jsonrpc.read_params(BY_NAME[method], params)

    assert refused.value.code == Code.INVALID_PARAMS
    assert refused.value.path == path
    assert method in refused.value.hint


@given(st.text(min_size=12, max_size=40, alphabet="qwz"))
def test_no_error_repeats_a_value(secret):
    wrong = [("events.list", {"type": secret}), ("events.list", {"since": secret}),
             ("events.get", {"id": secret}), ("events.get", [secret]),
             ("events.list", {"limit": secret}), ("preferences.set", {"key": secret * 30}),
             ("events.record", {"extra": secret, "type": secret})]  # fmt: skip
    for method, params in wrong:
        with pytest.raises(RpcError) as refused:
            jsonrpc.read_params(BY_NAME[method], params)
        assert secret not in f"{refused.value.message}{refused.value.path}{refused.value.hint}"


# Any bytes, any JSON.

requests = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "method": st.sampled_from([*BY_NAME]) | JSON,
        "params": JSON,
        "id": JSON,
    },
)


def are_calls_or_faults(body: bytes) -> None:
    calls, is_batch = parse_calls(body)
    assert calls
    assert is_batch or len(calls) == 1
    for call in calls:
        assert isinstance(call.id, str | int | float | None)
        assert not isinstance(call.id, bool)
        match call:
            case Call():
                assert isinstance(call.params, dict | list)
                assert call.id is None or not call.is_notification
            case Malformed():
                assert json.loads(jsonrpc.error_response(call.id, call.error))["id"] == call.id
    silent = all(isinstance(call, Call) and call.is_notification for call in calls)
    assert jsonrpc.wants_no_reply(jsonrpc.parse_calls(body)) == silent


@settings(max_examples=500)
@given(st.binary(max_size=300))
def test_any_bytes_are_calls_or_faults(body):
    are_calls_or_faults(body)


@settings(max_examples=500)
@given(JSON | requests | st.lists(requests, max_size=4))
def test_any_json_is_calls_or_faults(document):
    are_calls_or_faults(json.dumps(document).encode())


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 1_000), st.binary(max_size=3)), max_size=5))
def test_a_good_request_with_any_damage_is_a_call_or_a_fault(damage):
    body = bytearray(json.dumps([GET, GET]).encode())
    for position, piece in damage:
        at = position % len(body)
        body[at : at + 1] = piece or b" "
    are_calls_or_faults(bytes(body))


@settings(max_examples=300)
@given(st.sampled_from([*BY_NAME.values()]), st.lists(JSON, max_size=4) | requests)
def test_any_parameters_are_a_request_or_a_fault(method, params):
    try:
        made: Any = jsonrpc.read_params(method, params)
    except RpcError as error:
        made = error

    assert isinstance(made, method.params) or made.code == Code.INVALID_PARAMS


# From the caller's side.


def test_a_request_holds_no_nul_though_it_may_speak_of_one():
    jsonrpc.request(GetPreference(key="a literal \\u0000"), 1)
    with pytest.raises(RpcError, match="NUL") as refused:
        jsonrpc.request(ListPreferences(prefix="a\0"), 1)

    assert refused.value.code == Code.INVALID_PARAMS


@given(NUMBERS | SAFE_TEXT)
def test_a_request_carries_its_id(identity):
    (call,) = parse_calls(jsonrpc.request(GetPreference(key="theme"), identity)).calls

    assert call == Call(identity, False, BY_NAME["preferences.get"], {"key": "theme"})


@given(st.sampled_from(Code), SAFE_TEXT, SAFE_TEXT, SAFE_TEXT)
def test_a_fault_arrives_as_it_was_sent(code, message, path, hint):
    sent = RpcError(code, message, path=path, hint=hint)

    with pytest.raises(RpcError) as received:
        jsonrpc.read_response(GetPreference(key="a"), jsonrpc.error_response(1, sent))

    assert vars(received.value) == vars(sent)


def test_an_error_of_another_maker_is_a_fault_all_the_same():
    """Each server defines what `data` holds."""
    for data in (None, "a text", 5, [1], {"path": None}):
        error = {"code": -32000, "message": "oh", "data": data}
        body = json.dumps({"jsonrpc": "2.0", "error": error, "id": 1}).encode()
        with pytest.raises(RpcError, match="oh") as received:
            jsonrpc.read_response(GetPreference(key="a"), body)
        assert vars(received.value) == {"code": -32000, "message": "oh", "path": "", "hint": ""}


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"5", b"[]", b"{}", b'"error"', b'{"error":null}', b'{"error":"boom"}',
     b'{"error":{}}', b'{"error":{"code":"x","message":"y"}}', b'{"error":{"code":1e999}}',
     b'{"result":null}', b'{"result":{"preference":{}}}', b'{"result":{"deleted":1}}', b"\xff"],
)  # fmt: skip
def test_what_is_no_answer_is_reported_as_such(body):
    with pytest.raises(RpcError) as refused:
        jsonrpc.read_response(GetPreference(key="a"), body)

    assert refused.value.code == Code.INTERNAL_ERROR


@settings(max_examples=300)
@given(
    st.binary(max_size=100)
    | st.fixed_dictionaries(
        {},
        optional={
            "result": JSON,
            "error": JSON | st.fixed_dictionaries({"code": JSON, "message": JSON, "data": JSON}),
        },
    ).map(lambda response: json.dumps(response).encode())
)
def test_any_reply_is_an_answer_or_a_fault(body):
    try:
        answer = jsonrpc.read_response(DeletePreference(key="a"), body)
    except RpcError:
        return
    assert isinstance(answer, Deleted)
