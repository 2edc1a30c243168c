"""`prefs`: the assistant's preferences, read and changed."""

from typing import Annotated, Final

import typer

from jarvis_recorder.cli import standard_input
from jarvis_recorder.cli.output.pages import Listing
from jarvis_recorder.cli.rpc import (
    All,
    Limit,
    RequestOptions,
    ask,
    build_params,
    print_json,
    requests,
    show,
    show_pages,
    wanted,
)
from jarvis_recorder.wire.rpc import params, results

commands = typer.Typer(
    no_args_is_help=True,
    help="Read and change the preferences that a running recorder keeps.",
)
_EXAMPLE: Final = "Example: `jarvis-recorder prefs {}`"
_Key = Annotated[str, typer.Argument(metavar="KEY", help="1 to 255 characters.")]


def register(application: typer.Typer) -> None:
    application.add_typer(commands, name="prefs")


@commands.command(name="list", epilog=_EXAMPLE.format("list --prefix voice."))
@requests
def list_(
    options: RequestOptions,
    *,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="Only keys that begin with this.")
    ] = "",
    limit: Limit = None,
    everything: All = False,
) -> None:
    """List preferences in the order of their keys."""
    from jarvis_recorder.cli.output.preferences import show_preferences

    most = wanted(limit, everything)
    request = build_params(params.ListPreferences, prefix=prefix)
    nothing = f"No preference begins with {prefix!r}." if prefix else (
        "There are no preferences yet: `jarvis-recorder prefs set KEY VALUE` makes one."
    )  # fmt: skip
    show_pages(options, Listing(request, "preferences", show_preferences, nothing), most)


@commands.command(epilog=_EXAMPLE.format("get voice.language"))
@requests
def get(options: RequestOptions, key: _Key) -> None:
    """
    Print the value of a preference. Exit code 1 if there is none.

    In a pipe it is the value alone, as it was set, and a line break.
    """
    from jarvis_recorder.cli.output.preferences import show_preference
    from jarvis_recorder.cli.output.screen import Screen

    def view(screen: Screen, answer: results.OnePreference) -> None:
        if screen.is_terminal:
            show_preference(screen, answer)
        else:
            typer.echo(answer.preference.value)

    request = build_params(params.GetPreference, key=key)
    show(options, request, view)


@commands.command(name="set", epilog=_EXAMPLE.format("set voice.language de --expected-version 3"))
@requests
def set_value(
    options: RequestOptions,
    key: _Key,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="Up to 64 KiB; - reads standard input.")
    ],
    *,
    expected_version: Annotated[
        int | None,
        typer.Option(
            "--expected-version",
            metavar="N",
            help="Only where it is at this version; 0: only where there is none.",
        ),
    ] = None,
) -> None:
    """Set a preference. Exit code 1 if it is at another version than expected."""
    from jarvis_recorder.cli.output.sanitize import sanitize

    if value == "-":
        value = standard_input.read_text().removesuffix("\n")
    request = build_params(
        params.SetPreference, key=key, value=value, expected_version=expected_version
    )
    answer = ask(options, request)
    if options.as_json:
        print_json(answer)
    else:
        typer.echo(f"{sanitize(key)} is set, version {answer.preference.version}")


@commands.command(epilog=_EXAMPLE.format("delete voice.language"))
@requests
def delete(options: RequestOptions, key: _Key) -> None:
    """Delete a preference; that there is none is no failure."""
    from jarvis_recorder.cli.output.sanitize import sanitize

    answer = ask(options, build_params(params.DeletePreference, key=key))
    if options.as_json:
        print_json(answer)
    else:
        what = "is deleted" if answer.deleted else "was not set"
        typer.echo(f"{sanitize(key)} {what}")
