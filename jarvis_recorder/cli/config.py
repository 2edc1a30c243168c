"""`config`: show the settings in force with their origins, and check them."""

import json

import typer

from jarvis_recorder.cli.options import ConfigFile, Json, Overrides, loaded

commands = typer.Typer(
    no_args_is_help=True,
    help="Show and check the settings.",
)
_ORDER = (
    "The first that names a setting wins: `--set`, the environment, the credentials directory, the "
    "TOML file, the default. `log.level` in the environment is `JARVIS_RECORDER_LOG__LEVEL`."
)


def register(application: typer.Typer) -> None:
    application.add_typer(commands, name="config")


@commands.command(epilog=_ORDER)
def show(config: ConfigFile = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Print every setting: its value, where that came from, what it is for. No passwords."""
    from jarvis_recorder.config.secrets import redacted
    from jarvis_recorder.config.settings import NAMES

    settings, origins = loaded(config, set_)
    rows = [
        {
            "name": name,
            "value": redacted(name, settings),
            "origin": origins[name],
            "description": _description(name),
        }
        for name in NAMES
    ]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
    else:
        _print_table(rows)


@commands.command(epilog="Example: `jarvis-recorder config check --config new.toml`")
def check(config: ConfigFile = None, set_: Overrides = None) -> None:
    """
    Say whether the settings are valid, without connecting to anything.

    Exit code 78 and one line that says what to change if they are not.
    """
    from jarvis_recorder.config.loading import server_url, sqlite_path
    from jarvis_recorder.config.secrets import exposed_secrets, protection
    from jarvis_recorder.config.settings import NAMES
    from jarvis_recorder.incidents.rules import load_rules

    settings, origins = found = loaded(config, set_)
    if server_url(found) is None:
        sqlite_path(found)
    load_rules(settings.incidents.rules, settings.incidents.quiet_hours)
    for path, names in exposed_secrets(settings, origins).items():
        what = ", ".join(names)
        typer.echo(
            f"warning: {path} holds {what}, and everyone here may read it: {protection(path, names)}",
            err=True,
        )
    settings.broker.tls.context()
    given = sum(origins[name] != "default" for name in NAMES)
    typer.echo(f"the configuration is valid: {given} of {len(NAMES)} settings given")


def _description(name: str) -> str:
    from jarvis_recorder.config.settings import Settings

    section, _, field = name.partition(".")
    kind = Settings.model_fields[section].annotation
    assert kind is not None
    description: str = kind.model_fields[field].description or ""
    return description


def _print_table(rows: list[dict[str, str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from jarvis_recorder.cli.output.screen import Column, open_screen

    screen = open_screen()
    if not screen.is_terminal:
        columns = [Column(each) for each in ("setting", "value", "from", "what it is")]
        screen.table(columns, [tuple(row.values()) for row in rows])
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="dim")
    table.add_column("setting", style="bold cyan", no_wrap=True)
    table.add_column("value, where it came from, what it is", overflow="fold")
    for row in rows:
        given = row["origin"] != "default"
        origin = (f"\nfrom {row['origin']}", "green") if given else ("  default", "dim")
        what = (f"\n{row['description']}", "dim")
        table.add_row(row["name"], Text.assemble((row["value"], "bold"), origin, what))
    Console().print(table)
