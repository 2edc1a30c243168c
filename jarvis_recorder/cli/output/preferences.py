"""A list of preferences, and one of them."""

from collections.abc import Sequence

from jarvis_recorder.cli.output.sanitize import sanitized_lines
from jarvis_recorder.cli.output.screen import NODE, Column, Screen
from jarvis_recorder.cli.output.units import ago
from jarvis_recorder.wire.rpc.results import OnePreference, Preference


def show_preferences(
    screen: Screen, preferences: Sequence[Preference], *, continued: bool = False
) -> None:
    """Show a page of preferences, one a row."""
    clock = screen.clock(one.updated_at for one in preferences)
    columns = (
        Column("key", "cyan", wraps=True),
        Column("version", justify="right"),
        Column(clock.heading("set")),
        Column("by", most=NODE, from_width=100),
        Column("value", wraps=True),
    )
    rows = [
        (one.key, str(one.version), clock.text(one.updated_at), one.updated_by or "-", one.value)
        for one in preferences
    ]
    screen.table(columns, rows, continued=continued)


def show_preference(screen: Screen, answer: OnePreference) -> None:
    """Show the value of a preference, and in a note its version, author and time."""
    one = answer.preference
    clock = screen.clock([one.updated_at])
    for line in sanitized_lines(one.value):
        screen.line(line)
    by = f" by {one.updated_by}" if one.updated_by else ""
    when = f"{clock.named(one.updated_at)}, {ago(one.updated_at, screen.now)}"
    screen.note(f"version {one.version}, set{by} {when}")
