"""The events that no transaction under way can still precede."""

from collections import deque
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

_MOST_REMEMBERED: Final = 100
# The numbers of transactions: all before the first have ended, none from the second on had begun.
_LOOK: Final = text(
    "SELECT (SELECT coalesce(max(id), 0) FROM events),"
    " pg_snapshot_xmin(pg_current_snapshot())::text::bigint,"
    " pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
)


class _Seen(NamedTuple):
    """The highest id that was visible, and the transactions that may precede it end before."""

    newest: int
    before: int | None


class Horizon:
    """
    A function that returns an id of an event up to which none can be added any more.

    Several recorders insert at once, and a lower id may be committed later than a higher one. An id
    that was visible is final once the transactions have ended that had begun by the look after:
    by then each that took an id before has its number.
    """

    def __init__(self) -> None:
        self._seen: deque[_Seen] = deque(maxlen=_MOST_REMEMBERED)
        self._final = 0

    def __call__(self, connection: Connection) -> int:
        newest, ended, not_begun = connection.execute(_LOOK).one()
        if self._seen and self._seen[-1].before is None:
            self._seen[-1] = self._seen[-1]._replace(before=not_begun)
        while self._seen and (before := self._seen[0].before) is not None and before <= ended:
            self._final = self._seen.popleft().newest
        if newest > (self._seen[-1].newest if self._seen else self._final):
            self._seen.append(_Seen(newest, None))
        return self._final
