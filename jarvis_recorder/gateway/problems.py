"""
Errors as the caller of a REST method gets them.

Source: RFC 9457, problem details for HTTP. The member `error` is the one that the original
system responded with, and that its frontend shows.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from jarvis_recorder import errors
from jarvis_recorder.wire.validation import field_error

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
_RETRY_SECONDS: Final = 2
_OF_FILES: Final = ("GET", "HEAD")
_METHODS: Final = (*_OF_FILES, "DELETE", "PATCH", "POST", "PUT")

_STATUS: Final[dict[type[errors.RecorderError], HTTPStatus]] = {
    errors.InvalidParameter: HTTPStatus.BAD_REQUEST,
    errors.ResultTooLarge: HTTPStatus.BAD_REQUEST,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.MessageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    # A permission that the broker or the recorder denies the gateway is not the caller's fault.
    errors.Forbidden: HTTPStatus.BAD_GATEWAY,
    errors.ConfigurationError: HTTPStatus.BAD_GATEWAY,
    errors.ProtocolError: HTTPStatus.BAD_GATEWAY,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.ReplyTimeout: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RecorderUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BrokerUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NotConfirmed: HTTPStatus.SERVICE_UNAVAILABLE,
}


class ProblemDetails(BaseModel):
    """A problem, as the body of a response."""

    type: str = "about:blank"
    title: str
    status: int
    error: str


class Problem(HTTPException):
    """An error whose response is a problem; `error` is for people."""

    def __init__(
        self, status: HTTPStatus, error: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status.value, error, headers)


def _response(problem: HTTPException) -> Response:
    status = HTTPStatus(problem.status_code)
    details = ProblemDetails(title=status.phrase, status=status.value, error=problem.detail)
    return Response(to_json(details), status.value, problem.headers, MEDIA_TYPE)


def problem_of(error: errors.RecorderError) -> Problem:
    """Return the problem for the caller of an error of the recorder's client."""
    status = next(
        (_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS),
        HTTPStatus.BAD_GATEWAY,
    )
    away = status is HTTPStatus.SERVICE_UNAVAILABLE
    return Problem(status, str(error), {"Retry-After": str(_RETRY_SECONDS)} if away else None)


async def answer_problem(request: Request, error: Exception) -> Response:
    """Return a problem for any error of a request; for `add_exception_handler`."""
    match error:
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            status, methods = HTTPStatus.METHOD_NOT_ALLOWED, sorted(_methods_of(request))
            return _response(Problem(status, error.detail, {"Allow": ", ".join(methods)}))
        case HTTPException():
            return _response(error)
        case errors.RecorderError():
            return _response(problem_of(error))
        case RequestValidationError():
            return _response(
                Problem(HTTPStatus.BAD_REQUEST, str(field_error(error.errors()[0], skipped=1)))
            )
    log.error("request_failed", method=request.method, error=errors.defect(error))
    failed = "the gateway failed on this request; its log says where: report it as a bug"
    return _response(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, failed))


def _methods_of(request: Request) -> set[str]:
    """Return the methods of all routes to the target, for `Allow` (RFC 9110, 10.2.1)."""
    return {method for method in _METHODS if _has_route(request, method)}


def _has_route(request: Request, method: str) -> bool:
    # A route is asked and not looked into: those of an included router are in no list of ours.
    # Below a mount `root_path` has become its path.
    root = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    scope = {**request.scope, "method": method, "root_path": root}
    matches = ((route, route.matches(scope)[0]) for route in request.app.routes)
    # A mount takes every method and has files, which are only read.
    return any(
        match is Match.FULL and (method in _OF_FILES or not isinstance(route, Mount))
        for route, match in matches
    )
