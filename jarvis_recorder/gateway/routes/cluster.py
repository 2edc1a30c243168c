"""Snapshots, the timeline around a time, and the recorder's stats and health."""

from typing import Annotated

from fastapi import Query, Request, Response

from jarvis_recorder import __version__
from jarvis_recorder.client.methods import made
from jarvis_recorder.gateway.dependencies import AskFunction, Reading, When
from jarvis_recorder.gateway.probe import Probe
from jarvis_recorder.gateway.problems import problem_of
from jarvis_recorder.gateway.routes.parameters import Cluster, Cursor, Limit, router
from jarvis_recorder.gateway.schemas import Health, reply, shape
from jarvis_recorder.wire.rpc import params, results

routes = router(tag="cluster")


@routes.get("/snapshots", response_model=shape(results.SnapshotPage))
async def list_snapshots(
    _: Reading,
    ask: AskFunction,
    *,
    cluster: str | None = None,
    since: When | None = None,
    until: When | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Snapshots without their bodies, newest first; of every cluster where none is named."""
    query = made(
        params.ListSnapshots,
        cluster=cluster,
        since=since,
        until=until,
        limit=limit,
        cursor=cursor,
    )
    return reply(await ask(query))


@routes.get("/snapshots/latest", response_model=shape(results.OneSnapshot))
async def latest_snapshot(_: Reading, ask: AskFunction, cluster: Cluster = None) -> Response:
    """The newest snapshot of a cluster; 400 names those there are, where there are several."""
    return reply(await ask(made(params.LatestSnapshot, cluster=cluster)))


@routes.get("/snapshots/at", response_model=shape(results.OneSnapshot))
async def snapshot_at(
    _: Reading, ask: AskFunction, timestamp: When, cluster: Cluster = None
) -> Response:
    """The snapshot that was in force: the newest one at or before the time."""
    query = made(params.SnapshotAt, timestamp=timestamp, cluster=cluster)
    return reply(await ask(query))


@routes.get("/timeline", response_model=shape(results.Timeline))
async def timeline(
    _: Reading,
    ask: AskFunction,
    *,
    timestamp: When,
    window_seconds: Annotated[int, Query(alias="windowSeconds", ge=1, le=86_400)] = 600,
    node: str | None = None,
    cluster: Cluster = None,
) -> Response:
    """The cluster around a time: the snapshot in force, events, turns."""
    query = made(
        params.TimelineAround,
        timestamp=timestamp,
        window_seconds=window_seconds,
        node=node,
        cluster=cluster,
    )
    return reply(await ask(query))


@routes.get("/stats", response_model=shape(results.Stats))
async def stats(_: Reading, ask: AskFunction) -> Response:
    """The totals of the database, and the activity of the recorder."""
    return reply(await ask(made(params.ReadStats)))


@routes.get("/health", response_model=Health)
async def health(request: Request) -> Response:
    """The health of the recorder behind the gateway: 200 if it replies; needs no token."""
    probe: Probe = request.app.state.probe
    error = await probe.failure()
    if error is not None:
        away = Health(status="unavailable", version=__version__, recorder=str(error))
        return reply(away, problem_of(error).status_code)
    return reply(Health(status="ok", version=__version__, recorder="answers"))
