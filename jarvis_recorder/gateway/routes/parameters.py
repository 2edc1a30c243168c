"""Query parameters that several methods take."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from pydantic import BeforeValidator
from starlette.convertors import PathConvertor, register_url_convertor

from jarvis_recorder.gateway.dependencies import StrictRoute, with_plus
from jarvis_recorder.gateway.problems import ProblemDetails
from jarvis_recorder.wire.records import Severity
from jarvis_recorder.wire.rpc.params import MAX_LIMIT

RowNumber = Annotated[int, Path(ge=1, le=2**63 - 1, description="its number")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="the most to return")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=1_024,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="`nextCursor` of the page before",
    ),
]
Text = Annotated[str | None, Query(min_length=1, description="only events that hold these words")]
Resolved = Annotated[
    bool | None, Query(description="only resolved events, or only unresolved ones")
]

OfCluster = Annotated[
    str | None,
    Query(description="only events of this cluster; where it is empty, those that name none"),
]
Cluster = Annotated[
    str | None, Query(description="the cluster; the only one there is, where it is not given")
]


TimeZone = Annotated[
    str | None,
    BeforeValidator(with_plus),
    Query(
        alias="timeZone",
        description="whose days, as Europe/Berlin or +02:00; those of UTC where it is not given",
    ),
]
MinSeverity = Annotated[
    Severity | None,
    Query(alias="minSeverity", description="only events at least as severe as this"),
]

_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "A problem (RFC 9457); `error` says what happened and what to do.",
        "model": ProblemDetails,
        "content": {"application/problem+json": {}},
    }
}


class _AnyText(PathConvertor):
    """A part of a path that may hold any text; Starlette's `path` ends at a line feed."""

    regex = r"[\s\S]*"


def router(*, tag: str) -> APIRouter:
    """
    Return a router whose routes read JSON strictly and document their problems.

    Their paths may hold `{…:any}`.
    """
    register_url_convertor("any", _AnyText())
    return APIRouter(prefix="/api", tags=[tag], route_class=StrictRoute, responses=_PROBLEMS)
