"""Every call gets exactly one well-formed answer, and every notification none."""

import asyncio
import gzip
import json
import re
import threading
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from jarvis_recorder.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidParameter,
    NotFound,
    RecordRefused,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.rpc.dispatcher import Dispatcher
from jarvis_recorder.rpc.permissions import Permissions
from jarvis_recorder.telemetry.metrics import CallMetrics
from jarvis_recorder.wire.rpc import jsonrpc, results
from jarvis_recorder.wire.rpc import params as questions
from jarvis_recorder.wire.rpc.methods import BY_NAME, METHODS, adapter
from tests.support.dispatching import LATER, dispatched
from tests.support.fakes import CannedArchive, FakeCount

MOMENT = datetime(2026, 11, 23, 8, tzinfo=UTC)
THEME = results.Preference("theme", "dark", MOMENT, "ada", 3)


def dispatcher(
    archive: CannedArchive,
    rules: dict[str, list[str]] | None = None,
    count: FakeCount | None = None,
    document: Callable[[], results.Document] = lambda: {"openrpc": "1.3.2"},
) -> Dispatcher:
    return Dispatcher(
        archive=archive,
        permissions=Permissions(rules or {}),
        activity=lambda: results.Activity("1.0", "recording", MOMENT, 5, 1, 0, 0.5, 1.5),
        document=document,
        calls=CallMetrics(),
        large=asyncio.Lock(),
        dead_letters=count or FakeCount(),
    )


@pytest.fixture
def archive() -> CannedArchive:
    archive = CannedArchive()
    archive.answers[questions.GetPreference] = results.OnePreference(THEME)
    archive.answers[questions.SetPreference] = results.OnePreference(THEME)
    archive.answers[questions.DeletePreference] = results.Deleted(1)
    return archive


@pytest.mark.parametrize("waiting", [None, 7])
async def test_the_index_of_dead_letters_is_asked_with_the_number_that_wait(archive, waiting):
    count = FakeCount()
    count.waiting = waiting
    faults = results.DeadLetterFaults([], waiting, 7, waiting == 7)
    archive.answers[questions.ReadDeadLetters] = faults
    reply = await dispatched(
        dispatcher(archive, count=count), json.dumps(call("dead.faults", {"limit": 3})).encode()
    )

    assert json.loads(reply or b"")["result"]["waiting"] == waiting
    asked = questions.ReadDeadLetters(asked=questions.ListDeadFaults(limit=3), waiting=waiting)
    assert archive.asked[-1] == asked


def call(method: str = "preferences.get", params: Any = None, **members: Any) -> dict[str, Any]:
    params = {"key": "theme"} if params is None else params
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": 1} | members


async def ask(archive: CannedArchive, document: Any, user: str | None = None, **rules: Any) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    reply = await dispatched(dispatcher(archive, rules), body, user)
    return None if reply is None else json.loads(reply)


async def test_a_request_is_answered_with_its_result(archive):
    assert await ask(archive, call(id="a-1")) == {
        "jsonrpc": "2.0",
        "id": "a-1",
        "result": {
            "preference": {
                "key": "theme",
                "value": "dark",
                "updated_at": "2026-11-23T08:00:00.000000Z",
                "updated_by": "ada",
                "version": 3,
            }
        },
    }


async def test_parameters_may_be_given_by_position(archive):
    await ask(archive, call(params=["theme"]))

    assert archive.asked == [questions.GetPreference(key="theme")]


async def test_a_notification_is_executed_and_not_answered(archive):
    document = call("preferences.set", {"key": "theme", "value": "dark"})
    del document["id"]

    assert await ask(archive, document) is None
    assert archive.asked == [questions.SetPreference(key="theme", value="dark")]


async def test_a_batch_is_worked_through_in_order(archive):
    noted = call("preferences.delete", {"key": "a"})
    del noted["id"]
    batch = [call("preferences.set", {"key": "a", "value": "1"}), noted, 7, call(id=2)]

    replies = await ask(archive, batch)

    assert [type(question) for question in archive.asked] == [
        questions.SetPreference,
        questions.DeletePreference,
        questions.GetPreference,
    ]
    assert [reply["id"] for reply in replies] == [1, None, 2]
    assert replies[1]["error"]["code"] == jsonrpc.Code.INVALID_REQUEST


