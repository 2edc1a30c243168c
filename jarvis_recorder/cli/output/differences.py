"""The differences between two snapshots, a line each."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic_core import to_json
from rich.text import Text

from jarvis_recorder.cli.output.sanitize import cut
from jarvis_recorder.cli.output.screen import Screen
from jarvis_recorder.wire.rpc.results import SnapshotDifferences, Step

_VALUE: Final = 200


def show_differences(screen: Screen, answer: SnapshotDifferences) -> None:
    """Show what is removed, added and changed, each with its path."""
    clock = screen.clock((answer.before.timestamp, answer.after.timestamp))
    before, after = clock.named(answer.before.timestamp), clock.named(answer.after.timestamp)
    screen.heading(f"{before} to {after}")
    screen.drawing(lines_of(answer))
    if not (answer.added or answer.removed or answer.changed):
        screen.note("Nothing changed.")


def lines_of(answer: SnapshotDifferences) -> Iterator[Text]:
    """Yield a line for each difference, the removals first."""
    for one in answer.removed:
        yield Text(f"- {_path(one.path)}: {_value(one.value)}", "red")
    for one in answer.added:
        yield Text(f"+ {_path(one.path)}: {_value(one.value)}", "green")
    for each in answer.changed:
        yield Text(f"~ {_path(each.path)}: {_value(each.from_)} → {_value(each.to)}", "yellow")


def _path(path: Sequence[Step]) -> str:
    return " ".join(map(_step, path)) or "all"


def _step(step: Step) -> str:
    if isinstance(step, dict):
        return "/".join(str(value) for value in step.values())
    return str(step)


def _value(value: Any) -> str:
    return cut(to_json(value).decode(), _VALUE)
