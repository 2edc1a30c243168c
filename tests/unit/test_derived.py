"""A method that only the table knows: its route and its command, as they are by default."""

import dataclasses
import json
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import httpx
import pytest
from argon2 import PasswordHasher
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from jarvis_recorder import cli
from jarvis_recorder.cli import methods as commands
from jarvis_recorder.cli import rpc
from jarvis_recorder.config.settings import GatewaySettings
from jarvis_recorder.gateway.app import create
from jarvis_recorder.gateway.routes import methods as routes
from jarvis_recorder.gateway.tokens import CallerRole
from jarvis_recorder.runtime import logging
from jarvis_recorder.wire.rpc.methods import Example, Method
from jarvis_recorder.wire.rpc.params import (
    Cursor,
    Limit,
    Name,
    Params,
    RowNumber,
    Several,
    Since,
)

_STRICT = ConfigDict(extra="forbid")


@dataclasses.dataclass(frozen=True, slots=True)
class Thing:
    name: str
    at: datetime
    parts: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class OneThing:
    thing: Thing


@dataclasses.dataclass(frozen=True, slots=True)
class ThingPage:
    things: list[Thing]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ListThings(Params[ThingPage]):
    """Things, newest first."""

    shape: Annotated[Literal["round", "flat"] | None, Field(description="only of this shape")] = (
        None
    )
    kind: Annotated[Several[str], Field(description="only of these kinds")] | None = None
    since: Since | None = None
    is_lost: Annotated[bool, Field(strict=True, description="only lost ones, or only others")] = (
        False
    )
    limit: Limit = 50
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ChangeThing(Params[OneThing]):
    """Change a thing."""

    id: RowNumber
    new_name: Annotated[Name, Field(description="its name")]
    parts: Annotated[list[int] | None, Field(description="its parts")] = None
    since: Since | None = None
    notes: Annotated[dict[str, int] | None, Field(description="more about it")] = None
    changed_by: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class TurnThing(Params[OneThing]):
    """Turn a thing."""

    id: RowNumber
    turned_by: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class RemoveThing(Params[OneThing]):
    """Remove a thing."""

    id: RowNumber


LIST = Method("things.list", ListThings, ThingPage, example=Example({}, {}))
CHANGE = Method(
    "things.change",
    ChangeThing,
    OneThing,
    changes=True,
    caller="changed_by",
    example=Example({"id": 7, "new_name": "wheel"}, {}),
)
TURN = Method(
    "things.turn",
    TurnThing,
    OneThing,
    changes=True,
    caller="turned_by",
    example=Example({"id": 7}, {}),
)
REMOVE = Method(
    "things.remove",
    RemoveThing,
    OneThing,
    changes=True,
    route="DELETE /things/{id}/parts",
    example=Example({"id": 7}, {}),
)
NOON = datetime(2026, 1, 26, 12, tzinfo=UTC)
THING = Thing("wheel", NOON, [{"spoke": 1}, {"spoke": 2}])


class Recorder:
    """A client that answers with a page of one thing, or with one, and remembers the requests."""

    def __init__(self):
        self.asked = []

    async def ask(self, params, timeout=None):
        self.asked.append(params)
        return ThingPage([THING], None) if isinstance(params, ListThings) else OneThing(THING)


@pytest.fixture
def recorder(monkeypatch):
    for module in (routes, commands):
        monkeypatch.setattr(module, "METHODS", (LIST, CHANGE, TURN, REMOVE))
    return Recorder()


# REST


@pytest.fixture
def gateway(recorder):
    hashed = PasswordHasher(1, 8, 1).hash("a password")
    settings = GatewaySettings(token_secret="x" * 32, password_hash=hashed)
    return create(recorder, None, settings)


async def answer_to(gateway, method, path, role=CallerRole.OPERATOR, **request):
    """Return the response to a caller of this role, to one without a token if it is None."""
    token = None if role is None else gateway.state.tokens.give(role)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx.ASGITransport(gateway)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://gateway", headers=headers
    ) as client:
        return await client.request(method, f"/api/things/{path}", **request)


