"""`import`: take over the database of the original system."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jarvis_recorder.cli.options import ConfigFile, Json, Overrides, loaded

if TYPE_CHECKING:
    from jarvis_recorder.storage.legacy.importer import ImportReport


def register(application: typer.Typer) -> None:
    application.command(name="import", epilog="Example: `jarvis-recorder import jarvis.db`")(
        import_
    )


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Its database; it is not touched.")],
    *,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: Json = False,
) -> None:
    """
    Take over the database of the system before the recorder.

    A recorder of a database file must be stopped. Ids are kept where they are free, times without
    a zone are taken as UTC, and importing again takes only what is missing. Exit code 1 if a row
    of its own tables had to be left.
    """
    from jarvis_recorder.config.loading import server_url, sqlite_path
    from jarvis_recorder.net.database_url import redacted
    from jarvis_recorder.runtime import logging
    from jarvis_recorder.storage.legacy.importer import import_original
    from jarvis_recorder.storage.legacy.rows import KINDS, PREFERENCES
    from jarvis_recorder.storage.legacy.targets import in_file, on_server

    settings = loaded(config, set_)
    logging.configure("warning", settings.settings.log.format)
    if (url := server_url(settings)) is not None:
        by_month = settings.settings.store.by_month
        name, opening = redacted(url), on_server(url, by_month=by_month)
    else:
        path = sqlite_path(settings)
        name, opening = str(path), in_file(path)
    with _bar() as progress:
        report = asyncio.run(import_original(file, opening, progress))
    if as_json:
        tables = {
            name: {"rows": one.rows, "taken": one.taken, "already": one.already, "left": one.left}
            for name, one in report.items()
        }
        typer.echo(json.dumps({"path": name, "tables": tables}))
    else:
        _show(name, report)
    if any(report[name].left for name in (*KINDS, PREFERENCES) if name in report):
        raise typer.Exit(1)


def _show(target: str, report: "ImportReport") -> None:
    from jarvis_recorder.cli.output.screen import Column, open_screen

    screen = open_screen()
    screen.heading(target)
    numbers = [Column(name, justify="right") for name in ("rows", "taken", "there already", "left")]
    rows = [
        (name, *(f"{count:,}" for count in (one.rows, one.taken, one.already, one.left.total())))
        for name, one in report.items()
    ]
    screen.table((Column("table"), *numbers), rows)
    for name, one in report.items():
        for why, count in one.left.most_common():
            screen.line(f"{name}: {count:,} left: {why}")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows progress, on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("Importing"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"))
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
