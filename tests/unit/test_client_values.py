"""The values that a client makes to send, and those it receives: no broker needed."""

import dataclasses
import inspect
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from pydantic_core import to_json

from jarvis_recorder.client import RecorderClient, methods, new_event, new_snapshot, new_turn
from jarvis_recorder.client.decoding import read_notification
from jarvis_recorder.client.errors import refused
from jarvis_recorder.client.records import to_message
from jarvis_recorder.errors import (
    ConfigurationError,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InvalidParameter,
    MessageTooLarge,
    NotFound,
    ProtocolError,
    RecorderUnavailable,
    ResultTooLarge,
)
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.jsonrpc import Code, RpcError
from jarvis_recorder.wire.rpc.methods import BY_NAME, METHODS
from jarvis_recorder.wire.times import to_micros
from jarvis_recorder.wire.topics import TOPICS

MOMENT = datetime(2026, 11, 23, 5, 0, 0, 123_456, tzinfo=UTC)
EVENT = {"type": "status", "source": "monitor", "summary": "all is well"}
TURN = {"session_id": "s", "role": "user", "content": "hello"}
TOPIC = {topic.kind: topic for topic in TOPICS}


def as_delivered(record, app_id="tests") -> Delivery:
    """Return a record as the broker would hand it over."""
    message = to_message(record, app_id)
    header = b"\0\x3c\0\0" + len(message.body).to_bytes(8, "big") + message.properties
    return Delivery(1, False, b"jarvis", message.routing_key.encode(), header, message.body)


def delivered(routing_key: str, document: object) -> Delivery:
    return Delivery(1, False, b"jarvis", routing_key.encode(), b"", to_json(document))


async def test_a_large_reply_is_read_in_a_thread(monkeypatch):
    client = RecorderClient("amqp://localhost/")
    read, by_the_loop = jsonrpc.read_response, []

    def noted(*arguments):
        by_the_loop.append(threading.current_thread() is threading.main_thread())
        return read(*arguments)

    async def replied(request, *_, **__):
        size = 70_000 if b"large" in request else 10
        preference = {"key": "k", "value": "x" * size, "updated_by": None, "version": 1}
        preference["updated_at"] = "2026-01-01T00:00:00Z"
        return to_json({"jsonrpc": "2.0", "id": 1, "result": {"preference": preference}})

    monkeypatch.setattr(jsonrpc, "read_response", noted)
    monkeypatch.setattr(client, "_reply", replied)
    answers = [await client.preferences.get(key=key) for key in ("small", "large")]

    assert [len(answer.preference.value) for answer in answers] == [10, 70_000]
    assert by_the_loop == [True, False]


@pytest.mark.parametrize(
    "record",
    [
        new_event(**EVENT, timestamp=MOMENT, severity="error", node="pve1", details=[1, {"a": None}]),
        new_event(**EVENT, timestamp=MOMENT, extra={"rack": 7, "row": "ü"}),
        new_turn(**TURN, timestamp=MOMENT, cost_usd=Decimal("0.00012345678901234567890")),
        new_turn(**TURN, timestamp=MOMENT, model="qwen", tokens_used=3, tool_calls=[]),
        new_snapshot({"nodes": [], "at": 1.5}, cluster="home", timestamp=MOMENT),
    ],
)  # fmt: skip
def test_what_is_published_is_what_the_recorder_reads(record):
    decoded = decode(as_delivered(record), TOPIC[record.kind], received_at=0)

    (read,) = decoded.records
    assert read == record
    assert read.timestamp == to_micros(MOMENT)
    assert not read.stamped


def test_a_time_of_any_offset_is_the_same_time():
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=9)))

    assert new_event(**EVENT, timestamp=elsewhere).timestamp == to_micros(MOMENT)


def test_the_present_and_a_new_identity_are_what_a_record_gets_by_itself():
    one, other = new_event(**EVENT), new_event(**EVENT)

    assert one.message_id < other.message_id, "UUIDv7: they lie in the order of time"
    assert abs(one.timestamp - to_micros(datetime.now(UTC))) < 5_000_000
    assert not one.stamped


def test_an_identity_alone_makes_the_same_record_a_little_later():
    """A body with a time of its own would make it another one."""
    record = new_event(**EVENT, message_id="mine")

    (read,) = decode(as_delivered(record), TOPIC[record.kind], received_at=0).records

    assert read.stamped
    assert read.message_id == "mine"