async def test_a_read_takes_its_params_from_the_query(gateway, recorder):
    query = {"shape": "flat", "since": "2026-01-26", "isLost": "true", "limit": "5"}
    answer = await answer_to(gateway, "GET", "list", CallerRole.READER, params=query)

    assert answer.json() == {
        "things": [
            {"name": "wheel", "at": "2026-01-26T12:00:00Z", "parts": [{"spoke": 1}, {"spoke": 2}]}
        ],
        "nextCursor": None,
    }
    midnight = datetime(2026, 1, 26, tzinfo=UTC)
    assert recorder.asked == [ListThings(shape="flat", since=midnight, is_lost=True, limit=5)]


async def test_a_change_takes_its_params_from_path_and_body_and_the_caller_from_the_token(
    gateway, recorder
):
    body = {"newName": "rim", "parts": [1, 2], "since": "2026-01-26"}
    answer = await answer_to(gateway, "POST", "7/change", json=body)

    assert answer.json()["thing"]["name"] == "wheel"
    since = datetime(2026, 1, 26, tzinfo=UTC)
    assert recorder.asked == [
        ChangeThing(id=7, new_name="rim", parts=[1, 2], since=since, changed_by="operator")
    ]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"limit": "0"}, "limit: Input should be greater than or equal to 1"),
        ({"shape": "square"}, "shape: Input should be 'round' or 'flat'"),
        ({"since": "noon"}, "since: "),
        ({"isLost": "perhaps"}, "isLost: "),
    ],
)
async def test_a_wrong_parameter_is_a_problem_that_names_it(gateway, recorder, query, error):
    answer = await answer_to(gateway, "GET", "list", params=query)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(error)
    assert recorder.asked == []


@pytest.mark.parametrize(
    ("name", "near"),
    [("is_lost", "isLost"), ("islost", "isLost"), ("sinse", "since"), ("SHAPE", "shape")],
)
async def test_a_parameter_that_a_route_does_not_have_is_refused_with_the_nearest(
    gateway, recorder, name, near
):
    answer = await answer_to(gateway, "GET", "list", CallerRole.READER, params={name: "1"})

    assert answer.status_code == 400
    assert answer.json()["error"] == f"{name}: not a parameter of this route; did you mean {near}?"
    assert recorder.asked == []


async def test_a_parameter_that_takes_one_value_is_refused_where_it_is_given_twice(
    gateway, recorder
):
    several = {"kind": ["wheel", "rim"]}
    answer = await answer_to(gateway, "GET", "list", CallerRole.READER, params=several)
    twice = await answer_to(
        gateway, "GET", "list", CallerRole.READER, params=several | {"shape": ["round", "flat"]}
    )

    assert answer.status_code == 200
    assert twice.status_code == 400
    assert twice.json()["error"] == "shape: given more than once, takes one value"
    assert recorder.asked == [ListThings(kind=["wheel", "rim"])]


@pytest.mark.parametrize("verb", ["POST /turn", "DELETE /parts"])
async def test_a_body_is_refused_where_a_route_takes_none(gateway, recorder, verb):
    method, _, path = verb.partition(" ")
    sent = [b'{"turnedBy": "anna"}', b"not json", b"[]", b"", b"{}"]
    answers = [await answer_to(gateway, method, f"7{path}", content=body) for body in sent]

    assert [one.status_code for one in answers] == [400, 400, 400, 200, 200]
    assert answers[0].json()["error"] == "the body: this route takes none"
    assert len(recorder.asked) == 2


def test_the_document_has_the_content_types_that_are_sent(gateway):
    paths = gateway.openapi()["paths"]
    operations = [one for path in paths.values() for one in path.values()]
    for one in operations:
        (kind, content), *others = one["responses"]["default"]["content"].items()
        assert (kind, others) == ("application/problem+json", [])
        assert content["schema"]["required"] == ["title", "status", "error"]
    live, health = (paths[f"/api/{name}"]["get"]["responses"] for name in ("live", "health"))
    assert list(live["200"]["content"]) == ["text/event-stream"]
    assert {
        health[status]["content"]["application/json"]["schema"]["$ref"]
        for status in ("200", "502", "503", "504")
    } == {"#/components/schemas/Health"}


