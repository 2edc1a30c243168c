"""`tail`: records as they are published."""

import asyncio
import sys
from typing import Annotated, NamedTuple

import typer

from jarvis_recorder.cli.options import ConfigFile, Overrides
from jarvis_recorder.cli.rpc import (
    DEFAULT_TIMEOUT_SECONDS,
    RequestOptions,
    Timeout,
    connected,
    load_options,
)
from jarvis_recorder.runtime import process
from jarvis_recorder.wire.records import Record, Severity
from jarvis_recorder.wire.topics import Kind


def register(application: typer.Typer) -> None:
    application.command(epilog="Example: `jarvis-recorder tail --min-severity warning`")(tail)


def tail(
    *,
    kind: Annotated[
        list[Kind] | None,
        typer.Option("--kind", help="Only records of this kind. May be repeated."),
    ] = None,
    severity: Annotated[
        Severity | None,
        typer.Option("--severity", help="Only events of exactly this severity."),
    ] = None,
    min_severity: Annotated[
        Severity | None,
        typer.Option("--min-severity", help="Only events at least as severe as this."),
    ] = None,
    node: Annotated[
        str | None, typer.Option("--node", metavar="NAME", help="Only events of this node.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster", metavar="NAME", help="Only events and snapshots of this cluster."
        ),
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each record.")
    ] = False,
) -> None:
    """
    Show records as they are published, a line each, until Ctrl-C.

    This listens alongside the recorder and takes nothing away from it. After a loss of the
    broker it comes back by itself; what was published meanwhile is in `query`.
    """
    wanted = _Wanted(frozenset(kind or Kind), severity, min_severity, node, cluster)
    if Kind.EVENT not in wanted.kinds and (severity or min_severity or node):
        raise typer.BadParameter(
            "--severity, --min-severity and --node are of events: add --kind event"
        )
    options = load_options(config, set_, timeout, as_json=as_json)
    asyncio.run(_until_stopped(options, wanted))


class _Wanted(NamedTuple):
    """The filters of the records to show."""

    kinds: frozenset[Kind]
    severity: Severity | None
    min_severity: Severity | None
    node: str | None
    cluster: str | None

    def is_shown(self, record: Record) -> bool:
        """Return whether a record that the client's filter passed has exactly the severity given."""
        return self.severity in (None, getattr(record.body, "severity", None))


async def _until_stopped(options: RequestOptions, wanted: _Wanted) -> None:
    stop = asyncio.Event()
    process.stop_on_signals(stop)
    following = asyncio.create_task(_follow(options, wanted))
    await process.first_of(stop, following)
    if following.done():
        await following
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def _follow(options: RequestOptions, wanted: _Wanted) -> None:
    from jarvis_recorder.cli.output.records import record_json, show_record
    from jarvis_recorder.cli.output.screen import open_screen

    screen = open_screen()
    async with connected(options) as client, client.tail(
        wanted.kinds,
        severity=wanted.min_severity or wanted.severity,
        node=wanted.node,
        cluster=wanted.cluster,
        on_gap=lambda: screen.note("Listening again; what was published meanwhile is in `query`."),
    ) as records:  # fmt: skip
        if screen.is_terminal and not options.as_json:
            screen.note("Listening; Ctrl-C ends.")
        async for record in records:
            if not wanted.is_shown(record):
                continue
            if options.as_json:
                typer.echo(record_json(record, sys.stdout.encoding))
                screen.flush()
            else:
                show_record(screen, record)
