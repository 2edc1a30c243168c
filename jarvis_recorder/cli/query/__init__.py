"""`query`: read requests to a running recorder, one module a subject."""

import typer

from jarvis_recorder.cli.query import cluster, conversations, events
from jarvis_recorder.cli.time_options import HOW_TO_WRITE

commands = typer.Typer(
    no_args_is_help=True,
    help="Ask a running recorder: what happened, what was said, what state the cluster was in.",
    epilog="A recorder (`jarvis-recorder run`) must be running; the broker that both use is the "
    f"setting broker.url. Times are shown in local time, with --json in UTC. {HOW_TO_WRITE}",
)
for subject in (events, conversations, cluster):
    subject.register(commands)


def register(application: typer.Typer) -> None:
    application.add_typer(commands, name="query")
