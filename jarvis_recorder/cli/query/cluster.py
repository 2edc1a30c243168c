"""`query snapshot`, `query snapshots`, `query timeline` and `query stats`."""

from typing import Annotated, Any, Final

import typer

from jarvis_recorder.cli.options import ConfigFile, Json, Overrides
from jarvis_recorder.cli.rpc import (
    DEFAULT_TIMEOUT_SECONDS,
    All,
    Limit,
    Listing,
    Timeout,
    build_params,
    load_connection,
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


def snapshot(
    *,
    at: At = None,
    cluster: _Cluster = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    as_json: Json = False,
) -> None:
    """Show the newest state of the cluster, or the one in force at a time."""
    from jarvis_recorder.cli.output.cluster import show_snapshot

    request: params.Params[results.OneSnapshot]
    if at is None:
        request = build_params(params.LatestSnapshot, cluster=cluster)
    else:
        request = build_params(params.SnapshotAt, timestamp=at, cluster=cluster)
    show(load_connection(config, set_, timeout, as_json=as_json), request, show_snapshot)


def snapshots(
    *,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="NAME", help="Only of this cluster.")
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    everything: All = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    as_json: Json = False,
) -> None:
    """List snapshots without what is in them, newest first."""
    from jarvis_recorder.cli.output.cluster import show_snapshots

    most = wanted(limit, everything)
    require_order(since, until)
    request = build_params(params.ListSnapshots, cluster=cluster, since=since, until=until)
    whom = load_connection(config, set_, timeout, as_json=as_json)
    show_pages(whom, Listing(request, "snapshots", show_snapshots, _NO_SNAPSHOT), most)


def timeline(
    time: Time,
    *,
    window: Window = None,
    node: _Node = None,
    cluster: _Cluster = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    as_json: Json = False,
) -> None:
    """Show what was in force, what happened and what was said around a time, in order."""
    from jarvis_recorder.cli.output.timeline import show_timeline

    width: dict[str, Any] = {} if window is None else {"window_seconds": window}
    request = build_params(
        params.TimelineAround, timestamp=time, node=node, cluster=cluster, **width
    )
    show(load_connection(config, set_, timeout, as_json=as_json), request, show_timeline)


def stats(
    config: ConfigFile = None,
    set_: Overrides = None,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    as_json: Json = False,
) -> None:
    """Show what the recorder holds and what it does now."""
    from jarvis_recorder.cli.output.cluster import show_stats

    whom = load_connection(config, set_, timeout, as_json=as_json)
    show(whom, params.ReadStats(), show_stats)
