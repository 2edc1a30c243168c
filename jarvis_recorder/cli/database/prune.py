"""`db prune`."""

import asyncio
import json
from typing import Annotated

import typer

from jarvis_recorder.cli.database.options import EXAMPLE, progress
from jarvis_recorder.cli.options import ConfigFile, Json, Overrides, Yes, confirm, loaded
from jarvis_recorder.errors import ConfigurationError


def register(commands: typer.Typer) -> None:
    commands.command(epilog=EXAMPLE.format("prune --dry-run --set retention.info=30"))(prune)


def prune(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would go; a recorder may run.")
    ] = False,
    yes: Yes = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """
    Take out for good what `retention` does not keep, and give the room back.

    The recorder must be stopped, unless the database is a server's; one that runs does the same by
    itself, every hour.
    Unresolved alerts stay, and so does the newest snapshot of each cluster. A recorder that does not
    believe its clock prunes again after this.
    """
    from jarvis_recorder.config.loading import server_url, sqlite_path
    from jarvis_recorder.config.settings import policy_of
    from jarvis_recorder.net.database_url import redacted
    from jarvis_recorder.runtime import logging
    from jarvis_recorder.storage.sqlite.admin.prune import count_now, prune_now

    found = loaded(config, set_)
    logging.configure("warning", found.settings.log.format)
    url, policy = server_url(found), policy_of(found.settings.retention)
    store = found.settings.store
    if policy.keeps_everything and not (yes and (store.budget or store.keep_free)):
        raise ConfigurationError(
            "retention keeps everything: set retention.info and the like to a number of days"
        )
    where = "" if url is None else redacted(url)
    if url is not None:
        from jarvis_recorder.storage.postgres import admin

        counts = asyncio.run(admin.count_now(url, policy))
    else:
        path = sqlite_path(found)
        where, counts = str(path), count_now(path, policy)
    # With --yes even if no row goes: it confirms that the clock is right.
    if not dry_run and (counts or yes):
        if not yes:
            rows = sum(counts.values())
            confirm(lambda: f"Take out {rows:,} rows for good?", "--yes prunes without asking")
        with progress() as report:
            if url is not None:
                counts = asyncio.run(
                    admin.prune_now(url, policy, lambda rows: report("pruning", rows, 0))
                )
            else:
                counts = asyncio.run(prune_now(path, policy, report))
    if as_json:
        typer.echo(json.dumps({"path": where, "dry_run": dry_run, "gone": dict(counts)}))
        return
    verb = "would go" if dry_run else "are gone"
    parts = [f"{count:,} of {table}" for table, count in sorted(counts.items())]
    typer.echo(f"{where}: {', '.join(parts)} {verb}" if parts else f"{where}: nothing to prune")
