"""Conversations: their list, their turns, search results and usage."""

import json
from collections.abc import Sequence
from typing import Final

from rich.text import Text

from jarvis_recorder.cli.output.sanitize import cut, sanitize
from jarvis_recorder.cli.output.screen import ROLE, Column, Screen
from jarvis_recorder.cli.output.units import counted, duration
from jarvis_recorder.wire.rpc.results import FoundTurn, Session, StoredTurn, Usage, UsageReport

_TOOL_CALLS_SHOWN: Final = 300
_UUID: Final = 36
_MODELS: Final = 24


def show_sessions(screen: Screen, sessions: Sequence[Session], *, continued: bool = False) -> None:
    """Show a page of conversations, one a row."""
    clock = screen.clock(moment for one in sessions for moment in (one.first_at, one.last_at))
    columns = (
        Column("session", "cyan", most=_UUID),
        Column("title", wraps=True),
        Column(clock.heading("last")),
        Column("lasted", justify="right", from_width=110),
        Column("turns", justify="right"),
        Column("models", most=_MODELS, from_width=140),
        Column("tools", most=_MODELS, from_width=160),
        Column("cost USD", justify="right", from_width=120),
    )
    rows = [
        (
            one.session_id,
            one.title or "-",
            clock.text(one.last_at),
            duration(one.last_at - one.first_at),
            f"{one.turns:,}",
            ", ".join(one.models) or "-",
            ", ".join(one.tools) or "-",
            "-" if one.cost_usd is None else f"{one.cost_usd:f}",
        )
        for one in sessions
    ]
    screen.table(columns, rows, continued=continued)


def show_turns(screen: Screen, turns: Sequence[StoredTurn], *, continued: bool = False) -> None:
    """Show turns in full, in the order of the conversation."""
    clock = screen.clock(turn.timestamp for turn in turns)
    for number, turn in enumerate(turns):
        if number or continued:
            screen.blank()
        facts = [clock.named(turn.timestamp), *_spent(turn)]
        screen.line((turn.role, f"bold {ROLE.get(turn.role, '')}"), "  ", (_joined(facts), "dim"))
        screen.paragraphs(turn.content, indent=2)
        if turn.tool_calls is not None:
            screen.line((f"tool calls: {_compact(screen, turn.tool_calls)}", "dim"), indent=2)
        if turn.omitted:
            left_out = ", ".join(turn.omitted).replace("_", " ")
            screen.line(
                (f"not shown whole: {left_out}; `query turn {turn.id}` shows it", "dim"), indent=2
            )


def _spent(turn: StoredTurn) -> list[str]:
    """Return the model, tokens and cost of a turn, as far as recorded."""
    facts = [turn.model or ""]
    if turn.input_tokens is not None or turn.output_tokens is not None:
        facts.append(f"{turn.input_tokens or 0:,} tokens in, {turn.output_tokens or 0:,} out")
    elif turn.tokens_used is not None:
        facts.append(counted(turn.tokens_used, "token"))
    if turn.cost_usd is not None:
        facts.append(f"{turn.cost_usd:f} USD")
    return facts


def _joined(facts: Sequence[str]) -> str:
    return " · ".join(fact for fact in facts if fact)


def _compact(screen: Screen, value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return cut(text, _TOOL_CALLS_SHOWN) if screen.is_terminal else text


def show_found(screen: Screen, turns: Sequence[FoundTurn], *, continued: bool = False) -> None:
    """Show the results of a search, with the words found highlighted."""
    clock = screen.clock(found.turn.timestamp for found in turns)
    for number, found in enumerate(turns):
        if number or continued:
            screen.blank()
        turn = found.turn
        screen.line(
            (turn.session_id, "cyan"), "  ", (turn.role, ROLE.get(turn.role, "")), "  ",
            (clock.named(turn.timestamp), "dim"),
        )  # fmt: skip
        screen.line(_highlighted(found), indent=2)


def _highlighted(found: FoundTurn) -> Text:
    # `sanitize` replaces character by character, so the positions of highlights stay right.
    text = Text(sanitize(found.snippet.replace("\n", " ")))
    for start, end in found.highlights:
        text.stylize("bold yellow", max(start, 0), max(end, 0))
    return text


def show_usage(screen: Screen, answer: UsageReport, by: str) -> None:
    """Show usage: a row for each key of `by`, and the total."""
    columns = (
        Column(by, "cyan", wraps=True),
        Column("turns", justify="right"),
        Column("tokens", justify="right"),
        Column("in", justify="right"),
        Column("out", justify="right"),
        Column("cost in USD", justify="right"),
    )
    rows = [
        (f"no {by} named" if one.key is None else one.key, *_numbers(one)) for one in answer.usage
    ]
    screen.table(columns, rows, total=("all", *_numbers(answer.total)))


def _numbers(usage: Usage) -> tuple[str, ...]:
    counts = (usage.turns, usage.tokens_used, usage.input_tokens, usage.output_tokens)
    return *(f"{count:,}" for count in counts), f"{usage.cost_usd:f}"
