"""A list of dead letters, and a whole one."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.text import Text

from jarvis_recorder.cli.output.screen import Column, Screen
from jarvis_recorder.cli.output.units import ago, size
from jarvis_recorder.client.dead_letter_replay import FoundDeadLetter
from jarvis_recorder.wire.amqp import properties
from jarvis_recorder.wire.dead_letter import DeadLetter, readable_body
from jarvis_recorder.wire.refusal import Refused
from jarvis_recorder.wire.rpc.results import DeadLetterFaults, IndexedDeadLetter, IndexedDeadLetters

_MEDIUM: Final = 100
_SHORT_BODY: Final = 4_000
_LONGEST_BODY: Final = 64 * 1024 * 1024
_DUMP_WIDTH: Final = 16


def show_counts(screen: Screen, counts: Mapping[str, int]) -> None:
    """Show the number of dead letters of each reason."""
    rows = [(reason, f"{count:,}") for reason, count in Counter(counts).most_common()]
    total = ("all", f"{sum(counts.values()):,}") if len(rows) > 1 else ()
    screen.table((Column("reason"), Column("letters", justify="right")), rows, total=total)


def show_dead_letters(
    screen: Screen,
    dead_letters: Sequence[DeadLetter | IndexedDeadLetter],
    *,
    continued: bool = False,
) -> None:
    """Show dead letters, one a row."""
    clock = screen.clock(letter.received_at for letter in dead_letters)
    columns = (
        Column("id", "dim"),
        Column(clock.heading()),
        Column("reason", "yellow"),
        Column("again", justify="right", from_width=_MEDIUM),
        Column("size", justify="right", from_width=_MEDIUM),
        Column("routing key", "cyan", most=32, from_width=_MEDIUM),
        Column("what is wrong", wraps=True),
    )
    rows = [
        (
            letter.id,
            "-" if letter.received_at is None else clock.text(letter.received_at),
            letter.reason,
            str(letter.replays or "-"),
            size(letter.size_bytes),
            letter.routing_key or "-",
            letter.error,
        )
        for letter in dead_letters
    ]
    screen.table(columns, rows, continued=continued)


def show_faults(screen: Screen, answer: DeadLetterFaults) -> None:
    """Show the faults of dead letters, one a row."""
    if answer.faults:
        clock = screen.clock(one.last_at for one in answer.faults)
        columns = (
            Column("letters", justify="right"),
            Column(clock.heading("last")),
            Column("reason", "yellow"),
            Column("queue", "cyan", most=32, from_width=_MEDIUM),
            Column("one of them", "dim", from_width=_MEDIUM),
            Column("what is wrong", wraps=True),
        )
        rows = [
            (f"{one.count:,}", clock.text(one.last_at), one.reason, one.queue, one.example_id,
             one.fault)
            for one in answer.faults
        ]  # fmt: skip
        screen.table(columns, rows)
    else:
        screen.note("There is none that fits.")
    if answer.truncated:
        screen.note("There are more faults: --limit shows more.")
    if (behind := not_complete(answer)) is not None:
        screen.note(behind)


def not_complete(answer: DeadLetterFaults | IndexedDeadLetters) -> str | None:
    """Return in what the index differs from its queue, None if it has as many as wait there."""
    if answer.complete:
        return None
    if answer.waiting is None:
        return f"The index has {answer.indexed:,}; how many wait in the queue is unknown now."
    return (
        f"The index has {answer.indexed:,}, and {answer.waiting:,} wait in the queue: "
        "`jarvis-recorder dead list` looks through the queue and corrects the index."
    )


def show_dead_letter(screen: Screen, found: FoundDeadLetter, *, whole: bool) -> None:
    """Show one dead letter: reason, properties, headers, body."""
    letter, delivery = found
    clock = screen.clock([letter.received_at])
    when = "-"
    if letter.received_at is not None:
        when = f"{clock.named(letter.received_at)}, {ago(letter.received_at, screen.now)}"
    screen.facts(
        [
            ("dead letter", letter.id),
            ("reason", Text(letter.reason, "yellow")),
            ("what is wrong", letter.error),
            ("received", when),
            ("exchange", letter.exchange or "-"),
            ("routing key", letter.routing_key or "-"),
            ("queue", letter.queue),
            ("replayed", f"{letter.replays} times" if letter.replays else "never"),
            *property_rows(delivery.header),
        ]
    )
    screen.blank()
    if found.is_without_body:
        screen.line((f"body, {size(letter.size_bytes)}: too large to be shown", "dim"), indent=1)
        screen.note("`jarvis-recorder dead export` writes it to a file")
        return
    body = readable_body(delivery, _LONGEST_BODY)
    shown = body if whole else _beginning(body)
    screen.line((f"body, {size(len(body))}:", "dim"), indent=1)
    screen.paragraphs(readable(shown), indent=3)
    if len(shown) < len(body):
        screen.note(f"the first {len(shown):,} of {len(body):,} bytes; --full shows all")


def _beginning(body: bytes) -> bytes:
    """Return the first bytes of a body; those of a text end with a whole character."""
    beginning = body[:_SHORT_BODY]
    try:
        body.decode()
    except UnicodeDecodeError:
        return beginning
    return beginning.decode(errors="ignore").encode()


def property_rows(header: bytes) -> list[tuple[str, str | Text]]:
    """Return the properties and headers of a message for people."""
    try:
        pairs: list[tuple[str, str | Text]] = list(properties.others(header).items())
        for name, value in properties.headers(header).items():
            pairs.append((name, "(a table or a number)" if value is None else str(value)))
    except Refused as refused:
        return [("properties", Text(f"{refused.error}: {header.hex(' ')[:200]}", "red"))]
    return pairs


def readable(body: bytes) -> str:
    """Return a body as text, JSON indented, or a hex dump if it is no text."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return "\n".join(_dump(body))
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(document, indent=2, ensure_ascii=False)


def _dump(body: bytes) -> list[str]:
    lines = []
    for start in range(0, len(body), _DUMP_WIDTH):
        part = body[start : start + _DUMP_WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:08x}  {part.hex(' '):{3 * _DUMP_WIDTH}} {text}")
    return lines