async def test_a_change_takes_nothing_that_it_does_not_have(gateway, recorder):
    body = {"newName": "rim"}
    misspelt = await answer_to(gateway, "POST", "7/change", json={**body, "part": [1]})
    another = await answer_to(gateway, "POST", "7/change", json={**body, "changedBy": "anna"})
    asked = await answer_to(gateway, "POST", "7/change", json=body, params={"since": "2026-01-26"})

    assert [one.status_code for one in (misspelt, another, asked)] == [400, 400, 400]
    assert misspelt.json()["error"] == "part: Extra inputs are not permitted"
    assert asked.json()["error"] == "since: not a parameter of this route; there are none here"
    assert recorder.asked == []


async def test_only_an_operator_changes_something(gateway, recorder):
    body = {"newName": "rim"}
    refused = await answer_to(gateway, "POST", "7/change", CallerRole.READER, json=body)
    unknown = await answer_to(gateway, "GET", "list", role=None)

    assert (refused.status_code, unknown.status_code) == (403, 401)
    assert recorder.asked == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/auth/login/"),
        ("GET", "/api/things/list/"),
        ("GET", "/api/docs/"),
        ("GET", "/static"),
    ],
)
async def test_a_path_that_is_none_by_a_slash_is_not_found_and_leads_nowhere(gateway, method, path):
    transport = httpx.ASGITransport(gateway)
    async with httpx.AsyncClient(transport=transport, base_url="http://evil.example") as client:
        answer = await client.request(method, path, json={"password": "a password"})

    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert "evil" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/things/list", "GET"),
        ("PATCH", "/api/things/7/change", "POST"),
        ("PATCH", "/api/memory/events", "POST"),
        ("POST", "/api/dead-letters/4f1c09ab27de", "GET"),
        ("GET", "/api/dead-letters/replay", "POST"),
        ("POST", "/api/dead-letters/replayed", "GET"),
        ("GET", "/api/dead-letters/4f1c09ab27de/replay", "POST"),
        ("DELETE", "/api/openapi.json", "GET"),
        ("PUT", "/static/app.css", "GET, HEAD"),
    ],
)
async def test_a_method_that_a_path_does_not_have_is_answered_with_those_it_has(
    gateway, method, path, allowed
):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(gateway), base_url="http://gateway"
    ) as client:
        answer = await client.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


# Commands


@pytest.fixture
def jarvis(recorder, monkeypatch, capsys):
    @asynccontextmanager
    async def connected(_):
        yield recorder

    monkeypatch.setattr(rpc, "connected", connected)
    monkeypatch.setattr(logging, "configure", lambda *_: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["jarvis-recorder", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


def test_a_list_has_its_params_as_options_and_shows_all_fields(jarvis, recorder):
    code, out, _ = jarvis(
        "things", "list", "--shape", "flat", "--since", "2026-01-26T00:00:00Z", "--is-lost"
    )

    midnight = datetime(2026, 1, 26, tzinfo=UTC)
    assert recorder.asked == [ListThings(shape="flat", since=midnight, is_lost=True)]
    assert code == 0
    assert out.split() == [
        "NAME", "AT", "PARTS", "wheel", "2026-01-26T12:00:00Z", '[{"spoke":', "1},", '{"spoke":',
        "2}]",
    ]  # fmt: skip


def test_a_change_has_its_required_params_as_arguments(jarvis, recorder):
    code, out, _ = jarvis(
        "things", "change", "7", "rim", "--parts", "1", "--parts", "2", "--notes", '{"a": 1}'
    )  # fmt: skip

    changed = ChangeThing(id=7, new_name="rim", parts=[1, 2], notes={"a": 1})
    assert recorder.asked == [changed]
    assert code == 0
    assert "name  wheel" in out
    assert "SPOKE" in out


def test_json_is_what_the_recorder_sent(jarvis):
    _, out, _ = jarvis("things", "change", "7", "rim", "--json")

    assert json.loads(out)["thing"]["name"] == "wheel"


@pytest.mark.parametrize(
    "words", ["list --shape square", "list --since noon", "change", "change 0 rim", "change 7 rim --notes x"]
)  # fmt: skip
def test_wrong_usage_ends_with_2(jarvis, recorder, words):
    code, _, err = jarvis("things", *words.split())

    assert (code, recorder.asked) == (2, [])
    assert "Traceback" not in err


def test_the_help_has_an_example(jarvis):
    _, out, _ = jarvis("things", "change", "--help")

    assert "jarvis-recorder things change 7 wheel" in " ".join(out.split())
    assert "changed-by" not in out
