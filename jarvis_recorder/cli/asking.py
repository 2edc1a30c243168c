"""What the commands that ask a running recorder share."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from jarvis_recorder.cli.moments import HELP, moment
from jarvis_recorder.cli.settings import loaded

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from jarvis_recorder.client import RecorderClient
    from jarvis_recorder.wire.questions import AnswerT, Question

T = TypeVar("T")

Since = Annotated[str | None, typer.Option(metavar="TIME", help=f"From this time on. {HELP}.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")]
Limit = Annotated[int, typer.Option(min=1, max=1_000, help="The most to show.")]

_WIDTH_OF_A_PIPE = 200


def with_client(
    config: Path | None,
    overrides: list[str] | None,
    work: "Callable[[RecorderClient], Awaitable[T]]",
) -> T:
    """Run some work with a client of the broker that the settings name."""
    from jarvis_recorder import log
    from jarvis_recorder.client import RecorderClient

    settings = loaded(config, overrides).settings
    log.configure("error", settings.log.format)

    async def main() -> T:
        url = settings.broker.url.get_secret_value()
        async with RecorderClient(url, app_id="jarvis-recorder") as client:
            return await work(client)

    return asyncio.run(main())


def ask(
    config: Path | None, overrides: list[str] | None, question: "Question[AnswerT]"
) -> "AnswerT":
    """Return the answer of the running recorder."""
    return with_client(config, overrides, lambda client: client.ask(question))


def made(question: "Callable[..., Question[AnswerT]]", **params: Any) -> "Question[AnswerT]":
    """
    Make a question from options; None is what was not given.

    Raises:
        typer.BadParameter: A value is not allowed; names the option.
    """
    from pydantic import ValidationError

    try:
        return question(**{name: value for name, value in params.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = "--" + str(first["loc"][0]).replace("_", "-") + ": " if first["loc"] else ""
        raise typer.BadParameter(where + first["msg"].removeprefix("Value error, ")) from None


def when(text: str | None) -> datetime | None:
    """Return the moment of an option, None where it was not given."""
    return None if text is None else moment(text, datetime.now(UTC))


def show(answer: Any, as_json: bool, view: "Callable[[Console], Iterable[RenderableType]]") -> None:
    """Print an answer as the recorder sent it, or as people read it."""
    from jarvis_recorder.wire.methods import adapter

    if as_json:
        typer.echo(adapter(type(answer)).dump_json(answer).decode())
        return
    out = console()
    for part in view(out):
        out.print(part)


def console() -> "Console":
    """Return what prints: in colour on a terminal, plain and wide in a pipe."""
    import sys

    from rich.console import Console

    return Console(
        width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE,
        highlight=False,
        markup=False,
        emoji=False,
    )
