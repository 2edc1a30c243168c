"""`db copy`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from jarvis_recorder.cli.database.options import progress
from jarvis_recorder.cli.options import ConfigFile, Json, Overrides, loaded
from jarvis_recorder.errors import ConfigurationError


def register(commands: typer.Typer) -> None:
    commands.command(
        epilog="Example: `jarvis-recorder db copy /var/lib/jarvis-recorder/recorder.db`"
    )(copy)


def copy(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The database file; it is only read.")
    ],
    *,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """
    Copy a database file to the PostgreSQL server that `store.url` names.

    The recorder of the file must be stopped. Ids stay as they are, and each row is compared in the
    end. An interrupted copy continues where it was when the command is given again.
    """
    from jarvis_recorder.config.loading import server_url
    from jarvis_recorder.runtime import logging

    found = loaded(config, set_)
    logging.configure("warning", found.settings.log.format)
    url = server_url(found)
    if url is None:
        raise ConfigurationError(
            "store.url names a file: set it to postgresql://user:password@host/database"
        )
    from jarvis_recorder.storage.transfer import copy_to_server

    with progress() as report:
        by_month = found.settings.store.by_month
        moved = asyncio.run(copy_to_server(file, url, report, by_month=by_month))
    if as_json:
        typer.echo(json.dumps(moved._asdict()))
        return
    parts = ", ".join(f"{count:,} of {table}" for table, count in moved.rows.items())
    typer.echo(f"{file} → {moved.server}: {parts}, compared")
