"""The outcome of the demo, as tables for people and as JSON for scripts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from jarvis_recorder.demo.overview import Overview
from jarvis_recorder.demo.requests import Asked
from jarvis_recorder.demo.story import StoryMessage, expected
from jarvis_recorder.storage.rows import SHAPES

SHOWN: Final = 12
"""The most alerts and actions to show: as many as the whole story has."""

_SNAPSHOTS_SHOWN: Final = 3
_QUEUE_PREFIX: Final = "jarvis.recorder."

_SEVERITY: Final = {"critical": "bold red", "error": "red", "warning": "yellow", "info": "green"}


class ShownDeadLetter(NamedTuple):
    """A dead letter as it was read from the queue, by its text headers."""

    headers: Mapping[str, str]
    message_id: str | None

    @property
    def reason(self) -> str:
        return self.headers.get("x-recorder-reason", "")

    @property
    def key(self) -> tuple[str, str]:
        return self.reason, self.headers.get("x-recorder-sha256", "")


class DemoOutcome(NamedTuple):
    """The messages published, and their outcome."""

    messages: Sequence[StoryMessage]
    publish_seconds: float
    settle_seconds: float
    duplicates: int
    dead_letters: Sequence[ShownDeadLetter]
    overview: Overview
    kept: Path | None
    """The database, if it is kept."""
    asked: Sequence[Asked] = ()

    def mismatches(self) -> list[str]:
        """Return every difference from the outcome that the story expects, none if all is well."""
        story = expected(self.messages)
        found = [
            f"{table}: {self.overview.rows[table]} rows instead of {story.rows[kind]}"
            for kind, table in _TABLES.items()
            if self.overview.rows[table] != story.rows[kind]
        ]
        if self.duplicates != story.duplicates:
            found.append(f"{self.duplicates} duplicates instead of {story.duplicates}")
        awaited = {
            (dead_letter.reason.value, dead_letter.sha256): dead_letter.what
            for dead_letter in story.dead_letters
        }
        arrived = Counter(dead_letter.key for dead_letter in self.dead_letters)
        found += (
            f"{arrived[key]} dead letters instead of 1: {what}, as {key[0]}"
            for key, what in awaited.items()
            if arrived[key] != 1
        )
        found += (
            f"an unexpected dead letter: {dead_letter.reason or 'by the broker'}"
            for dead_letter in self.dead_letters
            if dead_letter.key not in awaited
        )
        found += (
            f"{self.overview.copies.get(identity, 0)} rows instead of 1: identity {identity}"
            for message in self.messages
            for identity in message.identities
            if not message.sent_before and self.overview.copies.get(identity, 0) != 1
        )
        return found

    def sent_twice(self) -> Iterator[tuple[StoryMessage, int, int]]:
        """Yield each message sent twice, its number of records, and the rows with their identities."""
        for message in self.messages:
            if message.sent_before:
                rows = sum(self.overview.copies.get(one, 0) for one in message.identities)
                yield message, len(message.identities), rows

    def explained(self) -> Iterator[tuple[ShownDeadLetter, str]]:
        """Yield each dead letter with the story's description of it."""
        names = {
            (one.reason.value, one.sha256): one.what for one in expected(self.messages).dead_letters
        }
        for dead_letter in self.dead_letters:
            yield dead_letter, names.get(dead_letter.key, "not of this story")


_TABLES: Final = {kind: shape.table.name for kind, shape in SHAPES.items()}


