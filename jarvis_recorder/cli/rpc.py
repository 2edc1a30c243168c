"""Requests of a command to a running recorder: one, or page after page."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar

import typer
from pydantic import ValidationError

from jarvis_recorder.cli.options import ConfigFile, Json, JsonLines, Overrides, loaded
from jarvis_recorder.cli.output.pages import Listing, output_of, progress, to_json
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.spec.parameters import keyword
from jarvis_recorder.wire.rpc.methods import METHODS
from jarvis_recorder.wire.rpc.params import MAX_LIMIT, Params
from jarvis_recorder.wire.validation import FieldError, first_error

if TYPE_CHECKING:
    from jarvis_recorder.cli.output.screen import Screen
    from jarvis_recorder.client import RecorderClient

Q = TypeVar("Q")
ResultT = TypeVar("ResultT")

DEFAULT_LIMIT: Final = 50
DEFAULT_TIMEOUT_SECONDS: Final = 5.0

Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0.1, max=3_600, help="How long to wait for an answer."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=1, help=f"The most to show; {DEFAULT_LIMIT} by default."
    ),
]
All = Annotated[bool, typer.Option("--all", help="Show all there are, page after page.")]


class RequestOptions(NamedTuple):
    """
    The options of a request: the broker, the timeout in seconds, and JSON for scripts or text.

    With `as_lines` a list is a line of JSON for each of its items.
    """

    url: str
    timeout: float
    as_json: bool
    tls: Tls = Tls()
    also: Sequence[str] = ()
    as_lines: bool = False


def load_options(
    config: Path | None,
    overrides: list[str] | None,
    timeout: float,
    *,
    as_json: bool = False,
    as_lines: bool = False,
) -> RequestOptions:
    """Return the options of a request, as the command line and the settings give them."""
    from jarvis_recorder.runtime import logging

    settings = loaded(config, overrides).settings
    # The command itself prints an error, once.
    logging.configure("error", settings.log.format)
    broker = settings.broker
    return RequestOptions(
        broker.url.get_secret_value(),
        timeout,
        as_json or as_lines,
        broker.tls,
        tuple(broker.also),
        as_lines,
    )


def requests(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every request to a command, whose first argument they are."""

    @wraps(command)
    def run(
        *,
        config: Path | None,
        set_: list[str] | None,
        timeout: float,
        as_json: bool,
        as_lines: bool,
        **given: Any,
    ) -> None:
        options = load_options(config, set_, timeout, as_json=as_json, as_lines=as_lines)
        command(options, **given)

    _, *own = signature(command).parameters.values()
    parameters = [*own, *_OPTIONS]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


_OPTIONS: Final = (
    keyword("config", ConfigFile, None),
    keyword("set_", Overrides, None),
    keyword("timeout", Timeout, DEFAULT_TIMEOUT_SECONDS),
    keyword("as_json", Json, False),
    keyword("as_lines", JsonLines, False),
)


def build_params(params: Callable[..., Q], **parameters: Any) -> Q:
    """Return the params of a request; an invalid parameter is a usage error."""
    try:
        return params(**parameters)
    except ValidationError as error:
        path, text = first_error(error)
        shown = FieldError(path.replace("_", "-"), text.replace("bucket_seconds", "--bucket"))
        raise typer.BadParameter(str(shown)) from None


@asynccontextmanager
async def connected(options: RequestOptions) -> AsyncIterator["RecorderClient"]:
    """Yield a connected client whose errors name commands instead of methods."""
    from jarvis_recorder.client import RecorderClient

    try:
        async with RecorderClient(
            options.url,
            also=options.also,
            timeout=options.timeout,
            app_id="jarvis-recorder-cli",
            tls=options.tls,
        ) as client:
            yield client
    except RecorderError as error:
        error.args = (in_words_of_commands(str(error)),)
        raise


def in_words_of_commands(text: str) -> str:
    """Replace the names of methods in a message by those of our commands."""
    for method in METHODS:
        text = text.replace(method.name, method.words() or method.name)
    return text


def ask(options: RequestOptions, params: Params[ResultT]) -> ResultT:
    """Send one request and return its result."""

    async def main() -> ResultT:
        async with connected(options) as client:
            return await client.ask(params)

    return asyncio.run(main())


def ask_every_page(options: RequestOptions, params: Params[ResultT], field: str) -> ResultT:
    """Request every page; return the last, with the items of all pages in its field."""

    async def main() -> ResultT:
        asked: Any = params
        items: list[Any] = []
        async with connected(options) as client:
            while True:
                page: Any = await client.ask(asked)
                items += getattr(page, field)
                if page.next_cursor is None:
                    whole: ResultT = replace(page, **{field: items})
                    return whole
                asked = replace(asked, cursor=page.next_cursor)

    return asyncio.run(main())


def show(
    options: RequestOptions, params: Params[ResultT], view: "Callable[[Screen, ResultT], None]"
) -> None:
    """Send one request and show its result, or print it as JSON."""
    show_answer(options, ask(options, params), view)


def show_answer(
    options: RequestOptions, answer: ResultT, view: "Callable[[Screen, ResultT], None]"
) -> None:
    """Show a result, or print it as JSON."""
    if options.as_json:
        print_json(answer)
        return
    from jarvis_recorder.cli.output.screen import open_screen

    view(open_screen(), answer)


def print_json(answer: Any) -> None:
    """Print a result exactly as the recorder sent it, with control characters escaped."""
    typer.echo(to_json(type(answer), answer))


def wanted(limit: int | None, everything: bool) -> int | None:
    """Return the number of items to show, None for all."""
    if limit is not None and everything:
        raise typer.BadParameter("--all and --limit exclude each other")
    return None if everything else limit or DEFAULT_LIMIT


def show_pages(options: RequestOptions, listing: Listing, most: int | None) -> None:
    """Request page after page until there are enough items; show each as it arrives."""
    asyncio.run(_show_pages(options, listing, most))


async def _show_pages(options: RequestOptions, listing: Listing, most: int | None) -> None:
    output = output_of(listing, as_json=options.as_json, as_lines=options.as_lines)
    params, shown = listing.params, 0
    async with connected(options) as client:
        with progress(listing.field) as say:
            while True:
                size = MAX_LIMIT if most is None else min(most - shown, MAX_LIMIT)
                page: Any = await client.ask(replace(params, limit=size))
                items = getattr(page, listing.field)
                shown += len(items)
                output.add(items)
                say(shown)
                # A short page, even an empty one, may be followed by others.
                if page.next_cursor is None or shown == most:
                    break
                params = replace(params, cursor=page.next_cursor)
    output.end(shown, page)
