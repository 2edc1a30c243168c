"""`db upgrade` and `db current`."""

import asyncio
import json

import typer

from jarvis_recorder.cli.database.common import EXAMPLE, database
from jarvis_recorder.cli.settings import ConfigFile, Json, Overrides


def register(commands: typer.Typer) -> None:
    commands.command(epilog=EXAMPLE.format("upgrade"))(upgrade)
    commands.command(epilog=EXAMPLE.format("current"))(current)


def upgrade(config: ConfigFile = None, set_: Overrides = None) -> None:
    """
    Bring the database to the newest schema; make it where there is none.

    `run` does the same when it starts. The recorder must be stopped: the file is locked
    meanwhile. Before a change the whole database is copied beside it.
    """
    from jarvis_recorder.storage import offline, schema

    path = database(config, set_)
    before = asyncio.run(offline.upgrade(path))
    if before == schema.HEAD:
        typer.echo(f"{path}: already at revision {schema.HEAD}")
    else:
        typer.echo(f"{path}: revision {before or 'none'} → {schema.HEAD}")


def current(config: ConfigFile = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Print the schema revision and the size of the database. Changes nothing."""
    from jarvis_recorder.storage import inspection, schema

    path = database(config, set_)
    revision, size_bytes = inspection.state(path)
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
