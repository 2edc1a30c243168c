"""`provision`: set up a machine for the recorder, one module a part."""

import typer

from jarvis_recorder.cli.provision import rabbitmq, systemd

commands = typer.Typer(
    no_args_is_help=True,
    help="Make a machine ready for the recorder.",
)
for part in (rabbitmq, systemd):
    part.register(commands)


def register(application: typer.Typer) -> None:
    application.add_typer(commands, name="provision")
