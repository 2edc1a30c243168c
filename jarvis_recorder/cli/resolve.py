"""`resolve`: mark an event as resolved."""

from typing import Annotated, Final

import typer

from jarvis_recorder.cli.rpc import (
    RequestOptions,
    build_params,
    requests,
    show,
)
from jarvis_recorder.wire.rpc import params, results

_SUMMARY: Final = 200


def register(application: typer.Typer) -> None:
    application.command(epilog="Example: `jarvis-recorder resolve 1204 --by alice`")(resolve)


@requests
def resolve(
    options: RequestOptions,
    number: Annotated[
        int, typer.Argument(metavar="ID", help="Its id, as `query events` lists it.")
    ],
    *,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who did it; the broker's user by default."),
    ] = None,
) -> None:
    """
    Mark an event as resolved. Exit code 1 if there is none with that id.

    One that is resolved already stays as it is, and is shown as such.
    """
    from jarvis_recorder.cli.output.sanitize import cut
    from jarvis_recorder.cli.output.screen import Screen

    def view(screen: Screen, answer: results.OneEvent) -> None:
        event = answer.event
        when = screen.clock([event.resolved_at]).named(event.resolved_at)
        summary = cut(event.summary, _SUMMARY)
        screen.line(f"event {event.id} is resolved by {event.resolved_by} since {when}: {summary}")

    request = build_params(params.ResolveEvent, id=number, resolved_by=by)
    show(options, request, view)
