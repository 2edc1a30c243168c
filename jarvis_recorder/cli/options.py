"""Options that several commands share, and the settings that result."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from jarvis_recorder.config.loading import Loaded, load

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file with settings, instead of /etc/jarvis-recorder/config.toml.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="One setting, such as broker.url=amqp://… or log.level=debug. May be repeated.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
JsonLines = Annotated[
    bool,
    typer.Option("--jsonl", help="Print JSON Lines: of a list each item by itself, as it arrives."),
]

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def confirm(question: Callable[[], str], without: str) -> None:
    """
    Ask a question on the terminal, and abort unless the answer is yes.

    Raises:
        typer.BadParameter: There is no terminal, and so the question is not even made.
    """
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"there is no one to ask: {without}")
    typer.confirm(question(), abort=True, err=True)


def loaded(config_file: Path | None, overrides: list[str] | None) -> Loaded:
    """Return the settings from every source, command line first."""
    pairs = {}
    for override in overrides or ():
        name, equals, value = override.partition("=")
        if not equals:
            # Not repeated: it may be a URL with its password.
            raise typer.BadParameter("--set needs NAME=VALUE, such as log.level=debug")
        pairs[name] = value
    return load(pairs, os.environ, config_file)
