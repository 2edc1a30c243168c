"""Requests of a command to a running recorder: one, or page after page."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import fields, replace
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Protocol, TypeVar

import typer
from pydantic import ValidationError

from jarvis_recorder.cli.options import ConfigFile, Json, JsonLines, Overrides, loaded
from jarvis_recorder.errors import RecorderError
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.spec.parameters import keyword
from jarvis_recorder.wire.rpc.methods import METHODS, adapter
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


class Connection(NamedTuple):
    """
    The broker, the timeout in seconds, and the output: JSON for scripts or text.

    With `as_lines` a list is a line of JSON for each of its items.
    """

    url: str
    timeout: float
    as_json: bool
    tls: Tls = Tls()
    also: Sequence[str] = ()
    as_lines: bool = False


def load_connection(
    config: Path | None,
    overrides: list[str] | None,
    timeout: float,
    *,
    as_json: bool = False,
    as_lines: bool = False,
) -> Connection:
    """Return the connection that the options and the settings describe."""
    from jarvis_recorder.runtime import logging

    settings = loaded(config, overrides).settings
    # The command itself prints an error, once.
    logging.configure("error", settings.log.format)
    broker = settings.broker
    return Connection(
        broker.url.get_secret_value(),
        timeout,
        as_json or as_lines,
        broker.tls,
        tuple(broker.also),
        as_lines,
    )


def requests(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every request to a command, whose first argument is their connection."""

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
        whom = load_connection(config, set_, timeout, as_json=as_json, as_lines=as_lines)
        command(whom, **given)

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
async def connected(whom: Connection) -> AsyncIterator["RecorderClient"]:
    """Yield a connected client whose errors name commands instead of methods."""
    from jarvis_recorder.client import RecorderClient

    try:
        async with RecorderClient(
            whom.url,
            also=whom.also,
            timeout=whom.timeout,
            app_id="jarvis-recorder-cli",
            tls=whom.tls,
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


def ask(whom: Connection, params: Params[ResultT]) -> ResultT:
    """Send one request and return its result."""

    async def main() -> ResultT:
        async with connected(whom) as client:
            return await client.ask(params)

    return asyncio.run(main())


def ask_every_page(whom: Connection, params: Params[ResultT], field: str) -> ResultT:
    """Request every page; return the last, with the items of all pages in its field."""

    async def main() -> ResultT:
        asked: Any = params
        items: list[Any] = []
        async with connected(whom) as client:
            while True:
                page: Any = await client.ask(asked)
                items += getattr(page, field)
                if page.next_cursor is None:
                    whole: ResultT = replace(page, **{field: items})
                    return whole
                asked = replace(asked, cursor=page.next_cursor)

    return asyncio.run(main())


def show(
    whom: Connection, params: Params[ResultT], view: "Callable[[Screen, ResultT], None]"
) -> None:
    """Send one request and show its result, or print it as JSON."""
    show_answer(whom, ask(whom, params), view)


def show_answer(
    whom: Connection, answer: ResultT, view: "Callable[[Screen, ResultT], None]"
) -> None:
    """Show a result, or print it as JSON."""
    if whom.as_json:
        print_json(answer)
        return
    from jarvis_recorder.cli.output.screen import open_screen

    view(open_screen(), answer)


def print_json(answer: Any) -> None:
    """Print a result exactly as the recorder sent it, with control characters escaped."""
    typer.echo(_json(type(answer), answer))


def _json(shape: Any, value: Any) -> str:
    from jarvis_recorder.cli.output.sanitize import sanitize_json

    return sanitize_json(
        adapter(shape).dump_json(value, by_alias=True).decode(), sys.stdout.encoding
    )


class ListView(Protocol):
    """A function that shows the items of a page; `continued` is true after the first page."""

    def __call__(
        self, screen: "Screen", items: Sequence[Any], /, *, continued: bool = False
    ) -> None: ...


class Listing(NamedTuple):
    """
    A paged request: its params, the field with the items, their view, the text for none.

    `remark` returns what else the last page says, None if that is nothing; of an empty list it is
    said instead of `nothing`.
    """

    params: Any
    field: str
    view: ListView
    nothing: str
    remark: Callable[[Any], str | None] = lambda _: None

    def others(self, page: Any) -> dict[str, Any]:
        """Return the members of a page besides its items."""
        members = {one.name: one for one in fields(page) if one.name != self.field}
        return {
            name: adapter(one.type).dump_python(getattr(page, name), mode="json")
            for name, one in members.items()
        }


def wanted(limit: int | None, everything: bool) -> int | None:
    """Return the number of items to show, None for all."""
    if limit is not None and everything:
        raise typer.BadParameter("--all and --limit exclude each other")
    return None if everything else limit or DEFAULT_LIMIT


def show_pages(whom: Connection, listing: Listing, most: int | None) -> None:
    """Request page after page until there are enough items; show each as it arrives."""
    asyncio.run(_show_pages(whom, listing, most))


async def _show_pages(whom: Connection, listing: Listing, most: int | None) -> None:
    output = _output(whom)(listing)
    params, shown = listing.params, 0
    async with connected(whom) as client:
        with _progress(listing.field) as say:
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


class _AsLines:
    """A line of JSON for each item, written as the pages arrive."""

    def __init__(self, _: Listing) -> None:
        pass

    def add(self, items: Sequence[Any]) -> None:
        for item in items:
            typer.echo(_json(type(item), item))

    def end(self, shown: int, page: Any) -> None:
        if page.next_cursor is not None:
            typer.echo(f"{shown:,} written; there may be more: --limit, --all", err=True)


class _AsJson:
    """One JSON document like that of a single result, written as the pages arrive."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._between = f'{{"{listing.field}":['

    def add(self, items: Sequence[Any]) -> None:
        if items:
            text = _json(list[type(items[0])], items)  # type: ignore[misc]
            typer.echo(self._between + text[1:-1], nl=False)
            self._between = ","

    def end(self, shown: int, page: Any) -> None:
        begun = "" if shown else self._between
        others = _json(dict[str, Any], self._listing.others(page))
        typer.echo(f"{begun}],{others[1:]}")


class _AsTable:
    def __init__(self, listing: Listing) -> None:
        from jarvis_recorder.cli.output.screen import open_screen

        self._listing = listing
        self._screen = open_screen()
        self._began = False

    def add(self, items: Sequence[Any]) -> None:
        if items:
            self._listing.view(self._screen, items, continued=self._began)
            self._began = True

    def end(self, shown: int, page: Any) -> None:
        remark = self._listing.remark(page)
        if not shown and remark is None:
            self._screen.note(self._listing.nothing)
        elif shown and page.next_cursor is not None:
            self._screen.note(f"{shown:,} shown; there may be more: --limit, --all")
        if remark is not None:
            self._screen.note(remark)


def _output(whom: Connection) -> "type[_AsLines | _AsJson | _AsTable]":
    if whom.as_lines:
        return _AsLines
    return _AsJson if whom.as_json else _AsTable


@contextmanager
def _progress(things: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows the count so far, if that disturbs no output."""
    if sys.stdout.isatty() or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(f"Reading {things} …") as status:
        yield lambda count: status.update(f"Reading {things} … {count:,}")
