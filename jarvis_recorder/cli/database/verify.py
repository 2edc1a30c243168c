"""`db verify` and `db acknowledge`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jarvis_recorder.cli.database.options import EXAMPLE, database, progress
from jarvis_recorder.cli.options import ConfigFile, Json, Overrides

if TYPE_CHECKING:
    from jarvis_recorder.storage.sqlite.admin.integrity import IntegrityCheck


def register(commands: typer.Typer) -> None:
    commands.command(epilog=EXAMPLE.format("verify"))(verify)
    commands.command(epilog=EXAMPLE.format("acknowledge"))(acknowledge)


def verify(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A backup, instead of the database.")
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """
    Read the whole database, or a backup, and say whether it is sound. Exit code 1 if not.

    Changes nothing, and a recorder may continue recording meanwhile.
    """
    from jarvis_recorder.storage.sqlite.admin import integrity

    path = database(config, set_) if file is None else file.absolute()
    with progress() as report:
        checks = integrity.verify(path, report)
    sound = not any(check.problems for check in checks)
    if as_json:
        found = [
            {"name": check.name, "sound": not check.problems, "problems": check.problems}
            for check in checks
        ]
        typer.echo(json.dumps({"path": str(path), "sound": sound, "checks": found}))
    else:
        _show(path, checks)
    if not sound:
        raise typer.Exit(1)


def _show(path: Path, checks: "list[IntegrityCheck]") -> None:
    from rich.text import Text

    from jarvis_recorder.cli.output.screen import Column, open_screen

    screen = open_screen()
    rows = []
    for check in checks:
        if check.problems:
            rows += [(check.name, Text("damaged", "red"), line) for line in check.problems]
        else:
            rows.append((check.name, Text("sound", "green"), check.about))
    screen.heading(str(path))
    screen.table((Column("check"), Column("result"), Column("what", wraps=True)), rows)


def acknowledge(config: ConfigFile = None, set_: Overrides = None, as_json: Json = False) -> None:
    """
    Say that someone has looked at what was damaged.

    A recorder that went on with a new database (`store.on_corruption = "quarantine"`) is
    healthy again from now on; one that stopped may be started again with the file as it is.
    Nothing is moved or deleted.
    """
    from jarvis_recorder.storage.sqlite import damage

    path = database(config, set_)
    seen = [str(each) for each in damage.acknowledge(path)]
    if as_json:
        typer.echo(json.dumps({"path": str(path), "acknowledged": seen}))
        return
    for each in seen:
        typer.echo(f"{each}: acknowledged")
    if not seen:
        typer.echo(f"{path}: nothing was found damaged")
