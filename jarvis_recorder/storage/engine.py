"""
The seam between the archive and a database engine.

Work and reads are plain functions on a SQLAlchemy connection. SQLite calls them in a thread,
PostgreSQL in a greenlet on the event loop. The other statements are the same for both, but
for those in `EngineStatements`.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, Table

from jarvis_recorder.errors import StorageUnavailable
from jarvis_recorder.storage.batch import Rows
from jarvis_recorder.storage.erasure import ErasedPart, Erasure
from jarvis_recorder.storage.expired_rows import Position
from jarvis_recorder.storage.queries.reading import Pace, Queries, Reading

T = TypeVar("T")
Work = Callable[[Connection], T]
"""Reads and writes in a transaction that has begun; must not wait for anything else."""
Read = Callable[[Reading], T]
"""Reads one snapshot of the database."""


class NoRoomForIt(StorageUnavailable):
    """The transaction would exceed the room of the database; nothing of it is stored."""


class Writer(Protocol):
    """A writer that runs one transaction after the other."""

    crowded: asyncio.Event
    """To be set when a change was refused with `NoRoomForIt`."""

    async def run(self, work: Work[T]) -> T:
        """
        Run `work` in a transaction, and return its result once it is committed and durable.

        On an error nothing of it is stored. If the caller is cancelled, the transaction continues.

        Raises:
            StorageUnavailable, StorageUncertain, StorageDamaged, RecordRefused: See `errors`.
        """

    async def run_gathered(self, gather: Callable[[], Work[T]]) -> T:
        """Do as `run` does, with the work that `gather` returns at the beginning of its turn."""

    async def run_with_room(self, work: Work[T], begin: Callable[[], None] = ...) -> T:
        """
        Do as `run` does, with work that deletes; `begin` is called at the beginning of its turn.

        Raises:
            StorageUnavailable: There is no room for what it adds to the log; and all that `run`
                raises.
        """

    def require_room(self) -> None:
        """
        Make sure that work that takes more room is admitted.

        Raises:
            StorageUnavailable: There is no room; the message says what to do.
        """

    def require_bounds(self, connection: Connection) -> None:
        """
        Make sure that the transaction, as far as it has written, is within its room.

        Raises:
            NoRoomForIt: It is not.
        """

    def attempt(self, connection: Connection) -> AbstractContextManager[None]:
        """Undo what was written inside if it fails, and raise the recorder's error."""

    async def forget_deleted(self) -> None:
        """Leave nothing of deleted rows behind, as far as that is possible now."""


class Readers(Protocol):
    """The connections that read next to the writer."""

    async def run(self, read: Read[T], until: float, room: int, *, pace: Pace = ...) -> T:
        """
        Return the result of `read` on one consistent snapshot, in `room` bytes.

        It returns by `until`, a time of the event loop's clock.

        Raises:
            DeadlineExceeded: It was not done by `until`: it is interrupted, or was never begun.
            StorageUnavailable, StorageDamaged: The database cannot be read.
        """


class EngineStatements(NamedTuple):
    """The statements that an engine makes differently."""

    insert_all: Callable[[Connection, Sequence[Rows]], tuple[int, list[int]]]
    """Inserts rows; returns how many were new, and the positions of collisions."""
    newest_id: Callable[[Connection, Table], int]
    """Returns the id of the row of a table that this transaction inserted last."""
    is_stamped_as: Callable[[Table, str], ColumnElement[bool]]
    """Returns the condition for the row that is stored under an identity without a time."""
    newest_turn: Callable[[Connection, str], Position | None]
    """Returns a turn whose id no turn of a conversation exceeds yet; None if there is none."""
    erase_turns: Callable[[Connection, Erasure], ErasedPart]
    """Deletes the next turns of an erasure, with their words in the search."""
    queries: Queries
    """The queries that are the engine's own: of the search, and of its totals."""
