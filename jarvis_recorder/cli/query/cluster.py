"""`query snapshot`, `query snapshots`, `query timeline` and `query stats`."""

from typing import Annotated, Any, Final

import typer

from jarvis_recorder.cli.rpc import (
    All,
    Connection,
    Limit,
    Listing,
    build_params,
    requests,
    show,
    show_pages,
    wanted,
)
from jarvis_recorder.cli.time_options import (
    HOW_TO_WRITE,
    At,
    Since,
    Time,
    Until,
    Window,
    require_order,
)
from jarvis_recorder.wire.rpc import params, results

_Cluster = Annotated[
    str | None,
    typer.Option("--cluster", metavar="NAME", help="Of this cluster; needed where there are more."),
]
_NO_SNAPSHOT: Final = "No snapshot fits. Try an earlier --since, or no --cluster."
_Node = Annotated[
    str | None, typer.Option("--node", metavar="NAME", help="Only the events of this node.")
]


def register(commands: typer.Typer) -> None:
    commands.command(
        epilog="Example: `jarvis-recorder query snapshot --at 2h --cluster home`. " + HOW_TO_WRITE
    )(snapshot)
    commands.command(
        epilog="Example: `jarvis-recorder query snapshots --since 1d`. " + HOW_TO_WRITE
    )(snapshots)
    commands.command(
        epilog="Example: `jarvis-recorder query timeline '2026-11-23 08:00' --window 30m`. "
        + HOW_TO_WRITE
    )(timeline)
    commands.command(epilog="Example: `jarvis-recorder query stats --json`")(stats)


@requests
def snapshot(
    whom: Connection,
    *,
    at: At = None,
    cluster: _Cluster = None,
) -> None:
    """Show the newest state of the cluster, or the one in force at a time."""
    from jarvis_recorder.cli.output.cluster import show_snapshot

    request: params.Params[results.OneSnapshot]
    if at is None:
        request = build_params(params.LatestSnapshot, cluster=cluster)
    else:
        request = build_params(params.SnapshotAt, timestamp=at, cluster=cluster)
    show(whom, request, show_snapshot)


@requests
def snapshots(
    whom: Connection,
    *,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="NAME", help="Only of this cluster.")
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    everything: All = False,
) -> None:
    """List snapshots without what is in them, newest first."""
    from jarvis_recorder.cli.output.cluster import show_snapshots

    most = wanted(limit, everything)
    require_order(since, until)
    request = build_params(params.ListSnapshots, cluster=cluster, since=since, until=until)
    show_pages(whom, Listing(request, "snapshots", show_snapshots, _NO_SNAPSHOT), most)


@requests
def timeline(
    whom: Connection,
    time: Time,
    *,
    window: Window = None,
    node: _Node = None,
    cluster: _Cluster = None,
) -> None:
    """Show what was in force, what happened and what was said around a time, in order."""
    from jarvis_recorder.cli.output.timeline import show_timeline

    width: dict[str, Any] = {} if window is None else {"window_seconds": window}
    request = build_params(
        params.TimelineAround, timestamp=time, node=node, cluster=cluster, **width
    )
    show(whom, request, show_timeline)


@requests
def stats(whom: Connection) -> None:
    """Show what the recorder holds and what it does now."""
    from jarvis_recorder.cli.output.cluster import show_stats

    show(whom, params.ReadStats(), show_stats)
