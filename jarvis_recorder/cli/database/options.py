"""What the commands around the database share: which file, and how far they are."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jarvis_recorder.cli.options import loaded

if TYPE_CHECKING:
    from jarvis_recorder.storage.sqlite.files import Report

EXAMPLE: Final = "Example: `jarvis-recorder db {} --set store.url=sqlite:////srv/recorder.db`"


def database(config: Path | None, overrides: list[str] | None) -> Path:
    """Return the path of the database; log lines are for warnings from here on."""
    from jarvis_recorder.config.loading import sqlite_path
    from jarvis_recorder.runtime import logging

    settings = loaded(config, overrides)
    # These commands say themselves what they have done.
    logging.configure("warning", settings.settings.log.format)
    return sqlite_path(settings)


@contextlib.contextmanager
def progress() -> "Iterator[Report]":
    """Show on a terminal what is being done and how far it is; nothing in a pipe."""
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
                # Anew each time: a total that is known once cannot become unknown again.
                bar.remove_task(task)
                task, showing = bar.add_task(doing, total=total or None), doing
            bar.update(task, completed=done)

        yield report
