"""`gateway`: the dashboard and REST, and the passwords for them."""

import asyncio
import sys
from typing import Annotated

import typer

from jarvis_recorder import lifecycle
from jarvis_recorder.cli.settings import ConfigFile, Overrides, loaded
from jarvis_recorder.errors import ConfigurationError

commands = typer.Typer(
    help="Serve the dashboard and REST over HTTP, as a client of a running recorder.",
    epilog="First `jarvis-recorder gateway passwd`, then `jarvis-recorder gateway`. It needs the "
    "extra: `pip install 'jarvis-recorder[gateway]'`.",
    invoke_without_command=True,
)

_SHORTEST_PASSWORD = 8


@commands.callback()
def gateway(context: typer.Context, config: ConfigFile = None, set_: Overrides = None) -> None:
    """Serve the dashboard and REST over HTTP until told to stop (Ctrl-C or SIGTERM)."""
    if context.invoked_subcommand is not None:
        return
    require_extra()
    from jarvis_recorder import log
    from jarvis_recorder.gateway.server import serve

    settings = loaded(config, set_).settings
    log.configure(settings.log.level, settings.log.format)

    async def main() -> None:
        stop = asyncio.Event()
        lifecycle.stop_on_signals(stop)
        await serve(settings, stop)

    lifecycle.run(main())


@commands.command(epilog="Example: `jarvis-recorder gateway passwd >> config.toml`")
def passwd(
    reader: Annotated[
        bool, typer.Option("--reader", help="The password of those who may only read.")
    ] = False,
) -> None:
    """
    Ask for a password and print the settings that let it in.

    The password itself is kept nowhere. In a pipe it is read from standard input.
    """
    require_extra()
    import secrets

    from argon2 import PasswordHasher

    password = _asked() if sys.stdin.isatty() else sys.stdin.readline().removesuffix("\n")
    if len(password) < _SHORTEST_PASSWORD:
        raise typer.BadParameter(f"a password has at least {_SHORTEST_PASSWORD} characters")
    hashed = PasswordHasher().hash(password)
    if reader:
        typer.echo(f'[gateway]\nreader_password_hash = "{hashed}"')
        return
    typer.echo(
        f'[gateway]\npassword_hash = "{hashed}"\n'
        f"# Whoever knows it can make tokens; a new one ends all that were given out.\n"
        f'token_secret = "{secrets.token_urlsafe(32)}"'
    )
    typer.echo(
        "Put these lines into the configuration file, readable by the gateway alone (chmod 600).",
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
            f"the gateway needs {error.name}: pip install 'jarvis-recorder[gateway]'"
        ) from None
