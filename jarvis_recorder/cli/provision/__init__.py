"""`provision`: makes a machine ready for the recorder, one file a part of it."""

import typer

from jarvis_recorder.cli.provision import rabbitmq, systemd

commands = typer.Typer(
    no_args_is_help=True,
    help="Make a machine ready for the recorder.",
)
for part in (rabbitmq, systemd):
    part.register(commands)
