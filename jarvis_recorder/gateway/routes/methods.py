"""The routes of the methods that need none by hand, made from the table of methods."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from inspect import Parameter, Signature, cleandoc
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, create_model
from pydantic.alias_generators import to_camel, to_snake

from jarvis_recorder.client.rpc_methods import Ask, build_params
from jarvis_recorder.gateway.dependencies import (
    TIME_FORMAT,
    AskFunction,
    Operating,
    Reading,
    When,
    WhenInBody,
)
from jarvis_recorder.gateway.routes.parameters import Cursor, TimeZone, router
from jarvis_recorder.gateway.schemas import Body, reply, shape
from jarvis_recorder.gateway.tokens import Caller
from jarvis_recorder.spec.parameters import keyword, parameters_of
from jarvis_recorder.wire.rpc import params
from jarvis_recorder.wire.rpc.methods import METHODS, Method

# Their routes are in `legacy.py`.
_BY_HAND: Final = (params.RecordEvent, params.SetPreference)
# A route is named for its params, but these names were public before.
_NAMES: Final = {
    params.EventHistogram: "histogram",
    params.TimelineAround: "timeline",
    params.ReadStats: "stats",
}
_TAGS: Final = {"snapshots": "cluster", "timeline": "cluster", "recorder": "cluster"}
# A URL has these as no JSON has them.
_SPELLED: Final = {"cursor": Cursor, "time_zone": TimeZone}
_ALIASES: Final = {"query": "q"}
# The original system's frontend reads one page.
_DEFAULTS: Final = {(params.ListPreferences, "limit"): params.MAX_LIMIT}
# REST has more to say of these than the docstrings of their params.
_DESCRIPTIONS: Final = {
    params.ResolveEvent: "Mark an event as resolved by the caller; one that is keeps its first "
    "resolution.",
    params.EventHistogram: "The number of events in each bucket of time, empty buckets too.",
    params.LatestSnapshot: "The newest snapshot of a cluster; 400 names those there are, where "
    "there are several.",
    params.TimelineAround: "The cluster around a time: the snapshot in force, events, turns.",
}


def routers() -> Iterator[APIRouter]:
    """Yield a router for each method; a path that another one's parameter matches comes first."""
    derived = [
        (method, *place)
        for method in METHODS
        if method.params not in _BY_HAND and (place := method.rest()) is not None
    ]
    for method, verb, path in sorted(derived, key=lambda one: "{" in one[2]):
        tag = "memory" if path.startswith("/memory/") else _TAGS.get(method.group, method.group)
        routes = router(tag=tag)
        routes.add_api_route(
            # Only an id never has a slash.
            re.sub(r"\{(?!id\})(\w+)\}", r"{\1:any}", path),
            _handler(method, verb, path),
            methods=[verb],
            name=_NAMES.get(method.params) or to_snake(method.params.__name__),
            description=_DESCRIPTIONS.get(method.params) or cleandoc(method.params.__doc__ or ""),
            response_model=shape(method.result),
        )
        yield routes


def _handler(method: Method, verb: str, path: str) -> Callable[..., Awaitable[Response]]:
    """Return a function that FastAPI calls with the params as its own parameters."""

    async def handle(caller: Caller, ask: Ask, body: Body | None = None, **given: Any) -> Response:
        if body is not None:
            given |= body.model_dump(exclude_unset=True)
        if method.caller is not None:
            given[method.caller] = caller.name
        answer = await ask(build_params(method.params, **given))
        # A record of 16 MiB takes a tenth of a second to write, and no answer tells its size.
        return await asyncio.to_thread(reply, answer)

    role = Operating if method.changes else Reading
    signature = Signature(
        [
            keyword("caller", role),
            keyword("ask", AskFunction),
            *_parameters(method, path, has_body=verb in ("POST", "PUT")),
        ]
    )
    handle.__signature__ = signature  # type: ignore[attr-defined]
    return handle


def _parameters(method: Method, path: str, *, has_body: bool) -> Iterator[Parameter]:
    """Yield the params in the path, then those in the query or, with a body, in that."""
    members: dict[str, Any] = {}
    for name, given, explained, is_required, default in parameters_of(method):
        kind, description = given, explained
        if given in (datetime, datetime | None):
            # A URL turns the plus sign of an offset into a space; a body does not.
            time = WhenInBody if has_body else When
            kind = time if given is datetime else time | None
            description = f"{explained}: {TIME_FORMAT}"
        if f"{{{name}}}" in path:
            yield keyword(name, Annotated[kind, Path(description=description)])
        elif has_body:
            member = Field(... if is_required else default, description=description)
            members[name] = (kind, member)
        else:
            query = Query(
                alias=_ALIASES.get(name) or to_camel(name.rstrip("_")), description=description
            )
            place = _SPELLED.get(name) or Annotated[kind, query]
            first = _DEFAULTS.get((method.params, name), default)
            yield keyword(name, place, Parameter.empty if is_required else first)
    if members:
        yield keyword("body", create_model(method.params.__name__, __base__=Body, **members))
