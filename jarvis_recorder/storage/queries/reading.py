"""One read of the database: its snapshot, its room and its interruption."""

import contextlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Executable

from jarvis_recorder.errors import DeadlineExceeded


class Reading:
    """
    One snapshot of the database, and the bytes that the result may take.

    It belongs to the reading thread; only `end` may be called from another one.
    """

    def __init__(self, connection: Connection, room: int) -> None:
        self.connection = connection
        self.room = room
        self._is_over = False

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

    def rows(self, statement: Executable) -> Iterator[Any]:
        """Yield the rows one by one, none held in memory; raises as `go_on` does."""
        with contextlib.closing(self.connection.execute(statement)) as found:
            for row in found:
                self.go_on()
                yield row

    def places(self, statement: Executable) -> list[tuple[int, int]]:
        """Return time and id of each row, in the statement's order; raises as `go_on` does."""
        return [(row[0], row[1]) for row in self.rows(statement)]
