"""`query snapshot` and `query timeline`."""

import asyncio
from typing import Annotated, Any, Final

import typer

from jarvis_recorder.cli import rpc
from jarvis_recorder.cli.completion import complete_cluster, complete_node
from jarvis_recorder.cli.rpc import RequestOptions, build_params, requests, show
from jarvis_recorder.cli.time_options import HOW_TO_WRITE, At, Time, Window
from jarvis_recorder.errors import Forbidden, NotFound, RecorderError
from jarvis_recorder.wire.rpc import params, results

_Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="NAME",
        help="Of this cluster; needed where there are more.",
        autocompletion=complete_cluster,
    ),
]
# The tolerance with which all numbers of one sign are the same.
_ANY_NUMBER: Final = 1.0
_Node = Annotated[
    str | None,
    typer.Option(
        "--node",
        metavar="NAME",
        help="Only the events of this node.",
        autocompletion=complete_node,
    ),
]


def register(commands: typer.Typer) -> None:
    commands.command(
        epilog="Example: `jarvis-recorder query snapshot --at 2h --cluster home`. " + HOW_TO_WRITE
    )(snapshot)
    commands.command(
        epilog="Example: `jarvis-recorder query timeline '2026-11-23 08:00' --window 30m`. "
        + HOW_TO_WRITE
    )(timeline)


@requests
def snapshot(
    options: RequestOptions,
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
    show(options, request, show_snapshot)


@requests
def timeline(
    options: RequestOptions,
    time: Time,
    *,
    window: Window = None,
    node: _Node = None,
    cluster: _Cluster = None,
) -> None:
    """
    Show what was in force, what changed, what happened and what was said around a time.

    Changes are those between the snapshots in force at both ends, besides numbers that only rose
    or fell; `query diff` shows those, too, and they are not part of --json.
    """
    from jarvis_recorder.cli.output.timeline import show_timeline

    width: dict[str, Any] = {} if window is None else {"window_seconds": window}
    request = build_params(
        params.TimelineAround, timestamp=time, node=node, cluster=cluster, **width
    )
    if options.as_json:
        show(options, request, show_timeline)
        return
    from jarvis_recorder.cli.output.screen import open_screen

    screen = open_screen()
    answer, changes = asyncio.run(_around(options, request))
    if isinstance(changes, RecorderError):
        show_timeline(screen, answer)
        screen.note(f"not compared: {rpc.in_words_of_commands(str(changes))}")
    else:
        show_timeline(screen, answer, changes)


async def _around(
    options: RequestOptions, request: params.TimelineAround
) -> tuple[results.Timeline, results.SnapshotDifferences | RecorderError | None]:
    """Return a timeline and what changed in it: why not if that failed, None if nothing can be."""
    async with rpc.connected(options) as client:
        answer = await client.ask(request)
        if answer.snapshot is None:
            return answer, None
        compared = params.DiffSnapshots(
            from_=answer.since,
            to=answer.until,
            cluster=answer.snapshot.cluster,
            tolerance=_ANY_NUMBER,
        )
        try:
            return answer, await client.ask(compared)
        except (NotFound, Forbidden):
            # At its beginning there may be none yet; and not all who may look may compare.
            return answer, None
        except RecorderError as error:
            return answer, error
