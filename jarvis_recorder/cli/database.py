"""`db`: the database file and its schema."""

import asyncio
import json
from pathlib import Path

import typer

from jarvis_recorder.cli.settings import ConfigFile, Json, Overrides, loaded

commands = typer.Typer(
    no_args_is_help=True,
    help="Look after the database file that `store.url` names.",
)
_EXAMPLE = "Example: `jarvis-recorder db {} --set store.url=sqlite:////srv/recorder.db`"


@commands.command(epilog=_EXAMPLE.format("upgrade"))
def upgrade(config: ConfigFile = None, set_: Overrides = None) -> None:
    """
    Bring the database to the newest schema; make it where there is none.

    `run` does the same when it starts. The recorder must be stopped: the file is locked
    meanwhile. Before a change the whole database is copied beside it.
    """
    from jarvis_recorder.storage import maintenance, schema

    path = _path(config, set_)
    before = asyncio.run(maintenance.upgrade(path))
    if before == schema.HEAD:
        typer.echo(f"{path}: already at revision {schema.HEAD}")
    else:
        typer.echo(f"{path}: revision {before or 'none'} → {schema.HEAD}")


@commands.command(epilog=_EXAMPLE.format("current"))
def current(config: ConfigFile = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Print the schema revision and the size of the database. Changes nothing."""
    from jarvis_recorder.storage import maintenance, schema

    path = _path(config, set_)
    revision, size_bytes = maintenance.state(path)
    if as_json:
        facts = {
            "path": str(path),
            "revision": revision,
            "head": schema.HEAD,
            "size_bytes": size_bytes,
        }
        typer.echo(json.dumps(facts))
        return
    standing = "the newest" if revision == schema.HEAD else f"the newest is {schema.HEAD}"
    typer.echo(f"{path}: revision {revision or 'none'} ({standing}), {size_bytes:,} bytes")


@commands.command(epilog=_EXAMPLE.format("check"))
def check(config: ConfigFile = None, set_: Overrides = None, as_json: Json = False) -> None:
    """
    Read the whole database and say whether it is sound and at the newest schema.

    Changes nothing, and a recorder may go on recording meanwhile. Exit code 1 if not.
    """
    from jarvis_recorder.storage import maintenance

    path = _path(config, set_)
    problems = maintenance.problems(path)
    if as_json:
        facts = {"path": str(path), "sound": not problems, "problems": problems}
        typer.echo(json.dumps(facts))
    else:
        for line in problems or ["sound"]:
            typer.echo(f"{path}: {line}")
    if problems:
        raise typer.Exit(1)


def _path(config: Path | None, overrides: list[str] | None) -> Path:
    from jarvis_recorder import log
    from jarvis_recorder.config import sqlite_path

    settings = loaded(config, overrides).settings
    # These commands say themselves what they have done.
    log.configure("warning", settings.log.format)
    return sqlite_path(settings)
