"""The pages of a list as a command writes them: a table, one JSON document, or a line for each item."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import typer

from jarvis_recorder.wire.rpc.methods import adapter

if TYPE_CHECKING:
    from jarvis_recorder.cli.output.screen import Screen


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


def to_json(shape: Any, value: Any) -> str:
    """Return a value as JSON that every terminal shows, with control characters escaped."""
    from jarvis_recorder.cli.output.sanitize import sanitize_json

    return sanitize_json(
        adapter(shape).dump_json(value, by_alias=True).decode(), sys.stdout.encoding
    )


class _AsLines:
    """A line of JSON for each item, written as the pages arrive."""

    def add(self, items: Sequence[Any]) -> None:
        for item in items:
            typer.echo(to_json(type(item), item))

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
            text = to_json(list[type(items[0])], items)  # type: ignore[misc]
            typer.echo(self._between + text[1:-1], nl=False)
            self._between = ","

    def end(self, shown: int, page: Any) -> None:
        begun = "" if shown else self._between
        others = to_json(dict[str, Any], self._listing.others(page))
        typer.echo(f"{begun}],{others[1:]}")


class _AsTable:
    """A table, or what else the view makes of the items, shown as the pages arrive."""

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


def output_of(listing: Listing, *, as_json: bool, as_lines: bool) -> _AsLines | _AsJson | _AsTable:
    """Return the output of the pages of a list."""
    if as_lines:
        return _AsLines()
    return _AsJson(listing) if as_json else _AsTable(listing)


@contextmanager
def progress(things: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows the count so far, if that disturbs no output."""
    if sys.stdout.isatty() or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(f"Reading {things} …") as status:
        yield lambda count: status.update(f"Reading {things} … {count:,}")