def as_json(outcome: DemoOutcome) -> dict[str, Any]:
    """Return the outcome as one JSON document."""
    overview = outcome.overview
    rows = expected(outcome.messages).rows
    mismatches = outcome.mismatches()
    return {
        "as_expected": not mismatches,
        "mismatches": mismatches,
        "database": None if outcome.kept is None else str(outcome.kept),
        "published": {
            "messages": len(outcome.messages),
            "seconds": round(outcome.publish_seconds, 3),
            "settled_after_seconds": round(outcome.settle_seconds, 3),
        },
        "recorded": {
            table: {"rows": overview.rows[table], "expected": rows[kind]}
            for kind, table in _TABLES.items()
        },
        "duplicates": {
            "recognised": outcome.duplicates,
            "expected": expected(outcome.messages).duplicates,
            "messages": [
                {"what": message.what, "routing_key": message.routing_key, "records": records,
                 "times_sent": 2, "rows": found}
                for message, records, found in outcome.sent_twice()
            ],
        },
        "dead_letters": [
            {"what": what, "message_id": dead_letter.message_id, "headers": dict(dead_letter.headers)}
            for dead_letter, what in outcome.explained()
        ],
        "asked": [asked._asdict() for asked in outcome.asked],
        "events": [_plain(line) for line in overview.events],
        "sessions": [_plain(line) for line in overview.sessions],
        "snapshots": {
            "size_bytes": overview.snapshot_bytes,
            "stored_bytes": overview.stored_snapshot_bytes,
            "newest": [_plain(line) for line in overview.snapshots],
        },
    }  # fmt: skip


def _plain(line: Any) -> dict[str, Any]:
    """Return a named tuple as a JSON object, with times and decimals as text."""
    return {
        name: value if isinstance(value, int | str | None) else _text(value)
        for name, value in line._asdict().items()
    }


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return format(value, "f")


def present(outcome: DemoOutcome) -> None:
    """Print the outcome for people."""
    console = Console()
    for part in _parts(outcome):
        console.print(part)


def _parts(outcome: DemoOutcome) -> Iterator[Any]:
    overview = outcome.overview
    yield ""
    yield _heading("Half an hour in the life of a cluster")
    yield _paragraph(
        "Five nodes, twenty machines, an assistant. A node goes down and comes back.\n"
        f"{len(outcome.messages)} messages were published with confirms in "
        f"{outcome.publish_seconds:.2f} s; {outcome.settle_seconds:.2f} s after that "
        "each was recorded or dead-lettered."
    )
    yield _heading("Recorded", "green")
    yield _rows_table(outcome)
    yield _events_table(overview)
    yield _sessions_table(overview)
    yield _snapshots_table(overview)
    yield _heading(f"Recognised: {outcome.duplicates} records sent twice, stored once", "yellow")
    yield _repeats_table(outcome)
    yield _heading(
        f"Dead-lettered: {len(outcome.dead_letters)} messages that cannot be recorded", "red"
    )
    yield _letters_table(outcome)
    yield _paragraph(
        "Read from jarvis.recorder.dead: each as it was published, the reason in its headers."
    )
    if outcome.asked:
        yield _heading(f"Asked: {len(outcome.asked)} requests, over a reply queue", "blue")
        yield _asked_table(outcome)
    yield from _ending(outcome)


def _heading(text: str, colour: str = "cyan") -> Rule:
    return Rule(Text(text, style=f"bold {colour}"), style=colour, align="left")


def _paragraph(text: str | Text) -> Padding:
    return Padding(text, (0, 1, 1, 1))


def _table(title: str = "") -> Table:
    return Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        header_style="dim",
        pad_edge=True,
    )


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}"


def _rows_table(outcome: DemoOutcome) -> Table:
    rows = expected(outcome.messages).rows
    table = _table()
    table.add_column("table", style="cyan")
    table.add_column("rows", justify="right")
    table.add_column("expected", justify="right")
    table.add_column("")
    for kind, name in _TABLES.items():
        found = outcome.overview.rows[name]
        mark = Text("✓", "green") if found == rows[kind] else Text("✗", "bold red")
        table.add_row(name, str(found), str(rows[kind]), mark)
    return table


def _events_table(overview: Overview) -> Table:
    table = _table("Alerts and actions, newest first")
    table.add_column("UTC", no_wrap=True)
    table.add_column("severity", no_wrap=True)
    table.add_column("node", no_wrap=True)
    table.add_column("summary")
    for event in overview.events:
        severity = Text(event.severity, _SEVERITY.get(event.severity, ""))
        table.add_row(_clock(event.timestamp), severity, event.node or "-", Text(event.summary))
    return table


