"""`query`: what a running recorder has recorded."""

from typing import Annotated

import typer

from jarvis_recorder.cli.asking import (
    Limit,
    Since,
    Until,
    ask,
    made,
    show,
    when,
    with_client,
)
from jarvis_recorder.cli.settings import ConfigFile, Json, Overrides

commands = typer.Typer(no_args_is_help=True, help="Ask a running recorder, over its broker.")

Type = Annotated[str | None, typer.Option("--type", help="alert, action, status or metric.")]
Severity = Annotated[str | None, typer.Option(help="info, warning, error or critical.")]
Source = Annotated[str | None, typer.Option(help="monitor, user, jarvis or system.")]
Node = Annotated[str | None, typer.Option(help="One node of the cluster.")]
Words = Annotated[str | None, typer.Option("--text", help="Part of the summary.")]
Cluster = Annotated[str, typer.Option(help="The cluster's name; none by default.")]


@commands.command(
    epilog="Example: `jarvis-recorder query events --severity critical --since 2h --unresolved`"
)
def events(
    type_: Type = None,
    severity: Severity = None,
    source: Source = None,
    node: Node = None,
    resolved: Annotated[
        bool | None, typer.Option("--resolved/--unresolved", help="Both by default.")
    ] = None,
    since: Since = None,
    until: Until = None,
    text: Words = None,
    limit: Limit = 50,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show events, newest first; the filters combine."""
    from jarvis_recorder.cli import views
    from jarvis_recorder.client import RecorderClient
    from jarvis_recorder.wire.answers import EventPage
    from jarvis_recorder.wire.questions import ListEvents

    question = made(
        ListEvents,
        type=type_,
        severity=severity,
        source=source,
        node=node,
        resolved=resolved,
        since=when(since),
        until=when(until),
        text=text,
        limit=limit,
    )

    async def gathered(client: RecorderClient) -> EventPage:
        """Follow the cursor while a page is short: there may be older ones that match."""
        from dataclasses import replace

        page = await client.ask(question)
        found, cursor = page.events, page.next_cursor
        while cursor is not None and len(found) < limit:
            asked = replace(question, cursor=cursor)  # type: ignore[type-var]
            page = await client.ask(asked)
            found, cursor = found + page.events, page.next_cursor
        return EventPage(found[:limit], cursor)

    page = with_client(config, set_, gathered)
    show(page, as_json, lambda out: [views.events(out, page.events)])


@commands.command(epilog="Example: `jarvis-recorder query sessions --since 7d`")
def sessions(
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show conversations, the latest first."""
    from jarvis_recorder.cli import views
    from jarvis_recorder.wire.questions import ListSessions

    question = made(ListSessions, since=when(since), until=when(until), limit=limit)
    page = ask(config, set_, question)
    show(page, as_json, lambda out: [views.sessions(out, page.sessions)])


@commands.command(epilog="Example: `jarvis-recorder query turns s-2026-11-23`")
def turns(
    session: Annotated[str, typer.Argument(help="The conversation; see `query sessions`.")],
    limit: Limit = 50,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show a conversation, oldest turn first."""
    from jarvis_recorder.cli import views
    from jarvis_recorder.wire.questions import ListTurns

    page = ask(config, set_, made(ListTurns, session_id=session, limit=limit))
    show(page, as_json, lambda _: views.turns(page))


@commands.command(epilog="Example: `jarvis-recorder query search power supply`")
def search(
    words: Annotated[list[str], typer.Argument(help="Words that a turn must hold, all of them.")],
    session: Annotated[str | None, typer.Option(help="In this conversation only.")] = None,
    limit: Limit = 20,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Find turns by their words, best first."""
    from jarvis_recorder.cli import views
    from jarvis_recorder.wire.questions import SearchTurns

    question = made(SearchTurns, query=" ".join(words), session_id=session, limit=limit)
    found = ask(config, set_, question)
    show(found, as_json, lambda out: [views.search(out, found.turns)])


@commands.command(epilog="Example: `jarvis-recorder query snapshot --at 2h --cluster home`")
def snapshot(
    at: Annotated[str | None, typer.Option(metavar="TIME", help="The one then in force.")] = None,
    cluster: Cluster = "",
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show the newest snapshot of a cluster, or the one in force at a time."""
    from jarvis_recorder.cli import views
    from jarvis_recorder.wire.questions import LatestSnapshot, SnapshotAt

    question = (
        made(LatestSnapshot, cluster=cluster)
        if at is None
        else made(SnapshotAt, timestamp=when(at), cluster=cluster)
    )
    found = ask(config, set_, question)
    show(found, as_json, lambda out: views.snapshot(found.snapshot))


@commands.command(epilog="Example: `jarvis-recorder query timeline 2h --window 600 --node pve1`")
def timeline(
    time: Annotated[str, typer.Argument(metavar="TIME", help="The moment.")],
    window: Annotated[int, typer.Option(min=1, max=86_400, help="Seconds around it.")] = 600,
    node: Node = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show what the cluster was like around a moment: snapshot, events, conversation."""
    from jarvis_recorder.cli import views
    from jarvis_recorder.wire.questions import TimelineAround

    question = made(TimelineAround, timestamp=when(time), window_seconds=window, node=node)
    found = ask(config, set_, question)
    show(found, as_json, lambda out: views.timeline(out, found))


@commands.command(epilog="Example: `jarvis-recorder query histogram --since 24h --by severity`")
def histogram(
    since: Annotated[str, typer.Option(metavar="TIME", help="From this time on.")] = "24h",
    until: Annotated[str, typer.Option(metavar="TIME", help="Before this time.")] = "now",
    bucket: Annotated[int | None, typer.Option(min=1, help="Seconds of each bar.")] = None,
    by: Annotated[str | None, typer.Option(help="Count by type, severity, source or node.")] = None,
    type_: Type = None,
    severity: Severity = None,
    source: Source = None,
    node: Node = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Draw how many events there were over time."""
    from jarvis_recorder.cli import views
    from jarvis_recorder.wire.questions import EventHistogram

    question = made(
        EventHistogram,
        since=when(since),
        until=when(until),
        bucket_seconds=bucket,
        by=by,
        type=type_,
        severity=severity,
        source=source,
        node=node,
    )
    found = ask(config, set_, question)
    show(found, as_json, lambda out: views.histogram(out, found))


@commands.command(epilog="Example: `jarvis-recorder query usage --since 30d --by model`")
def usage(
    since: Annotated[str, typer.Option(metavar="TIME", help="From this time on.")] = "30d",
    until: Until = None,
    by: Annotated[str | None, typer.Option(help="By model, day or session.")] = "model",
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Add up tokens and cost of the conversations."""
    from jarvis_recorder.cli import views
    from jarvis_recorder.wire.questions import ReportUsage

    found = ask(config, set_, made(ReportUsage, since=when(since), until=when(until), by=by))
    show(found, as_json, lambda out: [views.usage(out, found)])


@commands.command(epilog="Example: `jarvis-recorder query stats --json`")
def stats(config: ConfigFile = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Show what the recorder holds and what it does."""
    from jarvis_recorder.cli import views
    from jarvis_recorder.wire.questions import ReadStats

    found = ask(config, set_, made(ReadStats))
    show(found, as_json, lambda out: views.stats(out, found))
