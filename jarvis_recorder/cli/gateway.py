"""`gateway`: serve the dashboard and REST, and set their passwords."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from jarvis_recorder.cli import standard_input, toml_file
from jarvis_recorder.cli.options import ConfigFile, Overrides, loaded
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.runtime import process

commands = typer.Typer(
    help="Serve the dashboard and REST over HTTP, as a client of a running recorder.",
    epilog="First `jarvis-recorder gateway passwd`, then `jarvis-recorder gateway`. It needs the "
    "packages of the extra `gateway`.",
    invoke_without_command=True,
)

_SHORTEST_PASSWORD: Final = 8


def register(application: typer.Typer) -> None:
    application.add_typer(commands, name="gateway")


@commands.callback()
def gateway(context: typer.Context, config: ConfigFile = None, set_: Overrides = None) -> None:
    """Serve the dashboard and REST over HTTP until stopped (Ctrl-C or SIGTERM)."""
    if context.invoked_subcommand is not None:
        if config or set_:
            context.fail(
                f"--config and --set are of the gateway itself: {context.invoked_subcommand} reads "
                "no settings"
            )
        return
    require_extra()
    from jarvis_recorder.gateway.server import serve
    from jarvis_recorder.runtime import logging

    settings = loaded(config, set_).settings
    logging.configure(settings.log.level, settings.log.format)

    async def main() -> None:
        stop = asyncio.Event()
        process.stop_on_signals(stop)
        await serve(settings, stop)

    process.run(main())


@commands.command(epilog="Example: `jarvis-recorder gateway passwd --to gateway.toml`")
def passwd(
    reader: Annotated[
        bool, typer.Option("--reader", help="The password of those who may only read.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="FILE", help="Set them in this TOML file, made where there is none."
        ),
    ] = None,
) -> None:
    """
    Ask for a password and print the settings that let it in, or set them in a file.

    The tokens that were given out for the former password end; with the operator's, those of
    readers end, too. The password itself is kept nowhere. In a pipe it is read from standard
    input. A file that is made is for its owner alone; what else a file holds stays as it is.
    """
    require_extra()
    import secrets

    from argon2 import PasswordHasher

    password = _asked() if sys.stdin.isatty() else standard_input.read_line()
    if len(password) < _SHORTEST_PASSWORD:
        raise typer.BadParameter(f"a password has at least {_SHORTEST_PASSWORD} characters")
    hashed = PasswordHasher().hash(password)
    lines = (
        [f'reader_password_hash = "{hashed}"']
        if reader
        else [
            f'password_hash = "{hashed}"',
            "# It signs the tokens, with the hashes; a new one ends all that were given out.",
            f'token_secret = "{secrets.token_urlsafe(32)}"',
        ]
    )
    if to is not None:
        toml_file.set_lines(to, "gateway", lines)
        typer.echo(f"{to}: the password is set")
        return
    text = "\n".join(("[gateway]", *lines, ""))
    toml_file.require_appendable(text, "jarvis-recorder gateway passwd --to")
    typer.echo(text, nl=False)
    typer.echo(
        "Put these lines into the configuration file, readable by the gateway alone (chmod 600); "
        "--to FILE does it.",
        err=True,
    )


def _asked() -> str:
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def require_extra() -> None:
    try:
        import argon2  # noqa: F401
        import fastapi  # noqa: F401
        import jwt  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"the gateway needs {error.name}, which is not installed: `make install`, any `make` in a "
            "checkout, and requirements-run.lock have it"
        ) from None
