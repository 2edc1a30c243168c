"""Screens of a known width and time, and the text written on them."""

import io
from datetime import UTC, datetime, timedelta, timezone

from rich.console import Console

from jarvis_recorder.cli.output.screen import Screen

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
CET = timezone(timedelta(hours=1), "CET")


class Seen(Screen):
    """A terminal of `width` columns, or a pipe; `text` holds its output, `notes` its messages."""

    def __init__(self, width: int = 0, *, colours: bool = False) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        console = Console(
            file=self._out,
            width=width or 80,
            force_terminal=bool(width),
            color_system="truecolor" if colours else None,
            no_color=not colours,
            highlight=False,
            emoji=False,
            markup=False,
            legacy_windows=False,
        )
        super().__init__(console, Console(file=self._err, width=200), now=NOW, zone=CET)

    @property
    def raw(self) -> str:
        return self._out.getvalue()

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.raw.splitlines()).strip("\n")

    @property
    def notes(self) -> str:
        return self._err.getvalue()
