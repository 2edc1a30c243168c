"""`db upgrade` and `db current`."""

import asyncio
import json

import typer

from jarvis_recorder.cli.database.options import EXAMPLE, database
from jarvis_recorder.cli.options import ConfigFile, Json, Overrides


def register(commands: typer.Typer) -> None:
    commands.command(epilog=EXAMPLE.format("upgrade"))(upgrade)
    commands.command(epilog=EXAMPLE.format("current"))(current)


def upgrade(config: ConfigFile = None, set_: Overrides = None) -> None:
    """
    Bring the database to the newest schema; make it where there is none.

    `run` does the same when it starts. The recorder must be stopped: the file is locked
    meanwhile. Before a change the whole database is copied next to it.
    """
    from jarvis_recorder.storage import revisions
    from jarvis_recorder.storage.sqlite.admin import vacuum

    path = database(config, set_)
    before = asyncio.run(vacuum.make_or_upgrade(path))
    if before == revisions.HEAD:
        typer.echo(f"{path}: already at revision {revisions.HEAD}")
    else:
        typer.echo(f"{path}: revision {before or 'none'} → {revisions.HEAD}")


def current(config: ConfigFile = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Print the schema revision and the size of the database. Changes nothing."""
    from jarvis_recorder.storage import revisions
    from jarvis_recorder.storage.sqlite.admin import stats

    path = database(config, set_)
    revision, size_bytes = stats.state(path)
    if as_json:
        facts = {
            "path": str(path),
            "revision": revision,
            "head": revisions.HEAD,
            "size_bytes": size_bytes,
        }
        typer.echo(json.dumps(facts))
        return
    standing = "the newest" if revision == revisions.HEAD else f"the newest is {revisions.HEAD}"
    typer.echo(f"{path}: revision {revision or 'none'} ({standing}), {size_bytes:,} bytes")