def _sessions_table(overview: Overview) -> Table:
    table = _table("Conversations")
    table.add_column("session", no_wrap=True)
    table.add_column("UTC", no_wrap=True)
    for name in ("turns", "tokens", "cost in USD"):
        table.add_column(name, justify="right")
    for session in overview.sessions:
        table.add_row(
            f"{session.session_id[:13]}…",
            f"{_clock(session.began)} to {_clock(session.ended)}",
            str(session.turns),
            f"{session.tokens:,}",
            format(session.cost_usd, "f"),
        )
    return table


def _snapshots_table(overview: Overview) -> Table:
    table = _table("The newest snapshots")
    table.add_column("UTC", no_wrap=True)
    table.add_column("cluster", no_wrap=True)
    for name in ("bytes", "stored", "share"):
        table.add_column(name, justify="right")
    for line in overview.snapshots[:_SNAPSHOTS_SHOWN]:
        table.add_row(
            _clock(line.timestamp), line.cluster, *_sizes(line.size_bytes, line.stored_bytes)
        )
    table.add_section()
    count = overview.rows["cluster_snapshots"]
    sizes = _sizes(overview.snapshot_bytes, overview.stored_snapshot_bytes)
    table.add_row(f"all {count}", "", *sizes, style="bold")
    return table


def _sizes(size: int, stored: int) -> tuple[str, str, str]:
    return f"{size:,}", f"{stored:,}", f"{stored / max(size, 1):.0%}"


def _repeats_table(outcome: DemoOutcome) -> Table:
    table = _table()
    table.add_column("message")
    table.add_column("routing key", style="dim")
    for name in ("records", "rows"):
        table.add_column(name, justify="right")
    for message, records, rows in outcome.sent_twice():
        colour = "green" if rows == records else "bold red"
        table.add_row(message.what, message.routing_key, str(records), Text(str(rows), colour))
    return table


def _letters_table(outcome: DemoOutcome) -> Table:
    table = _table()
    table.add_column("reason", style="red", no_wrap=True)
    table.add_column("queue", style="cyan", no_wrap=True)
    table.add_column("what, and what its error says")
    for dead_letter, what in outcome.explained():
        error = dead_letter.headers.get("x-recorder-error", "")
        queue = dead_letter.headers.get("x-recorder-queue", "-").removeprefix(_QUEUE_PREFIX)
        table.add_row(
            dead_letter.reason or "-", queue, Text.assemble((what, "bold"), "\n", (error, "dim"))
        )
    return table


def _asked_table(outcome: DemoOutcome) -> Table:
    table = _table()
    table.add_column("method", style="cyan", no_wrap=True)
    table.add_column("what was asked, and what came back")
    table.add_column("ms", justify="right", no_wrap=True)
    for asked in outcome.asked:
        said = Text.assemble((asked.params, "dim"), "\n", (asked.answer, "bold"))
        table.add_row(asked.method, said, f"{asked.milliseconds:.1f}")
    return table


def _ending(outcome: DemoOutcome) -> Iterable[Any]:
    if mismatches := outcome.mismatches():
        yield _heading("Not as expected", "red")
        yield _paragraph(Text("\n".join(f"✗ {line}" for line in mismatches), style="red"))
        return
    yield _heading("Every message was recorded once, or dead-lettered with its reason", "green")
    lines = [("make run", "the recorder with a private broker, until Ctrl-C")]
    if outcome.kept is not None:
        lines.insert(0, (f"sqlite3 '{outcome.kept}'", "what was recorded, to look around"))
    lines += [
        ("jarvis-recorder query --help", "what can be asked"),
        ("jarvis-recorder config show", "its settings, and where each comes from"),
        ("README.md", "how to publish to it, and what it promises"),
    ]
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="bold", overflow="fold")
    table.add_column(style="dim")
    for command, what in lines:
        table.add_row(Text(command), what)
    yield Padding(table, (0, 1, 1, 1))
