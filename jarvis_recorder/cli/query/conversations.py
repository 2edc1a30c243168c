"""`query turns`, `query turn`, `query search` and `query usage`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from jarvis_recorder.cli.completion import complete_cluster, complete_session
from jarvis_recorder.cli.output.pages import Listing
from jarvis_recorder.cli.rpc import (
    All,
    Limit,
    RequestOptions,
    ask_every_page,
    build_params,
    requests,
    show,
    show_answer,
    show_pages,
    wanted,
)
from jarvis_recorder.cli.time_options import (
    HOW_TO_WRITE,
    Since,
    TimeZone,
    Until,
    before,
    local_zone,
    require_order,
)
from jarvis_recorder.wire.rpc import params, results

_NO_TURN: Final = (
    "No turn of such a session. `jarvis-recorder query sessions` lists those there are."
)
_NOT_FOUND: Final = "No turn holds all of these words. Try fewer of them."
_MONTH: Final = timedelta(days=30)


def register(commands: typer.Typer) -> None:
    commands.command(epilog="Example: `jarvis-recorder query turns 0190f3a2-session --all`")(turns)
    commands.command(epilog="Example: `jarvis-recorder query turn 1204`")(turn)
    commands.command(epilog="Example: `jarvis-recorder query search power supply`")(search)
    commands.command(
        epilog="Example: `jarvis-recorder query usage --since 7d --by day`. " + HOW_TO_WRITE
    )(usage)


@requests
def turns(
    options: RequestOptions,
    session: Annotated[
        str,
        typer.Argument(
            metavar="SESSION",
            help="As `sessions` lists it.",
            autocompletion=complete_session,
        ),
    ],
    *,
    newest: Annotated[
        bool, typer.Option("--newest", help="From its end, the newest turn first.")
    ] = False,
    around: Annotated[
        int | None,
        typer.Option(
            "--around", metavar="ID", help="Begin with this turn in the middle of a page."
        ),
    ] = None,
    limit: Limit = None,
    everything: All = False,
) -> None:
    """Show what was said in one conversation, from its beginning."""
    from jarvis_recorder.cli.output.conversations import show_turns

    most = wanted(limit, everything)
    order = "newest" if newest else "oldest"
    request = build_params(params.ListTurns, session_id=session, order=order, around=around)
    show_pages(options, Listing(request, "turns", show_turns, _NO_TURN), most)


@requests
def turn(
    options: RequestOptions,
    number: Annotated[int, typer.Argument(metavar="ID", help="Its id, as `turns` names it.")],
) -> None:
    """Show one turn whole, however large it is. Exit code 1 if there is none."""
    from jarvis_recorder.cli.output.conversations import show_turns
    from jarvis_recorder.cli.output.screen import Screen

    def view(screen: Screen, answer: results.OneTurn) -> None:
        show_turns(screen, [answer.turn])

    show(
        options,
        build_params(params.GetTurn, id=number),
        view,
    )


@requests
def search(
    options: RequestOptions,
    words: Annotated[list[str], typer.Argument(metavar="WORDS", help="All must be in a turn.")],
    *,
    session: Annotated[
        str | None,
        typer.Option(
            "--session",
            metavar="SESSION",
            help="Only in this conversation.",
            autocompletion=complete_session,
        ),
    ] = None,
    limit: Limit = None,
    everything: All = False,
) -> None:
    """Search what was said, the best finds first."""
    from jarvis_recorder.cli.output.conversations import show_found

    most = wanted(limit, everything)
    request = build_params(params.SearchTurns, query=" ".join(words), session_id=session)
    show_pages(options, Listing(request, "turns", show_found, _NOT_FOUND), most)


@requests
def usage(
    options: RequestOptions,
    *,
    since: Since = None,
    until: Until = None,
    by: Annotated[
        params.UsedBy,
        typer.Option("--by", help="What to tell apart."),
    ] = "model",
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="NAME",
            help="Only turns that name it; '' for none.",
            autocompletion=complete_cluster,
        ),
    ] = None,
    time_zone: TimeZone = None,
) -> None:
    """Add up turns, tokens and cost; of the last thirty days, unless asked otherwise."""
    from jarvis_recorder.cli.output.conversations import show_usage
    from jarvis_recorder.cli.output.screen import Screen

    def view(screen: Screen, answer: results.UsageReport) -> None:
        show_usage(screen, answer, by)
        if not answer.usage:
            screen.note("No turns in that time. Try an earlier --since.")

    require_order(since, until)
    begin = since or before(until or datetime.now(UTC), _MONTH)
    if by == "day" and time_zone is None and not options.as_json:
        time_zone = local_zone()
    request = build_params(
        params.ReportUsage, since=begin, until=until, by=by, time_zone=time_zone, cluster=cluster
    )
    show_answer(options, ask_every_page(options, request, "usage"), view)
