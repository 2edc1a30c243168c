"""The output of commands: a terminal with a width and colours, or a pipe with neither."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final, Literal, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from jarvis_recorder.cli.output.sanitize import cut, sanitize, sanitized_lines
from jarvis_recorder.cli.output.units import TimeFormat

SEVERITY: Final = {"critical": "bold red", "error": "red", "warning": "yellow", "info": "green"}
ROLE: Final = {"user": "cyan", "assistant": "magenta", "system": "dim", "tool": "blue"}

_PROSE: Final = 100
"""The longest line of prose, in characters, so that the eye finds the next line."""

_NARROWEST: Final = 60
"""A narrower terminal gets the plain lines of a pipe, and wraps them itself."""

NODE: Final = 16
"""The most characters of a name in tables with more important columns."""


class Column(NamedTuple):
    """
    A column of a table.

    A column that wraps takes the width that the others leave. On a terminal the others show at
    most `most` characters, and a column is left out below a width of `from_width`.
    """

    heading: str
    style: str = ""
    justify: Literal["left", "right"] = "left"
    wraps: bool = False
    most: int = 0
    from_width: int = 0


CLUSTER: Final = Column("cluster", "blue", most=NODE)


class Screen:
    """
    A terminal or a pipe for tables, lines and notes; all text is sanitized before it reaches it.

    In a pipe a row is a line, nothing is cut, and notes go to standard error.
    """

    def __init__(
        self,
        console: Console,
        notes: Console,
        *,
        now: datetime,
        zone: tzinfo | None = None,
    ) -> None:
        self._console = console
        self._notes = notes
        self.now = now
        self.zone = zone
        self.is_terminal = console.is_terminal
        self.has_colours = console.is_terminal and not console.no_color
        self.width = console.width

    def clock(self, moments: Iterable[datetime | None], zone: tzinfo | None = None) -> TimeFormat:
        """Return a format for these times, in this zone instead of the screen's."""
        return TimeFormat(moments, zone or self.zone)

    def table(
        self,
        columns: Sequence[Column],
        rows: Iterable[Sequence[str | Text]],
        *,
        total: Sequence[str | Text] = (),
        continued: bool = False,
    ) -> None:
        """Show a table; a `continued` one follows one with the same columns."""
        if not self.is_terminal or self.width < _NARROWEST:
            plain = [[_text(cell) for cell in row] for row in (*rows, *([total] if total else []))]
            self._plain_table(columns, plain, headings=not continued)
            return
        shown = [at for at, column in enumerate(columns) if self.width >= column.from_width]
        table = Table(box=box.SIMPLE_HEAD, header_style="dim", padding=(0, 1, 0, 0))
        for at in shown:
            _add_column(table, columns[at])
        for row in rows:
            table.add_row(*(_text(row[at], self._most(columns[at])) for at in shown))
        if total:
            table.add_section()
            table.add_row(*(_text(total[at]) for at in shown), style="bold")
        self._console.print(table)

    def _most(self, column: Column) -> int:
        """Return the most characters of a cell to show: several lines in a column that wraps."""
        return max(2 * self.width - 40, 60) if column.wraps else column.most

    def _plain_table(
        self, columns: Sequence[Column], rows: Sequence[Sequence[Text]], *, headings: bool
    ) -> None:
        lines = [[cell.plain for cell in row] for row in rows]
        if headings:
            lines.insert(0, [sanitize(column.heading.upper()) for column in columns])
        widths = [max(map(cell_len, cells), default=0) for cells in zip(*lines, strict=True)]
        for line in lines:
            padded = (
                _padded(cell, width, column.justify)
                for cell, width, column in zip(line, widths, columns, strict=True)
            )
            self._write("  ".join(padded).rstrip())

    def line(self, *parts: str | Text | tuple[str, str], indent: int = 0) -> None:
        """Show one line of text, wrapped on a terminal that is too narrow for it."""
        text = Text.assemble(*(part if isinstance(part, tuple) else _text(part) for part in parts))
        text = _text(text)
        if self.is_terminal:
            width = min(self.width, _PROSE)
            self._console.print(Padding(text, (0, 0, 0, indent)), width=width)
        else:
            self._write((" " * indent + text.plain).rstrip())

    def paragraphs(self, content: str, *, style: str = "", indent: int = 0) -> None:
        """Show a text of several lines, indented to set it apart from ours."""
        for line in sanitized_lines(content):
            self.line(Text(line, style), indent=indent)

    def drawing(self, lines: Iterable[Text]) -> None:
        """Show lines that must not be wrapped."""
        for line in lines:
            if self.is_terminal:
                self._console.print(_text(line), no_wrap=True, overflow="ellipsis")
            else:
                self._write(_text(line).plain.rstrip())

    def heading(self, text: str, colour: str = "cyan") -> None:
        """Show a heading; in a pipe it is a line."""
        if self.is_terminal:
            title = Text(sanitize(text), style=f"bold {colour}")
            self._console.print(Rule(title, style=colour, align="left"))
        else:
            self._write(sanitize(text))

    def facts(self, pairs: Iterable[tuple[str, str | Text]]) -> None:
        """Show names and values, one pair a line."""
        shown = [(_text(name), _text(value)) for name, value in pairs]
        if not self.is_terminal:
            width = max(len(name) for name, _ in shown)
            for name, value in shown:
                self._write(f"{name.plain:{width}}  {value.plain}".rstrip())
            return
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for row in shown:
            grid.add_row(*row)
        self._console.print(Padding(grid, (0, 1)))

    def blank(self) -> None:
        """Show an empty line."""
        self._write("")

    def note(self, text: str) -> None:
        """Show a note about the output, such as a hint or that there is more."""
        self._notes.print(Text(sanitize(text), style="dim"), soft_wrap=True)

    def _write(self, line: str) -> None:
        self._console.file.write(line + "\n")

    def flush(self) -> None:
        """Write buffered output now, so that the reader of a pipe sees it."""
        self._console.file.flush()


def open_screen() -> Screen:
    """Return the screen of this process."""
    return Screen(
        Console(highlight=False, emoji=False, markup=False),
        Console(highlight=False, emoji=False, markup=False, stderr=True),
        now=datetime.now(UTC),
    )


def _add_column(table: Table, column: Column) -> None:
    table.add_column(
        Text(sanitize(column.heading)),
        style=column.style,
        justify=column.justify,
        no_wrap=not column.wraps,
        overflow="fold" if column.wraps else "ellipsis",
    )


def _text(value: str | Text, length: int = 0) -> Text:
    """Return a value as sanitized text, cut to `length` characters if that is not 0."""
    text = value.copy() if isinstance(value, Text) else Text(sanitize(value))
    text.plain = sanitize(text.plain)
    if length and len(text) > length:
        text.plain = cut(text.plain, length)
    return text


def _padded(cell: str, width: int, justify: str) -> str:
    room = " " * (width - cell_len(cell))
    return room + cell if justify == "right" else cell + room