async def test_a_batch_of_notifications_is_not_answered(archive):
    noted = call()
    del noted["id"]

    assert await ask(archive, [noted, noted]) is None
    assert len(archive.asked) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("there is no preference of this key"), jsonrpc.Code.NOT_FOUND),
        (Conflict("it is at version 4"), jsonrpc.Code.CONFLICT),
        (InvalidParameter("cursor", "of another request"), jsonrpc.Code.INVALID_PARAMS),
        (RecordRefused("x"), jsonrpc.Code.INVALID_PARAMS),
        (DeadlineExceeded(), jsonrpc.Code.DEADLINE_EXCEEDED),
        (StorageUnavailable("database is locked"), jsonrpc.Code.UNAVAILABLE),
        (ZeroDivisionError("secret"), jsonrpc.Code.INTERNAL_ERROR),
    ],
)
async def test_an_error_is_answered_with_its_code(archive, error, code):
    archive.answers[questions.GetPreference] = error

    reply = await ask(archive, call())

    assert reply["error"]["code"] == code
    assert "secret" not in json.dumps(reply)
    assert "result" not in reply


async def test_the_log_says_where_a_defect_is_and_not_what_it_says(archive):
    archive.answers[questions.GetPreference] = ZeroDivisionError("secret")

    with capture_logs() as logs:
        await ask(archive, call())

    (line,) = (line for line in logs if line["event"] == "request_failed")
    assert re.fullmatch(r"ZeroDivisionError in \w+\.py:\d+, \w+", line["error"])


async def test_an_answer_that_cannot_be_written_is_answered_all_the_same(archive):
    archive.answers[questions.GetPreference] = object()

    assert (await ask(archive, call()))["error"]["code"] == jsonrpc.Code.INTERNAL_ERROR


async def test_an_error_of_parameters_names_the_field_and_not_the_value(archive):
    reply = await ask(archive, call("preferences.set", {"key": "k", "value": 5, "owner": "hidden"}))

    assert reply["error"]["code"] == jsonrpc.Code.INVALID_PARAMS
    assert reply["error"]["data"]["path"] in ("value", "owner")
    assert "hidden" not in json.dumps(reply)
    assert archive.asked == []


async def test_an_unknown_method_is_not_found(archive):
    assert (await ask(archive, call("events.drop")))["error"][
        "code"
    ] == jsonrpc.Code.METHOD_NOT_FOUND


async def test_a_result_above_one_mebibyte_becomes_an_error_with_the_way_out(archive):
    many = [results.Preference(f"k{at}", "x" * 60_000, MOMENT, None, 1) for at in range(20)]
    archive.answers[questions.ListPreferences] = results.PreferencePage(many, None)

    reply = await ask(archive, call("preferences.list", {}))

    assert reply["error"]["code"] == jsonrpc.Code.RESULT_TOO_LARGE
    assert "cursor" in reply["error"]["data"]["hint"]


async def test_the_replies_of_a_batch_share_the_room(archive):
    half = [results.Preference(f"k{at}", "x" * 60_000, MOMENT, None, 1) for at in range(10)]
    archive.answers[questions.ListPreferences] = results.PreferencePage(half, None)
    listing = call("preferences.list", {})

    replies = await ask(archive, [listing, listing, call()])

    assert ["result" in reply for reply in replies] == [True, False, True]


async def test_a_change_is_not_made_where_there_is_no_room_to_tell_of_it(archive):
    """Once it is made, an error about the size of its reply would be taken for a failure."""
    large = results.Preference("k", "x" * 60_000, MOMENT, None, 1)
    archive.answers[questions.SetPreference] = results.OnePreference(large)
    change = call("preferences.set", {"key": "k", "value": "x" * 60_000})

    replies = await ask(archive, [change] * 20)

    made = [reply for reply in replies if "result" in reply]
    assert len(made) == len(archive.asked) == 17
    refused = replies[-1]["error"]
    assert refused["code"] == jsonrpc.Code.RESULT_TOO_LARGE
    assert refused["message"].startswith("the change is not made")


async def test_the_document_is_made_once_and_in_a_thread(archive):
    """For each of a hundred calls it was written again, each in milliseconds."""
    made: list[bool] = []

    def document() -> results.Document:
        made.append(threading.current_thread() is threading.main_thread())
        return {"openrpc": "1.3.2"}

    desk = dispatcher(archive, document=document)
    batch = json.dumps([call("rpc.discover", {})] * 3).encode()

    replies = [json.loads(await dispatched(desk, batch) or b"") for _ in range(2)]

    assert [one["result"]["openrpc"] for reply in replies for one in reply] == ["1.3.2"] * 6
    assert made == [False]


