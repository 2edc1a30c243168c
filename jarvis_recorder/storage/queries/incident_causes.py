"""The incidents of nodes that the incidents of guests are a part of."""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from jarvis_recorder.incidents.signals import Effect
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.tables import (
    Instant,
    incident_conditions,
    incident_signals,
    incidents,
)
from jarvis_recorder.wire.times import EARLIEST, LATEST

# A guest may be reported some seconds before its node, or with the next look.
_TOGETHER: Final = 120 * 1_000_000

_conditions: Final = incident_conditions.c
_signals: Final = incident_signals.c
_stored: Final = incidents.c

# Made once: SQLAlchemy takes longer to make one than a file does to answer it.
_COVERING: Final = (
    select(_conditions.id, _conditions.key)
    .where(
        _conditions.covers,
        _conditions.node == bindparam("node"),
        func.coalesce(_conditions.cluster, "") == bindparam("cluster"),
    )
    .order_by(_conditions.id)
)
_SAID: Final = (
    select(micros(_signals.timestamp).label("at"), _signals.effect)
    .where(
        _signals.condition_id == bindparam("condition_id"),
        _signals.effect.in_((int(Effect.PROBLEM), int(Effect.RECOVERY))),
        _signals.timestamp <= bindparam("at", type_=Instant()),
    )
    .order_by(_signals.timestamp.desc(), _signals.effect.desc())
    .limit(1)
)
_BEGUN: Final = (
    select(
        micros(_stored.first_at).label("first_at"), micros(_stored.resolved_at).label("resolved_at")
    )
    .where(
        _stored.condition_id == bindparam("condition_id"),
        _stored.first_at <= bindparam("at", type_=Instant()),
    )
    .order_by(_stored.first_at.desc())
    .limit(1)
)


class _Stretch(NamedTuple):
    """
    A stretch of time in which nothing was said of a node, and what was so by then.

    `first_at` is the beginning of its incident, None if there was none, and `down_until` the last
    time at which it was down.
    """

    begin: int
    end: int
    first_at: int | None = None
    down_until: int = EARLIEST


class Causes:
    """
    The nodes' incidents as one transaction sees them.

    When a node fails, so do its guests, at about one time: what was looked up for one of them is so
    for most of the others.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._covering: dict[tuple[str, str], Sequence[tuple[int, str]]] = {}
        self._stretches: dict[int, list[_Stretch]] = defaultdict(list)

    def of(self, cluster: str, node: str, failed_at: int) -> tuple[str, int] | None:
        """
        Return the condition and the beginning of the incident that a guest of a node failed with.

        It is None where the node was up then.
        """
        for condition_id, key in self._conditions(cluster, node):
            stretch = self._stretch(condition_id, min(LATEST, failed_at + _TOGETHER))
            if stretch.first_at is not None and stretch.down_until >= failed_at - _TOGETHER:
                return key, stretch.first_at
        return None

    def _conditions(self, cluster: str, node: str) -> Sequence[tuple[int, str]]:
        place = (cluster, node)
        if place not in self._covering:
            asked = {"cluster": cluster, "node": node}
            rows = self._connection.execute(_COVERING, asked)
            self._covering[place] = [(row.id, row.key) for row in rows]
        return self._covering[place]

    def _stretch(self, condition_id: int, at: int) -> _Stretch:
        known = self._stretches[condition_id]
        place = bisect_right(known, at, key=attrgetter("begin")) - 1
        if place >= 0 and at <= known[place].end:
            return known[place]
        found = self._looked_up(condition_id, at)
        insort(known, found)
        return found

    def _looked_up(self, condition_id: int, at: int) -> _Stretch:
        """Return the stretch up to a time since the last signal, or incident, before it."""
        asked = {"condition_id": condition_id, "at": at}
        said = self._connection.execute(_SAID, asked).first()
        if said is None:
            return _Stretch(EARLIEST, at)
        begun = self._connection.execute(_BEGUN, asked).first()
        if begun is None:
            return _Stretch(said.at, at)
        ends = [LATEST if said.effect == Effect.PROBLEM else said.at]
        if begun.resolved_at is not None:
            ends.append(begun.resolved_at)
        return _Stretch(max(said.at, begun.first_at), at, begun.first_at, min(ends))
