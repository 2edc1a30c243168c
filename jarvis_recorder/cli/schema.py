"""`schema`: the documents that describe the recorder's messages and methods."""

import difflib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

commands = typer.Typer(
    no_args_is_help=True,
    help="Show or write the JSON Schemas of messages and methods, AsyncAPI and OpenRPC.",
)


def register(application: typer.Typer) -> None:
    application.add_typer(commands, name="schema")


@commands.command(epilog="Example: `jarvis-recorder schema export /srv/schemas`")
def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to; made if it is not there.")
    ] = Path("schemas"),
) -> None:
    """Write every document as NAME.json into a directory, over what is there."""
    from jarvis_recorder.errors import ConfigurationError
    from jarvis_recorder.spec.documents import documents

    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, document in documents().items():
            written.append(path := directory / f"{name}.json")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text(document), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}: name another directory") from None
    for path in written:
        typer.echo(path)


@commands.command(epilog="Example: `jarvis-recorder schema show event`")
def show(
    name: Annotated[
        str, typer.Argument(help="event, dead-letter, rpc/events.list.params, openrpc and so on.")
    ],
) -> None:
    """Print one document."""
    from jarvis_recorder.spec.documents import documents

    known = documents()
    if name not in known:
        (near,) = difflib.get_close_matches(name, known, n=1, cutoff=0)
        raise typer.BadParameter(
            f"nothing is called {name!r}; did you mean {near}? There are {', '.join(known)}."
        )
    typer.echo(text(known[name]), nl=False)


def text(document: dict[str, Any]) -> str:
    """Return a document as the text of its file, the same on each run."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