async def test_between_the_calls_of_a_batch_the_loop_turns(archive):
    """Also where none has to wait for the archive: a hundred took a fifth of a second."""
    dispatching = asyncio.create_task(ask(archive, [call("no.such", {})] * 100))
    turns = 0
    while not dispatching.done():
        turns += 1
        await asyncio.sleep(0)

    assert turns >= 100
    assert len(dispatching.result()) == 100


async def test_one_record_is_answered_however_large_it_is(archive):
    archive.answers[questions.LatestSnapshot] = snapshot_of(2 * jsonrpc.MAX_REPLY_BYTES)

    assert "result" in await ask(archive, call("snapshots.latest", {}))
    (reply,) = await ask(archive, [call("snapshots.latest", {})])
    assert reply["error"]["code"] == jsonrpc.Code.RESULT_TOO_LARGE
    assert "not in a batch" in reply["error"]["data"]["hint"]


async def test_a_record_that_no_broker_would_take_is_compressed(archive):
    archive.answers[questions.LatestSnapshot] = snapshot_of(jsonrpc.MAX_MESSAGE_BYTES)
    desk = dispatcher(archive)
    calls = jsonrpc.parse_calls(json.dumps(call("snapshots.latest", {})).encode())

    async with desk.lane() as lane:
        reply = await desk.dispatch(calls, None, LATER, lane)

    assert reply.content_encoding == "gzip"
    assert len(reply.body) < jsonrpc.MAX_REPLY_BYTES
    assert json.loads(gzip.decompress(reply.body))["result"]["snapshot"]["id"] == 1


async def test_what_is_large_continuese_after_the_other(archive):
    archive.answers[questions.LatestSnapshot] = snapshot_of(2 * jsonrpc.MAX_REPLY_BYTES)
    desk = dispatcher(archive)
    calls = jsonrpc.parse_calls(json.dumps(call("snapshots.latest", {})).encode())

    async with desk.lane() as first, desk.lane() as second:
        await desk.dispatch(calls, None, LATER, first)
        soon = asyncio.get_running_loop().time() + 0.05
        refused = await desk.dispatch(calls, None, soon, second)
    async with desk.lane() as third:
        answered = await desk.dispatch(calls, None, LATER, third)

    assert json.loads(refused.body)["error"]["code"] == jsonrpc.Code.DEADLINE_EXCEEDED
    assert "result" in json.loads(answered.body)


def snapshot_of(size: int) -> results.OneSnapshot:
    body = {"a": "x" * size}
    return results.OneSnapshot(
        results.StoredSnapshot(1, None, "", MOMENT, False, body, size, None, MOMENT)
    )


FOUR_MEBIBYTES = 4 * 1024 * 1024 - 200
MANY = {
    "lists": b"[" + b"[]," * 1_390_000 + b"0]",
    "objects": b"[" + b"{}," * 1_390_000 + b"0]",
    "numbers": b"[" + b"1," * 2_000_000 + b"0]",
    "keys": b"{%b}" % b",".join(b'"%x":0' % number for number in range(420_000)),
    "texts": b"[" + b'"",' * 1_390_000 + b"0]",
}


