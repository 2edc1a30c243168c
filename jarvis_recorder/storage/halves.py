"""The search for the records that a database refuses, by halving a batch."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from jarvis_recorder.errors import RecordRefused
from jarvis_recorder.ports import Appended, RefusedRecord
from jarvis_recorder.wire.records import EventRow, Record
from jarvis_recorder.wire.refusal import Reason

log = structlog.get_logger(__name__)

Records = Sequence[Record | EventRow]
Append = Callable[[Records, int], Awaitable[Appended]]
"""Stores a slice of a batch, given the position of its first record, in transactions of its own."""


def outcome(records: Records, first: int, stored: int, collided: Iterable[int]) -> Appended:
    """Return the result of a transaction, given the places of the records that collided in it."""
    why = "another message is stored under this identity"
    collisions = [RefusedRecord(first + at, Reason.ID_COLLISION, why) for at in collided]
    return Appended(stored, len(records) - stored - len(collisions), collisions)


async def append_halves(
    append: Append, records: Records, first: int, error: RecordRefused
) -> Appended:
    """Store the records but those that the database refuses, of which one gave this error."""
    if len(records) == 1:
        log.warning("record_refused", error=str(error))
        why = "the database refuses the record"
        return Appended(0, 0, [RefusedRecord(first, Reason.REFUSED_BY_STORAGE, why)])
    middle = len(records) // 2
    left = await append(records[:middle], first)
    right = await append(records[middle:], first + middle)
    known, refused = await _retry_collisions(append, left.refused, records, first)
    return Appended(
        left.stored + right.stored,
        left.duplicates + known + right.duplicates,
        [*refused, *right.refused],
    )


async def _retry_collisions(
    append: Append, refused: Sequence[RefusedRecord], records: Records, first: int
) -> tuple[int, list[RefusedRecord]]:
    """
    Try collisions again; return how many are duplicates now, and the records still refused.

    Needed for the result of one transaction: an equal record may have been stored later.
    """
    known = 0
    left: list[RefusedRecord] = []
    for one in refused:
        if one.reason is Reason.ID_COLLISION:
            again = await append([records[one.position - first]], one.position)
            known += again.duplicates
            left += again.refused
        else:
            left.append(one)
    return known, left
