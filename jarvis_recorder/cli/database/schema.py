"""`db upgrade` and `db current`."""

import asyncio
import json

import typer

from jarvis_recorder.cli.database.options import EXAMPLE, database, server
from jarvis_recorder.cli.options import ConfigFile, Json, Overrides, loaded


def register(commands: typer.Typer) -> None:
    commands.command(epilog=EXAMPLE.format("upgrade"))(upgrade)
    commands.command(epilog=EXAMPLE.format("current"))(current)


def upgrade(config: ConfigFile = None, set_: Overrides = None) -> None:
    """
    Bring the database to the newest schema; make it where there is none.

    `run` does the same when it starts. The recorder must be stopped: the file is locked
    meanwhile. Before a change the whole database is copied next to it. A server's database is not
    copied, and recorders may run.
    """
    from jarvis_recorder.storage import revisions

    if (url := server(config, set_)) is not None:
        from jarvis_recorder.storage.postgres import admin

        by_month = loaded(config, set_).settings.store.by_month
        name, before = asyncio.run(admin.upgrade_now(url, by_month=by_month))
        _show_upgrade(name, before, revisions.HEAD)
        return
    from jarvis_recorder.storage.sqlite.admin import vacuum

    path = database(config, set_)
    before = asyncio.run(vacuum.make_or_upgrade(path))
    _show_upgrade(str(path), before, revisions.HEAD)


def _show_upgrade(where: str, before: str | None, head: str) -> None:
    if before == head:
        typer.echo(f"{where}: already at revision {head}")
    else:
        typer.echo(f"{where}: revision {before or 'none'} → {head}")


def current(config: ConfigFile = None, set_: Overrides = None, as_json: Json = False) -> None:
    """Print the schema revision and the size of the database. Changes nothing."""
    from jarvis_recorder.storage import revisions
    from jarvis_recorder.storage.sqlite.admin import stats

    path: object
    if (url := server(config, set_)) is not None:
        from jarvis_recorder.storage.postgres import admin

        path, revision, size_bytes = asyncio.run(admin.state(url))
    else:
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
