"""Dependencies of the handlers: a request's JSON, times, deadline and caller."""

import difflib
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, get_args, get_origin

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BeforeValidator, WithJsonSchema
from starlette.datastructures import QueryParams
from starlette.responses import Response

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.client.rpc_methods import Ask
from jarvis_recorder.gateway.problems import Problem
from jarvis_recorder.gateway.tokens import Caller, CallerRole, Tokens, unauthenticated
from jarvis_recorder.wire import strict_json
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.rpc.params import Params, ResultT
from jarvis_recorder.wire.rpc.times import GIVEN_SCHEMA
from jarvis_recorder.wire.times import parse_instant, to_datetime

LONGEST_WAIT: Final = 60.0
_LOST_PLUS: Final = re.compile(r"(.*) ([0-9]{1,2}(?::?[0-9]{2})?)").fullmatch
_TIME_OF_DAY: Final = re.compile(r"[Tt ][0-9]{2}:[0-9]{2}").search
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_WAIT: Final = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,4})(?:$|[,;\s])").search


class StrictRequest(Request):
    """A request whose JSON is parsed strictly; ambiguous JSON is the caller's mistake (400)."""

    async def json(self) -> Any:
        try:
            return strict_json.parse(await self.body())
        except Refused as refused:
            raise Problem(HTTPStatus.BAD_REQUEST, f"the body: {refused.error}") from None


class StrictRoute(APIRoute):
    """
    A route that authenticates the caller before it reads the body, and reads JSON strictly.

    If the route needs a token, unknown and repeated query parameters are refused (400). Otherwise
    a misspelt filter would return everything, and of a repeated one only the last value would count.
    """

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handler = super().get_route_handler()
        wants_caller = _depends(self.dependant, _caller)
        wants_operator = _depends(self.dependant, _operator)
        known = dict(sorted(_query_parameters(self.dependant).items()))
        takes_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            strictly = StrictRequest(request.scope, request.receive)
            # FastAPI reads the body before it resolves the dependencies of a handler.
            if wants_caller:
                request.state.caller = caller = _caller_of(request)
                if wants_operator and caller.role is not CallerRole.OPERATOR:
                    raise Problem(
                        HTTPStatus.FORBIDDEN, f"{caller.name} may read, and change nothing"
                    )
                _require_known(request.query_params, known)
                if not takes_body and request.method not in ("GET", "HEAD"):
                    await _require_no_body(strictly)
            return await handler(strictly)

        return strict


def _depends(dependant: Dependant, call: Callable[..., Any]) -> bool:
    return any(one.call is call or _depends(one, call) for one in dependant.dependencies)


def _query_parameters(dependant: Dependant) -> dict[str, bool]:
    """Return by name whether a query parameter of a handler or of its dependencies is a list."""
    found = {one.alias: _is_list(one.field_info.annotation) for one in dependant.query_params}
    for one in dependant.dependencies:
        found |= _query_parameters(one)
    return found


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(map(_is_list, get_args(annotation)))


def _require_known(given: QueryParams, known: Mapping[str, bool]) -> None:
    """
    Check that a route has each parameter that a query names, and takes as many values of it.

    Raises:
        Problem: It does not (400); of a name that it does not have the nearest one is named.
    """
    for name in given:
        if name not in known:
            written = {one.lower(): one for one in known}
            near = difflib.get_close_matches(name.lower(), written, n=1, cutoff=0)
            hint = f"did you mean {written[near[0]]}?" if near else "there are none here"
            raise Problem(HTTPStatus.BAD_REQUEST, f"{name}: not a parameter of this route; {hint}")
        if len(given.getlist(name)) > 1 and not known[name]:
            raise Problem(HTTPStatus.BAD_REQUEST, f"{name}: given more than once, takes one value")


async def _require_no_body(request: StrictRequest) -> None:
    """
    Check that a request has no body, or an object without members.

    Raises:
        Problem: It has another one (400).
    """
    if await request.body() and await request.json() != {}:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body: this route takes none")


def _caller_of(request: Request) -> Caller:
    """
    Return the caller that the request's token authenticates.

    Raises:
        Problem: There is no token, or no valid one (401).
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthenticated("Authentication required")
    tokens: Tokens = request.app.state.tokens
    return tokens.read(token.strip())


def with_plus(text: Any) -> Any:
    """
    Return an offset, alone or after a time of day, with the plus sign that a URL decoded to a space.

    For query parameters only: elsewhere a space is no plus sign.
    """
    split = _LOST_PLUS(text) if isinstance(text, str) else None
    if split is None or (split[1] and not _TIME_OF_DAY(split[1])):
        return text
    return f"{split[1]}+{split[2]}"


def _time(value: Any) -> datetime:
    # The original accepts a day; it is a day of UTC, as all its times are.
    is_day = isinstance(value, str) and _DAY(value)
    return to_datetime(parse_instant(f"{value}T00:00:00Z" if is_day else value))


When = Annotated[datetime, BeforeValidator(_time), BeforeValidator(with_plus)]
"""A time in a URL."""
WhenInBody = Annotated[datetime, BeforeValidator(_time), WithJsonSchema(GIVEN_SCHEMA)]
"""A time in a body, where a space is no plus sign, and a number is one."""
TIME_FORMAT: Final = (
    "RFC 3339 with an offset, a day of UTC, or seconds since 1970 (ms, µs and ns by magnitude)"
)


async def disconnected(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
    """Return when the caller has gone; what remains of the request's body is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _client(request: Request) -> RecorderClient:
    client: RecorderClient = request.app.state.client
    return client


# For the OpenAPI document only: its own refusal would not be one of our problems.
_Bearer = Depends(HTTPBearer(scheme_name="token", bearerFormat="JWT", auto_error=False))


async def _caller(request: Request, _: Annotated[Any, _Bearer]) -> Caller:
    """Return the caller; `StrictRoute` has verified the token already."""
    caller: Caller = request.state.caller
    return caller


Reading = Annotated[Caller, Depends(_caller)]


async def _operator(caller: Reading) -> Caller:
    """Return the caller; `StrictRoute` has refused every other role."""
    return caller


Operating = Annotated[Caller, Depends(_operator)]


async def _ask_function(
    request: Request, client: Annotated[RecorderClient, Depends(_client)]
) -> Ask:
    """Return a function that calls the recorder, with the caller's `Prefer: wait` (RFC 7240)."""
    wait = _WAIT(request.headers.get("prefer", ""))
    seconds = min(max(float(wait[1]), 0.1), LONGEST_WAIT) if wait else None

    async def ask(params: Params[ResultT]) -> ResultT:
        return await client.ask(params, timeout=seconds)

    return ask


AskFunction = Annotated[Ask, Depends(_ask_function)]
