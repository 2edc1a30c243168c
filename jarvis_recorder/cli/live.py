"""`resolve` and `tail`: what one does while something goes on."""

import json
from typing import Annotated

import typer

from jarvis_recorder.cli.asking import ask, console, made, show, with_client
from jarvis_recorder.cli.settings import ConfigFile, Json, Overrides


def register(application: typer.Typer) -> None:
    application.command(epilog="Example: `jarvis-recorder resolve 4711`")(resolve)
    application.command(epilog="Example: `jarvis-recorder tail --kind event --severity warning`")(
        tail
    )


def resolve(
    event: Annotated[int, typer.Argument(min=1, help="The event's id; see `query events`.")],
    by: Annotated[
        str | None, typer.Option(help="Who has resolved it; the broker's user by default.")
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Mark an event as resolved; one that is keeps its first resolution."""
    from jarvis_recorder.cli.views import local, safe, zone
    from jarvis_recorder.wire.questions import ResolveEvent

    found = ask(config, set_, made(ResolveEvent, id=event, resolved_by=by))
    resolved = found.event
    said = (
        f"event {event} is resolved by {safe(resolved.resolved_by or '?')} "
        f"since {local(resolved.resolved_at)} {zone()}"
    )
    show(found, as_json, lambda _: [said])


def tail(
    kind: Annotated[
        list[str] | None, typer.Option(help="event, snapshot or turn; may be repeated.")
    ] = None,
    severity: Annotated[
        str | None, typer.Option(help="Events at least as severe, and nothing else.")
    ] = None,
    node: Annotated[str | None, typer.Option(help="Events of this node, and nothing else.")] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show what is published while it is published, until Ctrl-C."""
    from jarvis_recorder.cli.views import record, record_as_json
    from jarvis_recorder.client import RecorderClient
    from jarvis_recorder.client.reading import SEVERITIES
    from jarvis_recorder.wire.topics import Kind

    try:
        kinds = {Kind(name) for name in kind} if kind else set(Kind)
    except ValueError:
        raise typer.BadParameter("--kind must be event, snapshot or turn") from None
    if severity not in (None, *SEVERITIES):
        raise typer.BadParameter(f"--severity must be {', '.join(SEVERITIES)}")
    out = console()

    async def listen(client: RecorderClient) -> None:
        async with client.tail(kinds, severity=severity, node=node) as records:
            async for one in records:
                if as_json:
                    typer.echo(json.dumps(record_as_json(one), ensure_ascii=False, default=str))
                else:
                    out.print(record(one), soft_wrap=True)

    try:
        with_client(config, set_, listen)
    except KeyboardInterrupt:
        return
