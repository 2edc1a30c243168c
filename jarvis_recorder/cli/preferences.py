"""`prefs`: what the assistant was told to remember."""

from typing import Annotated

import typer

from jarvis_recorder.cli.asking import ask, made, show, with_client
from jarvis_recorder.cli.settings import ConfigFile, Json, Overrides

commands = typer.Typer(
    no_args_is_help=True, help="Read and change preferences, through a running recorder."
)
Key = Annotated[str, typer.Argument(help="1 to 255 characters, such as ui.theme.")]


@commands.command("list", epilog="Example: `jarvis-recorder prefs list ui.`")
def list_(
    prefix: Annotated[str, typer.Argument(help="Only keys that begin so.")] = "",
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show all preferences, or those whose keys begin alike."""
    from jarvis_recorder.cli import views
    from jarvis_recorder.client import RecorderClient
    from jarvis_recorder.wire.answers import Preference, PreferencePage

    async def everything(client: RecorderClient) -> list[Preference]:
        return [one async for one in client.preferences.iter(prefix=prefix)]

    found = with_client(config, set_, everything)
    show(PreferencePage(found, None), as_json, lambda out: [views.preferences(out, found)])


@commands.command(epilog="Example: `jarvis-recorder prefs get ui.theme`")
def get(key: Key, config: ConfigFile = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Print the value of a preference: raw in a pipe, made safe on a terminal."""
    from jarvis_recorder.cli.views import safe
    from jarvis_recorder.wire.questions import GetPreference

    found = ask(config, set_, made(GetPreference, key=key))
    value = found.preference.value
    show(found, as_json, lambda out: [safe(value) if out.is_terminal else value])


@commands.command("set", epilog="Example: `jarvis-recorder prefs set ui.theme dark`")
def set_one(
    key: Key,
    value: Annotated[str, typer.Argument(help="A text of up to 64 KiB.")],
    expected_version: Annotated[
        int | None,
        typer.Option(min=0, help="Only where it stands at this version; 0 where there is none."),
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """Set a preference."""
    from jarvis_recorder.cli.views import safe
    from jarvis_recorder.wire.questions import SetPreference

    question = made(SetPreference, key=key, value=value, expected_version=expected_version)
    found = ask(config, set_, question)
    show(found, as_json, lambda _: [f"{safe(key)} is set, version {found.preference.version}"])


@commands.command(epilog="Example: `jarvis-recorder prefs delete ui.theme`")
def delete(
    key: Key, config: ConfigFile = None, set_: Overrides = None, as_json: Json = False
) -> None:
    """Delete a preference; one that is not there is no error."""
    from jarvis_recorder.cli.views import safe
    from jarvis_recorder.wire.questions import DeletePreference

    found = ask(config, set_, made(DeletePreference, key=key))
    show(
        found,
        as_json,
        lambda _: [f"{safe(key)} is deleted" if found.deleted else f"there was no {safe(key)}"],
    )
