"""The command line, one file a command group."""

import sys
from typing import Annotated, Final

import typer

from jarvis_recorder import __version__
from jarvis_recorder.errors import RecorderError

# A shell's code for a program that SIGINT has ended.
_INTERRUPTED: Final = 130


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"jarvis-recorder {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


def _application() -> typer.Typer:
    """Return the command line, made anew: what is registered twice would be there twice."""
    from jarvis_recorder.cli import (
        config,
        database,
        dead,
        demo,
        doctor,
        gateway,
        health,
        importing,
        prefs,
        provision,
        query,
        resolve,
        run,
        schema,
        tail,
    )

    application = typer.Typer(
        name="jarvis-recorder",
        help="Record what a cluster says on RabbitMQ into SQLite: every message, once.",
        epilog="To see it at work: `jarvis-recorder demo`. Exit codes: 0 done, 1 failed, "
        "2 wrong usage, 69 broker or database unreachable, 75 another recorder holds the database, "
        "78 the configuration is wrong.",
        rich_markup_mode="markdown",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    application.callback()(_options)
    run.register(application)
    demo.register(application)
    doctor.register(application)
    health.register(application)
    application.add_typer(query.commands, name="query")
    application.add_typer(prefs.commands, name="prefs")
    resolve.register(application)
    tail.register(application)
    application.add_typer(dead.commands, name="dead")
    application.add_typer(gateway.commands, name="gateway")
    application.add_typer(database.commands, name="db")
    importing.register(application)
    application.add_typer(schema.commands, name="schema")
    application.add_typer(config.commands, name="config")
    application.add_typer(provision.commands, name="provision")
    return application


def main() -> None:
    """Run the command line; a failure made on purpose is one line and its exit code."""
    from jarvis_recorder.cli.views.harmless import harmless

    try:
        _application()()
    except KeyboardInterrupt:
        # Typer says nothing of one that comes before its command has begun.
        sys.exit(_INTERRUPTED)
    except RecorderError as error:
        from jarvis_recorder.log import priority

        # It may quote what was recorded, or what some broker answered.
        said = f"jarvis-recorder: {harmless(str(error))}"
        typer.echo(f"{priority('error', sys.stderr)}{said}", err=True)
        sys.exit(error.exit_code)
