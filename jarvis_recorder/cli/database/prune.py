"""`db prune`."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from jarvis_recorder.cli.database.options import EXAMPLE, progress
from jarvis_recorder.cli.options import ConfigFile, Json, Overrides, Yes, confirm, loaded
from jarvis_recorder.errors import ConfigurationError

if TYPE_CHECKING:
    from jarvis_recorder.retention_policy import RetentionPolicy
    from jarvis_recorder.storage.sqlite.files import Report


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
    from jarvis_recorder.runtime import logging

    found = loaded(config, set_)
    logging.configure("warning", found.settings.log.format)
    url, policy = server_url(found), policy_of(found.settings.retention)
    store = found.settings.store
    if policy.keeps_everything and not (yes and (store.budget or store.keep_free)):
        raise ConfigurationError(
            "retention keeps everything: set retention.info and the like to a number of days"
        )
    database = _in_file(sqlite_path(found), policy) if url is None else _on_server(url, policy)
    counts = database.count_rows()
    # With --yes even if no row goes: it confirms that the clock is right.
    if not dry_run and (counts or yes):
        if not yes:
            rows = sum(counts.values())
            confirm(lambda: f"Take out {rows:,} rows for good?", "--yes prunes without asking")
        with progress() as report:
            counts = database.prune_rows(report)
    if as_json:
        typer.echo(json.dumps({"path": database.name, "dry_run": dry_run, "gone": dict(counts)}))
        return
    verb = "would go" if dry_run else "are gone"
    parts = [f"{count:,} of {table}" for table, count in sorted(counts.items())]
    result = f"{', '.join(parts)} {verb}" if parts else "nothing to prune"
    typer.echo(f"{database.name}: {result}")


class _Database(NamedTuple):
    name: str
    count_rows: Callable[[], Counter[str]]
    prune_rows: "Callable[[Report], Counter[str]]"


def _in_file(path: Path, policy: "RetentionPolicy") -> _Database:
    from jarvis_recorder.storage.sqlite.admin import prune

    return _Database(
        str(path),
        lambda: prune.count_now(path, policy),
        lambda report: asyncio.run(prune.prune_now(path, policy, report)),
    )


def _on_server(url: str, policy: "RetentionPolicy") -> _Database:
    from jarvis_recorder.net.database_url import redacted
    from jarvis_recorder.storage.postgres import admin

    return _Database(
        redacted(url),
        lambda: asyncio.run(admin.count_now(url, policy)),
        lambda report: asyncio.run(
            admin.prune_now(url, policy, lambda rows: report("pruning", rows, 0))
        ),
    )
