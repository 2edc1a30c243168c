"""A timeline: the snapshot in force, events and turns around a time, in order."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain
from typing import NamedTuple

from rich.text import Text

from jarvis_recorder.cli.output.cluster import describe
from jarvis_recorder.cli.output.differences import lines_of
from jarvis_recorder.cli.output.events import severity
from jarvis_recorder.cli.output.screen import CLUSTER, NODE, ROLE, Column, Screen
from jarvis_recorder.cli.output.units import TimeFormat, duration
from jarvis_recorder.wire.rpc.results import SnapshotDifferences, StoredEvent, StoredTurn, Timeline

_CLOCK = "%H:%M:%S"
_CHANGES = 20


class _Line(NamedTuple):
    at: datetime
    what: Text
    where: str
    cluster: str
    text: str | Text


def show_timeline(
    screen: Screen, answer: Timeline, changes: SnapshotDifferences | None = None
) -> None:
    """Show a timeline as one table, with a row for the requested time, and what changed in it."""
    clock = screen.clock([answer.since, answer.timestamp, answer.until])
    moment = clock.named(answer.timestamp)
    screen.heading(f"Around {moment}")
    window = duration(answer.until - answer.since)
    screen.line(f"{clock.text(answer.since)} to {clock.text(answer.until)}, {window}")
    screen.line(_in_force(answer, clock))
    if changes is not None:
        _show_changes(screen, changes)
    # Events without a cluster may be listed next to those of this one.
    have_several = len({event.cluster for event in answer.events}) > 1
    columns = (
        Column(clock.heading()),
        Column("from it", "dim", "right"),
        Column("what"),
        *([CLUSTER] if have_several else []),
        Column("where", "cyan", most=NODE),
        Column("summary, words", wraps=True),
    )
    pattern = _CLOCK if _is_one_day(answer, clock) else "%Y-%m-%d %H:%M:%S"
    rows = [
        (
            clock.text(line.at, pattern),
            _offset(line.at - answer.timestamp),
            line.what,
            *([line.cluster] if have_several else []),
            line.where,
            line.text,
        )
        for line in _lines(answer)
    ]
    screen.table(columns, rows)
    if answer.truncated:
        screen.note("The window holds more; these are the nearest. Ask for a smaller --window.")


def _show_changes(screen: Screen, changes: SnapshotDifferences) -> None:
    lines = list(lines_of(changes))
    if not lines:
        screen.line(("nothing changed in its snapshots but numbers", "dim"))
        return
    screen.drawing(lines[:_CHANGES])
    if len(lines) > _CHANGES:
        screen.note(f"{len(lines) - _CHANGES:,} more changes: `query diff` shows all.")


def _is_one_day(answer: Timeline, clock: TimeFormat) -> bool:
    day = "%Y-%m-%d"
    return clock.text(answer.since, day) == clock.text(answer.until, day)


def _in_force(answer: Timeline, clock: TimeFormat) -> Text:
    if answer.snapshot is None:
        return Text("no snapshot from before that time", "dim")
    age = duration(answer.timestamp - answer.snapshot.timestamp)
    taken = clock.named(answer.snapshot.timestamp)
    return Text(f"in force: {describe(answer.snapshot)}, taken {taken} ({age} before)", "dim")


def _lines(answer: Timeline) -> Iterator[_Line]:
    """Yield events, turns and the requested time in order; those at that time come after it."""
    things = chain(map(_event, answer.events), map(_turn, answer.turns))
    ordered = sorted(things, key=lambda line: line.at)
    before = [line for line in ordered if line.at < answer.timestamp]
    yield from before
    yield _Line(answer.timestamp, Text("▶", "bold cyan"), "", "", Text("this time", "bold cyan"))
    yield from ordered[len(before) :]


def _event(event: StoredEvent) -> _Line:
    where, cluster = event.node or "-", event.cluster or "-"
    return _Line(event.timestamp, severity(event.severity), where, cluster, event.summary)


def _turn(turn: StoredTurn) -> _Line:
    role = Text(turn.role, ROLE.get(turn.role, ""))
    return _Line(turn.timestamp, role, turn.session_id, "", turn.content)


def _offset(span: timedelta) -> str:
    if not span:
        return ""
    return f"{'-' if span < timedelta() else '+'}{duration(abs(span))}"
