"""`doctor`: the state of everything a recorder depends on, with a fix for each problem."""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import typer

from jarvis_recorder.cli.options import ConfigFile, Json, Overrides, loaded

if TYPE_CHECKING:
    from jarvis_recorder.telemetry.check import Finding

_MARKS: Final = {"green": ("✓", "green"), "yellow": ("!", "yellow"), "red": ("✗", "bold red")}


def register(application: typer.Typer) -> None:
    application.command(epilog="Example: `jarvis-recorder doctor --json`")(doctor)


def doctor(config: ConfigFile = None, set_: Overrides = None, as_json: Json = False) -> None:
    """
    Check everything that a recorder needs, and print a fix for each problem.

    Nothing is changed, and a recorder may be at work. Exit code 0 where nothing is red; else
    that of the first red finding: 69 where broker or disk cannot be used, 75 where another
    process holds the database, 78 where a setting, a right or a queue is wrong, 1 for damage.
    """
    from jarvis_recorder.monitoring import doctor as monitoring
    from jarvis_recorder.runtime import logging

    settings = loaded(config, set_)
    logging.configure("error", settings.settings.log.format)
    found = asyncio.run(monitoring.check(settings))
    if as_json:
        findings = [one._asdict() | {"light": one.light.value} for one in found]
        typer.echo(json.dumps({"findings": findings}))
    else:
        _show(found)
    raise typer.Exit(monitoring.exit_code(found))


def _show(found: "Sequence[Finding]") -> None:
    from jarvis_recorder.cli.output.screen import open_screen

    screen = open_screen()
    width = max(len(one.name) for one in found)
    for one in found:
        mark, style = _MARKS[one.light.value]
        screen.line((f"{mark} ", style), f"{one.name:{width}}  {one.detail}")
        if one.remedy:
            screen.line((f"→ {one.remedy}", "dim"), indent=width + 4)
