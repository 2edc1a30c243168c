"""Every call gets exactly one well-formed answer, and every notification none."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jarvis_recorder.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidParameter,
    NotFound,
    RecordRefused,
    StorageUnavailable,
    StorageUncertain,
)
from jarvis_recorder.measures import Calls
from jarvis_recorder.query.dispatcher import Dispatcher
from jarvis_recorder.query.permissions import Permissions
from jarvis_recorder.wire import answers, questions, rpc
from jarvis_recorder.wire.methods import METHODS
from tests.support.fakes import CannedArchive

MOMENT = datetime(2026, 11, 23, 8, tzinfo=UTC)
THEME = answers.Preference("theme", "dark", MOMENT, "ada", 3)
LATER = 10.0**9


def dispatcher(archive: CannedArchive, rules: dict[str, list[str]] | None = None) -> Dispatcher:
    return Dispatcher(
        archive=archive,
        permissions=Permissions(rules or {}),
        activity=lambda: answers.Activity("1.0", "recording", MOMENT, 5, 1, 0, 0.5, 1.5),
        document=lambda: {"openrpc": "1.3.2"},
        calls=Calls(),
    )


@pytest.fixture
def archive() -> CannedArchive:
    archive = CannedArchive()
    archive.answers[questions.GetPreference] = answers.OnePreference(THEME)
    archive.answers[questions.SetPreference] = answers.OnePreference(THEME)
    archive.answers[questions.DeletePreference] = answers.Deleted(1)
    return archive


def call(method: str = "preferences.get", params: Any = None, **members: Any) -> dict[str, Any]:
    params = {"key": "theme"} if params is None else params
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": 1} | members


async def ask(archive: CannedArchive, document: Any, user: str | None = None, **rules: Any) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    reply = await dispatcher(archive, rules).dispatch(body, user, LATER)
    return None if reply is None else json.loads(reply)


async def test_a_question_is_answered_with_its_result(archive):
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
    assert replies[1]["error"]["code"] == rpc.Code.INVALID_REQUEST


async def test_a_batch_of_notifications_is_not_answered(archive):
    noted = call()
    del noted["id"]

    assert await ask(archive, [noted, noted]) is None
    assert len(archive.asked) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("there is no preference of this key"), rpc.Code.NOT_FOUND),
        (Conflict("it stands at version 4"), rpc.Code.CONFLICT),
        (InvalidParameter("cursor", "of another question"), rpc.Code.INVALID_PARAMS),
        (RecordRefused("x"), rpc.Code.INVALID_PARAMS),
        (DeadlineExceeded(), rpc.Code.DEADLINE_EXCEEDED),
        (StorageUnavailable("database is locked"), rpc.Code.UNAVAILABLE),
        (ZeroDivisionError("secret"), rpc.Code.INTERNAL_ERROR),
    ],
)
async def test_an_error_is_answered_with_its_code(archive, error, code):
    archive.answers[questions.GetPreference] = error

    reply = await ask(archive, call())

    assert reply["error"]["code"] == code
    assert "secret" not in json.dumps(reply)
    assert "result" not in reply


async def test_an_answer_that_cannot_be_written_is_answered_all_the_same(archive):
    archive.answers[questions.GetPreference] = object()

    assert (await ask(archive, call()))["error"]["code"] == rpc.Code.INTERNAL_ERROR


async def test_an_error_of_parameters_names_the_field_and_not_the_value(archive):
    reply = await ask(archive, call("preferences.set", {"key": "k", "value": 5, "owner": "hidden"}))

    assert reply["error"]["code"] == rpc.Code.INVALID_PARAMS
    assert reply["error"]["data"]["path"] in ("value", "owner")
    assert "hidden" not in json.dumps(reply)
    assert archive.asked == []


async def test_an_unknown_method_is_not_found(archive):
    assert (await ask(archive, call("events.drop")))["error"]["code"] == rpc.Code.METHOD_NOT_FOUND


async def test_a_result_above_one_mebibyte_becomes_an_error_with_the_way_out(archive):
    many = [answers.Preference(f"k{at}", "x" * 60_000, MOMENT, None, 1) for at in range(20)]
    archive.answers[questions.ListPreferences] = answers.PreferencePage(many, None)

    reply = await ask(archive, call("preferences.list", {}))

    assert reply["error"]["code"] == rpc.Code.RESULT_TOO_LARGE
    assert "cursor" in reply["error"]["data"]["hint"]


async def test_the_replies_of_a_batch_share_the_room(archive):
    half = [answers.Preference(f"k{at}", "x" * 60_000, MOMENT, None, 1) for at in range(10)]
    archive.answers[questions.ListPreferences] = answers.PreferencePage(half, None)
    listing = call("preferences.list", {})

    replies = await ask(archive, [listing, listing, call()])

    assert ["result" in reply for reply in replies] == [True, False, True]


async def test_a_change_whose_reply_is_too_large_is_not_told_as_undone(archive):
    large = answers.Preference("k", "x" * rpc.MAX_REPLY_BYTES, MOMENT, None, 1)
    archive.answers[questions.SetPreference] = answers.OnePreference(large)

    reply = await ask(archive, call("preferences.set", {"key": "k", "value": "v"}))

    assert reply["error"]["code"] == rpc.Code.RESULT_TOO_LARGE
    assert reply["error"]["message"].startswith("the change is made")


async def test_statistics_join_what_there_is_with_what_goes_on(archive):
    nothing = answers.Extent(0, None, None)
    archive.answers[questions.ReadHoldings] = answers.Holdings(
        nothing, nothing, nothing, 0, 4096, 0, "0003"
    )

    result = (await ask(archive, call("recorder.stats", {})))["result"]

    assert result["holdings"]["database_bytes"] == 4096
    assert result["activity"]["state"] == "recording"
    assert result["activity"]["lag_seconds"] == 1.5


async def test_who_resolves_and_who_sets_is_the_asker_where_nobody_is_named(archive):
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
async def test_where_users_are_told_apart_none_acts_under_the_name_of_another(
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
async def test_where_users_are_told_apart_none_records_in_the_voice_of_another(
    archive, user, source, allowed
):
    archive.answers[questions.RecordEvent] = NotFound("no")
    params = {"type": "alert", "source": source, "summary": "x"}
    rules = {"chat": ["events.*"], "monitor": ["events.record"], "admin": ["*"]}

    reply = await ask(archive, call("events.record", params), user, **rules)

    assert bool(archive.asked) is allowed
    if not allowed:
        assert reply["error"]["code"] == rpc.Code.FORBIDDEN
        assert reply["error"]["data"]["path"] == "source"


async def test_nobody_resolves_anonymously(archive):
    reply = await ask(archive, call("events.resolve", {"id": 1}))

    assert reply["error"]["code"] == rpc.Code.INVALID_PARAMS
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
    assert allowed or reply["error"]["code"] == rpc.Code.FORBIDDEN
    assert bool(archive.asked) is allowed


async def test_an_uncertain_database_ends_the_answering(archive):
    archive.answers[questions.SetPreference] = StorageUncertain("fsync failed")
    desk = dispatcher(archive)
    body = json.dumps(call("preferences.set", {"key": "a", "value": "b"})).encode()

    reply = await desk.dispatch(body, None, LATER)

    assert reply is not None
    assert json.loads(reply)["error"]["code"] == rpc.Code.UNAVAILABLE
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


@settings(max_examples=500, deadline=None)
@given(bodies)
def test_any_bytes_get_one_well_formed_answer_or_are_notifications(body):
    archive = CannedArchive()

    async def dispatched() -> bytes | None:
        return await dispatcher(archive).dispatch(body, None, LATER)

    reply = asyncio.run(dispatched())

    calls, is_batch = rpc.parse_calls(body)
    wanted = [
        asked for asked in calls if isinstance(asked, rpc.Malformed) or not asked.is_notification
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
