"""The severity of events by node and stretch of time."""

from collections.abc import Iterator
from heapq import nlargest
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Select, case, func, select

from jarvis_recorder.errors import ResultTooLarge
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.events import conditions
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.tables import events
from jarvis_recorder.wire.records import RANKS, SEVERITIES
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import EventMatrix, ListEvents
from jarvis_recorder.wire.rpc.results import Cell, Matrix, MatrixNode
from jarvis_recorder.wire.times import to_micros

# A publisher may invent any number of nodes.
MOST_NODES: Final = 200
# The most bytes of a cell in a result, those of an empty one, and those of a row next to its names.
_CELL_BYTES: Final = 48
_EMPTY_BYTES: Final = 28
_ROW_BYTES: Final = 64
_MICROS: Final = 1_000_000

_columns: Final = events.c
_TIME: Final = micros(_columns.timestamp)
_EMPTY: Final = Cell(None, 0)

_Counted = tuple[str | None, str | None, int, int, int]
"""Cluster, node, number of the cell, rank of the worst severity, count."""


class _Row(NamedTuple):
    """The cells of a node that have events."""

    cluster: str | None
    node: str | None
    cells: list[_Counted]

    def weight(self) -> tuple[int, int]:
        """Return what decides which nodes are shown if there are too many."""
        return max(cell[3] for cell in self.cells), sum(cell[4] for cell in self.cells)

    def name(self) -> tuple[Any, ...]:
        return self.cluster is None, self.cluster or "", self.node is None, self.node or ""


def event_matrix(reading: Reading, params: EventMatrix) -> bytes:
    """
    Return the worst severity and the number of events of each node in each stretch of time.

    Of too many nodes those with the worst events are shown, then those with the most.

    Raises:
        ResultTooLarge: The cells do not fit into the room.
    """
    # In integers: the seconds of centuries as a double are not exact.
    span = to_micros(params.until) - to_micros(params.since)
    width = max(1, -(-span // (params.buckets * _MICROS)))
    cells = -(-span // (width * _MICROS))
    rows = nlargest(
        MOST_NODES + 1, _rows(reading, _counted(reading, params, width)), key=_Row.weight
    )
    shown = rows[:MOST_NODES]
    size = sum(_ROW_BYTES + sum(map(_length, (row.cluster, row.node))) for row in shown)
    filled = sum(len(row.cells) for row in shown)
    size += _CELL_BYTES * filled + _EMPTY_BYTES * (cells * len(shown) - filled)
    if size > reading.room:
        raise ResultTooLarge(
            "the cells do not fit into a reply",
            "ask for fewer buckets, for one cluster, or one node",
        )
    nodes = [_node(row, cells) for row in sorted(shown, key=_Row.name)]
    return adapter(Matrix).dump_json(Matrix(nodes, width, len(rows) > len(shown)))


def _length(name: str | None) -> int:
    # In JSON a byte takes up to six.
    return 6 * len((name or "").encode())


def _counted(reading: Reading, params: EventMatrix, width: int) -> Select[_Counted]:
    """Select the cells that have events, those of a node together."""
    filters = ListEvents(node=params.node, cluster=params.cluster)
    since = to_micros(params.since)
    number = ((_TIME - since) // (width * _MICROS)).label("number")
    rank: ColumnElement[int] = case(RANKS, value=_columns.severity, else_=0)
    return (
        select(
            _columns.cluster, _columns.node, number, func.max(rank), func.count(),
        )
        .where(
            _columns.timestamp >= params.since,
            _columns.timestamp < params.until,
            *conditions(reading, filters).together(),
        )
        # By number first: rows come in the order of time, and nearly sorted ones sort faster.
        .group_by("number", _columns.node, _columns.cluster)
        .order_by(_columns.cluster, _columns.node, "number")
    )  # fmt: skip


def _rows(reading: Reading, counted: Select[_Counted]) -> Iterator[_Row]:
    """Yield the nodes one by one, so that no more are held in memory than are shown."""
    for (cluster, node), cells in groupby(reading.rows(counted), key=itemgetter(0, 1)):
        yield _Row(cluster, node, [tuple(cell) for cell in cells])


def _node(row: _Row, cells: int) -> MatrixNode:
    line = [_EMPTY] * cells
    for _, _, number, rank, count in row.cells:
        line[number] = Cell(SEVERITIES[rank], count)
    return MatrixNode(row.node, row.cluster, line)


QUERIES: Final[Queries] = {EventMatrix: Query(event_matrix, Pace.SCAN)}