@pytest.mark.parametrize("many", MANY)
async def test_a_request_of_too_many_values_is_refused_before_any_is_made(archive, many):
    """As objects four mebibytes of empty lists would take more than a hundred."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"events.list","params":{"text":%b}}' % MANY[many]
    assert FOUR_MEBIBYTES - 600_000 < len(body) <= jsonrpc.MAX_REQUEST_BYTES
    tracemalloc.start()
    try:
        answer = await ask(archive, body)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert answer["error"]["code"] == jsonrpc.Code.INVALID_REQUEST
    assert answer["error"]["data"]["hint"] == "split it"
    # The keys are looked at one by one, up to the bound.
    assert peak < 60_000_000


async def test_a_text_may_be_as_full_of_commas_as_it_is_long(archive):
    answer = await ask(archive, call("preferences.set", {"key": "a", "value": ',"[{:' * 13_000}))
    large = await ask(archive, call("preferences.get", {"key": ",[{" * 1_000_000}))

    assert "result" in answer
    assert large["error"]["data"]["path"] == "key"


async def test_thousands_of_unknown_parameters_are_refused_by_the_first(archive):
    reply = await ask(archive, call(params={f"k{number}": number for number in range(5_000)}))

    assert reply["error"]["code"] == jsonrpc.Code.INVALID_PARAMS
    assert reply["error"]["data"]["path"] == "k0"


LISTS_OF_OBJECTS = [
    (method.name, name)
    for method in METHODS
    for name, field in adapter(method.params).json_schema().get("properties", {}).items()
    if "$ref" in json.dumps(field.get("items", {}))
]


def test_the_methods_that_take_a_list_of_objects_are_found():
    assert ("dead.reconcile", "letters") in LISTS_OF_OBJECTS


@pytest.mark.parametrize(("method", "name"), LISTS_OF_OBJECTS)
@pytest.mark.parametrize(
    ("objects", "within"),
    [
        ([{f"k{number}": 0 for number in range(240)}] * 1_000, ".0.k0"),
        ([{f"k{number}": 0 for number in range(20_000)}], ".0.k0"),
        ([{f"k{number}": 0 for number in range(20)}] * 1_000, ".0."),
        ([0] * 1_000, ".0"),
    ],
)
def test_a_list_of_wrong_objects_is_refused_by_its_first_error(method, name, objects, within):
    """Described one by one, the errors of a request of 2 MB take hundreds."""
    tracemalloc.start()
    try:
        with pytest.raises(jsonrpc.RpcError) as refused:
            jsonrpc.read_params(BY_NAME[method], {name: objects})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert refused.value.code == jsonrpc.Code.INVALID_PARAMS
    assert refused.value.path.startswith(name + within)
    assert peak < 200_000


def test_a_wrong_object_in_params_by_position_is_named_like_any_other():
    many = {f"k{number}": 0 for number in range(5_000)}
    with pytest.raises(jsonrpc.RpcError) as refused:
        jsonrpc.read_params(BY_NAME["dead.reconcile"], [[{}, many], 0.0])

    assert refused.value.path == "letters.1.k0"


async def test_a_refusal_answers_every_call_that_wants_an_answer(archive):
    noted = call()
    del noted["id"]
    desk = dispatcher(archive)

    one = json.loads(desk.refuse(json.dumps(call(id=5)).encode()))
    many = json.loads(desk.refuse(json.dumps([call(id=1), noted, 7]).encode()))

    assert (one["id"], one["error"]["code"]) == (5, jsonrpc.Code.DEADLINE_EXCEEDED)
    assert [(reply["id"], reply["error"]["code"]) for reply in many] == [
        (1, jsonrpc.Code.DEADLINE_EXCEEDED),
        (None, jsonrpc.Code.INVALID_REQUEST),
    ]
    assert desk.refuse(json.dumps(noted).encode()) is None


async def test_statistics_join_what_there_is_with_what_continues(archive):
    nothing = results.Extent(0, None, None)
    archive.answers[questions.ReadHoldings] = results.Holdings(
        nothing, nothing, nothing, 0, 4096, 0, "0003"
    )

    result = (await ask(archive, call("recorder.stats", {})))["result"]

    assert result["holdings"]["database_bytes"] == 4096
    assert result["activity"]["state"] == "recording"
    assert result["activity"]["lag_seconds"] == 1.5


async def test_who_resolves_and_who_sets_is_the_caller_where_no_one_is_named(archive):
    archive.answers[questions.ResolveEvent] = NotFound("no")

    await ask(archive, call("events.resolve", {"id": 1}), user="ada")
    await ask(archive, call("preferences.set", {"key": "a", "value": "b"}), user="ada")
    await ask(archive, call("events.resolve", {"id": 1, "resolved_by": "bob"}), user="ada")

    assert archive.asked == [
        questions.ResolveEvent(id=1, resolved_by="ada"),
        questions.SetPreference(key="a", value="b", updated_by="ada"),
        questions.ResolveEvent(id=1, resolved_by="bob"),
    ]


@pytest.mark.parametrize(
    ("said", "stored"), [(None, "web"), ("web", "web"), ("ada", "web for ada"), ("x" * 255, None)]
)
async def test_where_users_are_distinguished_none_acts_under_the_name_of_another(
    archive, said, stored
):
    archive.answers[questions.ResolveEvent] = NotFound("no")
    params = {"id": 1} if said is None else {"id": 1, "resolved_by": said}

    await ask(archive, call("events.resolve", params), "web", web=["events.*"])

    (asked,) = archive.asked
    assert asked.resolved_by == (stored or ("web for " + "x" * 255)[:255])


async def test_who_may_do_everything_speaks_for_others(archive):
    archive.answers[questions.ResolveEvent] = NotFound("no")
    params = {"id": 1, "resolved_by": "ada"}

    await ask(archive, call("events.resolve", params), "admin", admin=["*"])

    assert archive.asked == [questions.ResolveEvent(id=1, resolved_by="ada")]


@pytest.mark.parametrize(
    ("user", "source", "allowed"),
    [
        ("chat", "monitor", False),
        ("chat", "system", False),
        ("chat", "jarvis", True),
        ("chat", "user", True),
        ("monitor", "monitor", True),
        ("monitor", "system", False),
        ("admin", "monitor", True),
    ],
)
async def test_where_users_are_distinguished_none_records_in_the_voice_of_another(
    archive, user, source, allowed
):
    archive.answers[questions.RecordEvent] = NotFound("no")
    params = {"type": "alert", "source": source, "summary": "x"}
    rules = {"chat": ["events.*"], "monitor": ["events.record"], "admin": ["*"]}

    reply = await ask(archive, call("events.record", params), user, **rules)

    assert bool(archive.asked) is allowed
    if not allowed:
        assert reply["error"]["code"] == jsonrpc.Code.FORBIDDEN
        assert reply["error"]["data"]["path"] == "source"


async def test_no_one_resolves_anonymously(archive):
    reply = await ask(archive, call("events.resolve", {"id": 1}))

    assert reply["error"]["code"] == jsonrpc.Code.INVALID_PARAMS
    assert reply["error"]["data"]["path"] == "resolved_by"
    assert archive.asked == []


@pytest.mark.parametrize(
    ("user", "method", "allowed"),
    [
        ("dashboard", "preferences.get", True),
        ("dashboard", "preferences.delete", False),
        ("dashboard", "conversations.turns", False),
        ("stranger", "preferences.get", False),
        (None, "preferences.get", False),
    ],
)
async def test_a_user_may_ask_what_is_permitted(archive, user, method, allowed):
    params = {"session_id": "s"} if method == "conversations.turns" else None

    reply = await ask(archive, call(method, params), user, dashboard=["events.*", "*.get"])

    assert ("result" in reply) is allowed
    assert allowed or reply["error"]["code"] == jsonrpc.Code.FORBIDDEN
    assert bool(archive.asked) is allowed


async def test_an_uncertain_database_ends_the_answering(archive):
    archive.answers[questions.SetPreference] = StorageUncertain("fsync failed")
    desk = dispatcher(archive)
    body = json.dumps(call("preferences.set", {"key": "a", "value": "b"})).encode()

    reply = await dispatched(desk, body)

    assert reply is not None
    assert json.loads(reply)["error"]["code"] == jsonrpc.Code.UNAVAILABLE
    with pytest.raises(StorageUncertain):
        await desk.failed


identities = st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9)
methods = st.sampled_from([method.name for method in METHODS]) | st.text(max_size=9)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
requests = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | json_values, "method": methods},
    optional={
        "id": identities | json_values,
        "params": st.dictionaries(st.sampled_from(["key", "limit", "id", "x"]), json_values)
        | json_values,
    },
)
bodies = st.binary(max_size=200) | st.builds(
    lambda document: json.dumps(document).encode(),
    requests | st.lists(requests | json_values, max_size=4) | json_values,
)


@settings(max_examples=500)
@given(bodies)
def test_any_bytes_get_one_well_formed_answer_or_are_notifications(body):
    archive = CannedArchive()

    async def reply_to_it() -> bytes | None:
        return await dispatched(dispatcher(archive), body)

    reply = asyncio.run(reply_to_it())

    calls, is_batch = jsonrpc.parse_calls(body)
    wanted = [
        asked
        for asked in calls
        if isinstance(asked, jsonrpc.Malformed) or not asked.is_notification
    ]
    if not wanted:
        assert reply is None
        return
    assert reply is not None
    document = json.loads(reply)
    responses = document if is_batch else [document]
    assert len(responses) == len(wanted)
    for response, asked in zip(responses, wanted, strict=True):
        assert response["jsonrpc"] == "2.0"
        assert response["id"] == asked.id
        assert ("result" in response) != ("error" in response)
