"""Query parameters that several methods take."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BeforeValidator
from starlette.convertors import PathConvertor, StringConvertor, register_url_convertor

from jarvis_recorder.gateway.dependencies import StrictRoute, with_plus
from jarvis_recorder.gateway.problems import MEDIA_TYPE, ProblemDetails
from jarvis_recorder.wire.rpc.params import LONGEST_CURSOR, MAX_LIMIT

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="the most to return")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=LONGEST_CURSOR,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="`nextCursor` of the page before",
    ),
]


TimeZone = Annotated[
    str | None,
    BeforeValidator(with_plus),
    Query(
        alias="timeZone",
        description="whose days, as Europe/Berlin or +02:00; those of UTC where it is not given",
    ),
]

_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "A problem (RFC 9457); `error` says what happened and what to do.",
        # A `model` would be one of `application/json`.
        "content": {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}},
    }
}


class _AnyText(PathConvertor):
    """A part of a path that may hold any text; Starlette's `path` ends at a line feed."""

    regex = r"[\s\S]*"


class _LetterId(StringConvertor):
    """The id of a dead letter, which is not the path of all of them that are replayed."""

    regex = r"(?!replay(?:/|$))[^/]+"


def router(*, tag: str) -> APIRouter:
    """
    Return a router whose routes read JSON strictly and document their problems.

    Their paths may hold `{…:any}` and `{…:letter}`.
    """
    register_url_convertor("any", _AnyText())
    register_url_convertor("letter", _LetterId())
    return APIRouter(prefix="/api", tags=[tag], route_class=StrictRoute, responses=_PROBLEMS)
