"""The oldest notifications of the outbox, as every database reads them."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Select, select

from jarvis_recorder.ports import PendingNotification
from jarvis_recorder.storage.chunks import first_within
from jarvis_recorder.storage.tables import outbox

# The most that the notifications of one read take together, unless the first alone takes more.
_MOST_BYTES: Final = 1024 * 1024


def oldest_pending(limit: int) -> Select[Any]:
    """Select notifications as a `PendingNotification` each, the oldest first."""
    columns = outbox.c
    return (
        select(columns.id, columns.routing_key, columns.message_id, columns.body)
        .order_by(columns.id)
        .limit(limit)
    )


def few_pending(rows: Iterable[Any]) -> list[PendingNotification]:
    """Return the first notifications, as many as are held at once, and at least one."""
    fit = first_within(rows, lambda row: len(row.body), _MOST_BYTES)
    return [PendingNotification(*row) for row in fit]
