"""Answers as people read them. What is recorded never reaches a terminal raw."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from jarvis_recorder.wire import answers
from jarvis_recorder.wire.records import Event, Record, Snapshot, Turn
from jarvis_recorder.wire.times import to_datetime

SEVERITY_STYLES: Final = {
    "info": "dim",
    "warning": "yellow",
    "error": "red",
    "critical": "bold white on red",
}
_ROLE_STYLES: Final = {"user": "cyan", "assistant": "green", "tool": "magenta", "system": "dim"}
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
_LONGEST_LINE: Final = 2_000


def safe(content: str) -> str:
    """Return a text on one line, with whatever would steer a terminal written out."""
    shown = content if len(content) <= _LONGEST_LINE else content[:_LONGEST_LINE] + "…"
    if shown.isprintable():
        return shown
    return "".join(
        char
        if char.isprintable()
        else "↵"
        if char == "\n"
        else char.encode("unicode_escape").decode()
        for char in shown
    )


def local(moment: datetime | None, *, spec: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a moment in this machine's zone, which the headings name."""
    return "-" if moment is None else moment.astimezone().strftime(spec)


def zone() -> str:
    """Return the name of this machine's zone."""
    return datetime.now().astimezone().tzname() or "local"


def table(out: Console, *headings: str) -> Table:
    """Return a table: lines on a terminal, columns alone in a pipe."""
    return Table(
        *headings,
        box=box.SIMPLE_HEAD if out.is_terminal else None,
        pad_edge=False,
        header_style="dim",
    )


def severity(name: str) -> Text:
    return Text(name, style=SEVERITY_STYLES.get(name, ""))


def events(out: Console, found: Sequence[answers.StoredEvent]) -> RenderableType:
    """Show events, one a line."""
    if not found:
        return "no events match: ask for more time with --since, or for less with fewer filters"
    shown = table(out, "id", f"time ({zone()})", "type", "severity", "node", "summary", "resolved")
    for event in found:
        by = f"by {safe(event.resolved_by or '?')}" if event.resolved else ""
        shown.add_row(
            str(event.id),
            local(event.timestamp),
            event.type,
            severity(event.severity),
            safe(event.node or ""),
            Text(safe(event.summary)),
            by,
        )
    return shown


def sessions(out: Console, found: Sequence[answers.Session]) -> RenderableType:
    if not found:
        return "no conversations in this time"
    shown = table(out, "session", f"first ({zone()})", "last", "turns")
    for session in found:
        shown.add_row(
            Text(safe(session.session_id)),
            local(session.first_at),
            local(session.last_at),
            str(session.turns),
        )
    return shown


def turns(page: answers.TurnPage) -> Iterable[Text]:
    """Show a conversation, and whether there is more of it."""
    yield from _said(page.turns)
    if not page.turns:
        yield Text("there is no such conversation: `jarvis-recorder query sessions` lists them")
    elif page.next_cursor is not None:
        yield Text("there are more turns: --limit shows up to 1000", style="dim")


def _said(found: Iterable[answers.StoredTurn]) -> Iterable[Text]:
    """Show turns as a conversation reads; a line break of theirs is one here too."""
    for turn in found:
        yield Text.assemble(
            (local(turn.timestamp), "dim"), "  ", (turn.role, _ROLE_STYLES.get(turn.role, ""))
        )
        for line in turn.content.split("\n"):
            yield Text("  " + safe(line))


def search(out: Console, found: Sequence[answers.FoundTurn]) -> RenderableType:
    if not found:
        return "no turn holds all of these words"
    shown = table(out, f"time ({zone()})", "session", "role", "found")
    for one in found:
        snippet = Text(one.snippet)
        for begin, end in one.highlights:
            snippet.stylize("bold yellow", begin, end)
        plain = safe(one.snippet)
        text = snippet if plain == one.snippet else Text(plain)
        shown.add_row(
            local(one.turn.timestamp), Text(safe(one.turn.session_id)), one.turn.role, text
        )
    return shown


def snapshot(found: answers.StoredSnapshot) -> Iterable[RenderableType]:
    yield Text.assemble(
        (safe(found.cluster or "(no name)"), "bold"),
        f"  {local(found.timestamp)} {zone()}  {found.size_bytes:,} bytes",
    )
    for line in json.dumps(found.snapshot, indent=2, ensure_ascii=False).split("\n"):
        yield Text(safe(line))


def timeline(out: Console, found: answers.Timeline) -> Iterable[RenderableType]:
    yield Text(f"{local(found.since)} to {local(found.until)} {zone()}", style="bold")
    if found.snapshot is not None:
        head = found.snapshot
        yield Text(f"snapshot in force: {safe(head.cluster)} of {local(head.timestamp)}")
    yield events(out, found.events) if found.events else Text("no events")
    yield from _said(found.turns)
    if found.truncated:
        yield Text("there was more: choose a shorter --window", style="yellow")