@pytest.mark.parametrize(
    ("record", "key"),
    [
        (new_event(**EVENT), "cluster.event.status.info"),
        (new_event(**EVENT, severity="critical"), "cluster.event.status.critical"),
        (new_snapshot({}), "cluster.snapshot"),
        (new_snapshot({}, cluster="home.eu"), "cluster.snapshot.home.eu"),
        (new_snapshot({}, cluster="ü" * 200), "cluster.snapshot"),
        (new_turn(**TURN), "chat.turn.user"),
    ],
)
def test_routing_keys_are_those_of_the_contract(record, key):
    assert to_message(record, "tests").routing_key == key


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: new_event(**EVENT | {"type": "rumour"}), "type"),
        (lambda: new_event(**EVENT | {"summary": ""}), "summary"),
        (lambda: new_event(**EVENT, message_id=""), "id"),
        (lambda: new_event(**EVENT, timestamp=MOMENT.replace(tzinfo=None)), "timestamp"),
        (lambda: new_event(**EVENT, extra={"node": "pve1"}), "extra"),
        (lambda: new_turn(**TURN, tokens_used=-1), "tokens_used"),
        (lambda: new_turn(**TURN, cost_usd="cheap"), "cost_usd"),
        (lambda: to_message(new_event(**EVENT, message_id="ü" * 200), "tests"), "message_id"),
        (lambda: to_message(new_event(**EVENT, details=float("nan")), "tests"), ""),
        (lambda: to_message(new_event(**EVENT, details="a\0b"), "tests"), ""),
        (lambda: to_message(new_event(**EVENT, details="\ud800"), "tests"), ""),
        (lambda: to_message(new_event(**EVENT, details=object()), "tests"), ""),
        (lambda: to_message(new_event(**EVENT, details=10**5_000), "tests"), ""),
    ],
)
def test_what_the_recorder_would_refuse_is_refused_before_it_is_sent(make, path):
    with pytest.raises(InvalidParameter) as refusal:
        make()

    assert refusal.value.path == path
    assert "rumour" not in str(refusal.value), "a value is never repeated"


def test_what_is_too_large_is_refused_before_it_is_sent():
    with pytest.raises(MessageTooLarge):
        to_message(new_event(**EVENT, details="x" * 4 * 1024 * 1024), "tests")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.NOT_FOUND, NotFound),
        (Code.CONFLICT, Conflict),
        (Code.FORBIDDEN, Forbidden),
        (Code.DEADLINE_EXCEEDED, DeadlineExceeded),
        (Code.UNAVAILABLE, RecorderUnavailable),
        (Code.RESULT_TOO_LARGE, ResultTooLarge),
        (Code.INVALID_PARAMS, InvalidParameter),
        (Code.METHOD_NOT_FOUND, ProtocolError),
        (Code.INTERNAL_ERROR, ProtocolError),
        (-32099, ProtocolError),
    ],
)
def test_every_code_has_its_exception(code, kind):
    error = refused(RpcError(code, "no", path="id", hint="look again"), "events.get")

    assert type(error) is kind
    assert (error.code, error.path, error.hint) == (code, "id", "look again")
    assert str(error) == "events.get: id: no (look again)"


def test_unreachable_and_failed_end_a_command_differently():
    assert refused(RpcError(Code.UNAVAILABLE, "no"), "events.list").exit_code == 69
    assert refused(RpcError(Code.NOT_FOUND, "no"), "events.get").exit_code == 1


GROUPS = {
    "events": methods.Events,
    "conversations": methods.Conversations,
    "snapshots": methods.Snapshots,
    "timeline": methods.TimelineMethods,
    "preferences": methods.Preferences,
    "dead": methods.Dead,
    "incidents": methods.Incidents,
}


@pytest.mark.parametrize("name", [name for name in BY_NAME if name.split(".")[0] in GROUPS])
def test_every_method_takes_what_its_request_does(name):
    group, method = name.split(".")
    taken = inspect.signature(getattr(GROUPS[group], method))

    names = [field.name for field in dataclasses.fields(BY_NAME[name].params)]
    assert list(taken.parameters) == ["self", *names]
    assert getattr(GROUPS[group], method).__doc__ == BY_NAME[name].params.__doc__


def test_no_method_was_forgotten():
    ungrouped = {method.name for method in METHODS if method.name.split(".")[0] not in GROUPS}

    assert ungrouped == {"recorder.stats", "rpc.discover"}


def test_a_notification_of_a_newer_recorder_is_passed_over():
    assert read_notification(delivered("recorder.moon.rose", {})) == []


@pytest.mark.parametrize("document", [{}, [], "x", {"preference": {"key": 1}}])
def test_a_notification_that_is_none_is_an_error_of_its_own(document):
    with pytest.raises(ValueError, match="validation error"):
        read_notification(delivered("recorder.preference.changed", document))


@pytest.mark.parametrize("url", ["http://host/", "amqp://", "amqp://ada:12/secret@host/"])
def test_a_url_that_names_no_broker_is_refused_without_being_repeated(url):
    with pytest.raises(ConfigurationError, match="the broker's URL") as refused:
        RecorderClient(url)
    assert "secret" not in str(refused.value)
