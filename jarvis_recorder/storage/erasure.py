"""The turns of a conversation that is erased, found in small steps, oldest first."""

from collections.abc import Iterable
from itertools import islice, starmap
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, select

from jarvis_recorder.storage.chunks import first_within
from jarvis_recorder.storage.expired_rows import BEGINNING, Position, behind, row_bytes
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.tables import conversations

# Of one transaction: some milliseconds in which no one else writes.
MOST_TURNS: Final = 100
# A deleted turn adds to the log about as much as it had, and its words once more.
MOST_BYTES: Final = 256 * 1024

_columns: Final = conversations.c


class Erasure(NamedTuple):
    """The turns of a conversation that are to go: those recorded up to `last`."""

    session_id: str
    last: Position
    """The turn with the highest id when the erasure began."""
    reached: Position = BEGINNING
    """The last turn that is gone."""


class ErasedPart(NamedTuple):
    """The number of turns that a step has deleted, and the last of them, None at the end."""

    deleted: int
    reached: Position | None


class ErasableTurn(NamedTuple):
    """A turn that is to go."""

    id: int
    timestamp: int
    size_bytes: int


def turns_to_go(erasure: Erasure, *, up_to: int) -> Select[Any]:
    """Select the next turns of an erasure as a `ErasableTurn` each, those with an id up to `up_to`."""
    at = _columns.timestamp
    return (
        found_turns()
        .where(
            _columns.session_id == erasure.session_id,
            behind(at, erasure.reached),
            _columns.id <= up_to,
        )
        .order_by(at, _columns.id)
        .limit(MOST_TURNS)
    )


def found_turns() -> Select[Any]:
    """Select turns as a `ErasableTurn` each."""
    return select(_columns.id, micros(_columns.timestamp), row_bytes(conversations))


def few_of(turns: Iterable[Any]) -> list[ErasableTurn]:
    """Return the first of the turns, as many as go in one transaction, and at least one."""
    found = first_within(starmap(ErasableTurn, turns), lambda turn: turn.size_bytes, MOST_BYTES)
    return list(islice(found, MOST_TURNS))
