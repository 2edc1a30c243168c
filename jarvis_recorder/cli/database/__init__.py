"""`db`: commands for the database file, one module a subject."""

import typer

from jarvis_recorder.cli.database import backups, copy, prune, schema, stats, verify

commands = typer.Typer(
    no_args_is_help=True,
    help="Look after the database file that `store.url` names: back it up, restore, check it.",
    epilog="Where a command says that the recorder must be stopped, it ends with 75 otherwise.",
)
for subject in (backups, verify, prune, stats, schema, copy):
    subject.register(commands)


def register(application: typer.Typer) -> None:
    application.add_typer(commands, name="db")