def histogram(out: Console, found: answers.Histogram) -> Iterable[RenderableType]:
    """Draw a bar for each bucket, in the colours of what it is counted by."""
    most = max((bucket.count for bucket in found.buckets), default=0)
    if most == 0:
        yield Text("no events in this time")
        return
    digits = len(f"{most:,}")
    room = max(10, min(out.width, 120) - digits - 24)
    yield Text(f"{zone()}, {found.bucket_seconds} s each", style="dim")
    for bucket in found.buckets:
        bar = Text()
        for name, count in sorted(bucket.by.items(), key=_by_severity) or [("", bucket.count)]:
            bar.append(_bar(count / most * room), style=_bar_style(name))
        yield Text.assemble((local(bucket.start), "dim"), f" {bucket.count:>{digits},} ", bar)
    names = sorted({name for bucket in found.buckets for name in bucket.by})
    if names:
        yield Text("  ").join(
            Text("■ " + safe(name or "(none)"), style=_bar_style(name)) for name in names
        )


def _by_severity(item: tuple[str, int]) -> tuple[int, str]:
    order = list(SEVERITY_STYLES)
    return (-order.index(item[0]) if item[0] in order else 0, item[0])


def _bar_style(name: str) -> str:
    colours = {"info": "blue", "warning": "yellow", "error": "red", "critical": "magenta"}
    return colours.get(name, "blue")


def _bar(eighths: float) -> str:
    whole, rest = divmod(round(eighths * 8), 8)
    return "█" * whole + (_BLOCKS[rest] if rest else "")


def usage(out: Console, found: answers.UsageReport) -> RenderableType:
    shown = table(out, "", "turns", "tokens", "input", "output", "cost (USD)")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in (*found.usage, found.total):
        name = "total" if row is found.total else row.key or "(none)"
        shown.add_row(
            Text(safe(name)),
            f"{row.turns:,}",
            f"{row.tokens_used:,}",
            f"{row.input_tokens:,}",
            f"{row.output_tokens:,}",
            format(row.cost_usd, "f"),
        )
    return shown


def stats(out: Console, found: answers.Stats) -> Iterable[RenderableType]:
    kept = table(out, "", "rows", f"oldest ({zone()})", "newest")
    holdings = found.holdings
    for name in ("events", "conversations", "cluster_snapshots"):
        extent = getattr(holdings, name)
        kept.add_row(name, f"{extent.count:,}", local(extent.oldest), local(extent.newest))
    kept.add_row("preferences", f"{holdings.preferences:,}", "", "")
    yield kept
    doing = found.activity
    yield Text(
        f"{doing.state} since {local(doing.started_at)}, {doing.per_second:g} a second; "
        f"{doing.stored:,} stored, {doing.duplicates:,} duplicates, "
        f"{doing.dead_lettered:,} dead letters"
    )
    yield Text(
        f"database {holdings.database_bytes:,} bytes, log {holdings.wal_bytes:,} bytes, "
        f"schema {holdings.schema_version}, version {doing.version}",
        style="dim",
    )


def preferences(out: Console, found: Sequence[answers.Preference]) -> RenderableType:
    if not found:
        return "no preferences"
    shown = table(out, "key", "value", "version", f"changed ({zone()})", "by")
    for one in found:
        shown.add_row(
            Text(safe(one.key)),
            Text(safe(one.value)),
            str(one.version),
            local(one.updated_at),
            safe(one.updated_by or ""),
        )
    return shown


def record(one: Record) -> Text:
    """Show a record that has just been published, on one line."""
    time = (local(to_datetime(one.timestamp), spec="%H:%M:%S"), "dim")
    match one.body:
        case Event() as event:
            name = event.severity
            return Text.assemble(
                time, " ", (f"{name:8}", SEVERITY_STYLES[name]),
                f" {safe(event.node or '-')}  {safe(event.summary)}",
            )  # fmt: skip
        case Turn() as turn:
            style = _ROLE_STYLES.get(turn.role, "")
            return Text.assemble(time, " ", (f"{turn.role:8}", style), f" {safe(turn.content)}")
        case Snapshot() as taken:
            return Text.assemble(time, " ", ("snapshot", "blue"), f" {safe(taken.cluster)}")


def record_as_json(one: Record) -> dict[str, Any]:
    """Return a record as a document, for scripts."""
    from dataclasses import asdict

    from jarvis_recorder.wire.times import format_rfc3339

    return {
        "kind": one.kind.value,
        "message_id": one.message_id,
        **asdict(one.body),
        "timestamp": format_rfc3339(one.timestamp),
        "extra": one.extra,
    }
