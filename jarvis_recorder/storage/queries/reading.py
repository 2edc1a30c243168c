"""One read of the database: its snapshot, its room and its interruption; the size of a read."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection, CursorResult, Executable

from jarvis_recorder.errors import DeadlineExceeded
from jarvis_recorder.ports import Clock

T = TypeVar("T")

# A driver of a server would else have all rows of a statement in memory before the first is read. A
# row may have some 64 KiB.
_FETCHED_AS_READ: Final = {"stream_results": True, "max_row_buffer": 50}


class Pace(Enum):
    """The size of a read: a look-up of one row, a few rows by an index, or a scan of many."""

    LOOK_UP = auto()
    QUICK = auto()
    SCAN = auto()


class Query(NamedTuple):
    """
    The query of a method: a function of a `Reading` and the params, which returns the result.

    With `needs_clock` the clock is its first argument.
    """

    read: Callable[..., bytes]
    pace: Pace = Pace.QUICK
    needs_clock: bool = False

    def given(self, clock: Clock) -> "Query":
        """Return the query of `Reading` and params alone."""
        return Query(partial(self.read, clock), self.pace) if self.needs_clock else self


Queries = dict[type[Any], Query]
"""The queries of a module, by the class of their params."""


def _at_once(work: Callable[[], T]) -> T:
    return work()


class Aside(Protocol):
    """A way to have work done that takes many milliseconds; it raises what the work raises."""

    def __call__(self, work: Callable[[], T], /) -> T: ...


class Reading:
    """
    One snapshot of the database, and the bytes that the result may take.

    It belongs to the thread that reads; only `end` and `go_on` may be called from another one.
    `aside` does work without the database where that holds up no one but this read.
    """

    def __init__(self, connection: Connection, room: int, aside: Aside = _at_once) -> None:
        self.connection = connection
        self.room = room
        self.aside = aside
        self._is_over = False
        self._results: list[CursorResult[Any]] = []

    def close(self) -> None:
        """
        Close what was not read to its end; a traceback may keep the reader of it.

        A server's cursor can be closed only while its connection is in use.
        """
        for found in self._results:
            found.close()

    def end(self) -> None:
        """Have the reading thread stop at its next row, since no one waits for the result."""
        self._is_over = True

    def go_on(self) -> None:
        """
        Return if the result is still waited for.

        Raises:
            DeadlineExceeded: It is not.
        """
        if self._is_over:
            raise DeadlineExceeded("the answer was not found in time")

    def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> CursorResult[Any]:
        """Execute a statement whose rows, however many, are fetched as they are read."""
        return self.connection.execute(statement, parameters, execution_options=_FETCHED_AS_READ)

    def rows(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Iterator[Any]:
        """Yield the rows one by one, few held in memory; raises as `go_on` does."""
        with contextlib.closing(self.execute(statement, parameters)) as found:
            self._results.append(found)
            for row in found:
                self.go_on()
                yield row

    @property
    def groups_by_sorting(self) -> bool:
        """Say if the database sorts all rows to group them: it sorts those of a stretch sooner."""
        return self.connection.dialect.name == "sqlite"

    def places(self, statement: Executable) -> list[tuple[int, int]]:
        """Return time and id of each row, in the statement's order; raises as `go_on` does."""
        return [(row[0], row[1]) for row in self.rows(statement)]
