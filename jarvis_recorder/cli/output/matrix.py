"""The severity of events by node and time: a line for each node, a letter for each stretch."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from rich.text import Text

from jarvis_recorder.cli.output.screen import SEVERITY, Screen
from jarvis_recorder.cli.output.units import counted, duration
from jarvis_recorder.wire.rpc.results import Cell, Matrix, MatrixNode

_LETTERS: Final = {None: "·", "info": "-", "warning": "w", "error": "E", "critical": "C"}


def show_matrix(screen: Screen, answer: Matrix) -> None:
    """Show each node as a line; letters tell severities apart where there are no colours."""
    if not answer.nodes:
        screen.note("No event fits. Try an earlier time, or fewer filters.")
        return
    width = max(len(_name(node)) for node in answer.nodes)
    screen.drawing(_lines(answer, width))
    span = duration(timedelta(seconds=answer.bucket_seconds))
    legend = ", ".join(f"{letter} {severity or 'none'}" for severity, letter in _LETTERS.items())
    screen.note(f"One letter for {span}: {legend}.")
    if answer.truncated:
        screen.note("There are more nodes. Name a cluster or a node.")


def _lines(answer: Matrix, width: int) -> Iterator[Text]:
    for node in answer.nodes:
        total = sum(cell.count for cell in node.cells)
        yield Text.assemble(
            (f"{_name(node):{width}}  ", "cyan"),
            *map(_letter, node.cells),
            (f"  {counted(total, 'event')}", "dim"),
        )


def _name(node: MatrixNode) -> str:
    name = node.node or "no node"
    return f"{node.cluster}/{name}" if node.cluster else name


def _letter(cell: Cell) -> tuple[str, str]:
    return _LETTERS[cell.severity], SEVERITY.get(cell.severity or "", "dim")
