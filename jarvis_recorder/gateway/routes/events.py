"""One event, its resolution, and the histogram of events over time."""

from typing import Annotated

from fastapi import Query, Response

from jarvis_recorder.client.methods import made
from jarvis_recorder.gateway.dependencies import AskFunction, Operating, Reading, When
from jarvis_recorder.gateway.routes.parameters import (
    MinSeverity,
    OfCluster,
    Resolved,
    RowNumber,
    Text,
    TimeZone,
    router,
)
from jarvis_recorder.gateway.schemas import reply, shape
from jarvis_recorder.wire.records import EventType, Severity, Source
from jarvis_recorder.wire.rpc import params, results

routes = router(tag="events")


@routes.get("/events/histogram", response_model=shape(results.Histogram))
async def histogram(
    _: Reading,
    ask: AskFunction,
    *,
    since: When,
    until: When,
    bucket_seconds: Annotated[
        int | None, Query(alias="bucketSeconds", ge=1, description="about sixty buckets by default")
    ] = None,
    by: Annotated[
        params.CountedBy | None, Query(description="count each bucket by this besides")
    ] = None,
    type: EventType | None = None,  # noqa: A002 - the parameter's public name
    severity: Severity | None = None,
    source: Source | None = None,
    node: str | None = None,
    resolved: Resolved = None,
    text: Text = None,
    cluster: OfCluster = None,
    min_severity: MinSeverity = None,
    time_zone: TimeZone = None,
) -> Response:
    """The number of events in each bucket of time, empty buckets too."""
    answer = await ask(
        made(
            params.EventHistogram,
            since=since,
            until=until,
            bucket_seconds=bucket_seconds,
            by=by,
            type=type,
            severity=severity,
            source=source,
            node=node,
            resolved=resolved,
            text=text,
            cluster=cluster,
            min_severity=min_severity,
            time_zone=time_zone,
        )
    )
    return reply(answer)


@routes.get("/events/{id}", response_model=shape(results.OneEvent))
async def get_event(_: Reading, ask: AskFunction, id: RowNumber) -> Response:  # noqa: A002
    """One event."""
    return reply(await ask(made(params.GetEvent, id=id)))


@routes.post("/events/{id}/resolve", response_model=shape(results.OneEvent))
async def resolve_event(caller: Operating, ask: AskFunction, id: RowNumber) -> Response:  # noqa: A002
    """Mark an event as resolved by the caller; one that is keeps its first resolution."""
    answer = await ask(made(params.ResolveEvent, id=id, resolved_by=caller.name))
    return reply(answer)
