"""Helpers that the `db` commands share: the database's path or server, and a progress bar."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jarvis_recorder.cli.options import loaded

if TYPE_CHECKING:
    from jarvis_recorder.storage.sqlite.files import Report

EXAMPLE: Final = "Example: `jarvis-recorder db {} --set store.url=sqlite:////srv/recorder.db`"


def database(config: Path | None, overrides: list[str] | None) -> Path:
    """Return the path of the database, and limit the log to warnings."""
    from jarvis_recorder.config.loading import sqlite_path
    from jarvis_recorder.runtime import logging

    settings = loaded(config, overrides)
    # These commands print their results themselves.
    logging.configure("warning", settings.settings.log.format)
    return sqlite_path(settings)


def server(config: Path | None, overrides: list[str] | None) -> str | None:
    """Return the URL of the database's server, None if the database is a file."""
    from jarvis_recorder.config.loading import server_url

    return server_url(loaded(config, overrides))


@contextlib.contextmanager
def progress() -> "Iterator[Report]":
    """Show the current step and its progress on a terminal; nothing in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None)
        showing = ""

        def report(doing: str, done: int, total: int) -> None:
            nonlocal task, showing
            if doing != showing:
                # A new task for each step: rich cannot make a known total unknown again.
                bar.remove_task(task)
                task, showing = bar.add_task(doing, total=total or None), doing
            bar.update(task, completed=done)

        yield report
