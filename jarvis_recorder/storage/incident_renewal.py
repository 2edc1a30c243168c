"""The deletion of what other rules made of the events, before the incidents are made again."""

from typing import Any, Final, NamedTuple, get_args

from sqlalchemy import Connection, and_, case, delete, exists, or_, select, update

from jarvis_recorder.incidents.rules import Rules
from jarvis_recorder.storage.incident_pruning import FORGETTING, FORGOTTEN, newest_event
from jarvis_recorder.storage.tables import (
    incident_conditions,
    incident_progress,
    incident_signals,
    incidents,
)
from jarvis_recorder.wire.measures import ObjectKind

_AT_ONCE: Final = 1_000

_conditions: Final = incident_conditions.c
_signals: Final = incident_signals.c


class _Walked(NamedTuple):
    """The last event and the last condition of which all is done; their ids are never below 1."""

    event_id: int = 0
    condition_id: int = 0


class Renewal:
    """
    The deletion, a thousand rows a step; then the events are read from the first again.

    What people did is kept, and what is pruned. After a restart, with these rules or with the
    former ones, it continues.
    """

    def __init__(self) -> None:
        self._committed = self._walked = _Walked()

    def committed(self) -> None:
        """Note that what the last step did is stored: the next one continues there."""
        self._committed = self._walked

    def step(self, connection: Connection, made_by: str, rules: Rules) -> bool:
        """Do a step; return whether events are read by these rules from now on."""
        self._walked = self._committed
        if made_by and made_by != FORGETTING:
            self._walked = _Walked()
            # What is recorded from now on is to be announced.
            told_after = newest_event(connection)
            _note(connection, rules=FORGETTING, told_after=told_after)
        if made_by and self._forget_some(connection, rules):
            return False
        _note(connection, rules=rules.version(), reached=0)
        return True

    def _forget_some(self, connection: Connection, rules: Rules) -> bool:
        """Delete some of what was made; return whether there may be more."""
        return (
            self._forget_signals(connection)
            or _forget_incidents(connection)
            or self._forget_conditions(connection, rules)
        )

    def _forget_signals(self, connection: Connection) -> bool:
        """Delete the signals of the next events, but not those of pruned events: they name none."""
        following = (
            select(_signals.id, _signals.event_id)
            .where(_signals.event_id > self._walked.event_id)
            .order_by(_signals.event_id, _signals.effect)
            .limit(_AT_ONCE)
        )
        found = connection.execute(following).all()
        if not found:
            return False
        # The last event may have another signal behind these.
        behind = found[-1].event_id - 1 if len(found) == _AT_ONCE else found[-1].event_id
        these = _signals.id.in_([row.id for row in found])
        connection.execute(
            delete(incident_signals).where(these, _signals.condition_id != FORGOTTEN)
        )
        self._walked = self._walked._replace(event_id=behind)
        return True

    def _forget_conditions(self, connection: Connection, rules: Rules) -> bool:
        """Delete the next conditions without a signal, and have the others folded again."""
        following = select(_conditions.id).where(_conditions.id > self._walked.condition_id)
        found = connection.execute(following.order_by(_conditions.id).limit(_AT_ONCE)).scalars()
        these = found.all()
        if not these:
            self._walked = _Walked()
            return False
        among = _conditions.id.in_(these)
        is_kept = exists().where(_signals.condition_id == _conditions.id)
        connection.execute(delete(incident_conditions).where(among, ~is_kept))
        kept = update(incident_conditions).where(among)
        connection.execute(kept.values(stale=True, **_ruled(rules)))
        self._walked = self._walked._replace(condition_id=these[-1])
        return True


def _forget_incidents(connection: Connection) -> bool:
    some = select(incidents.c.id).limit(_AT_ONCE)
    return connection.execute(delete(incidents).where(incidents.c.id.in_(some))).rowcount > 0


def _ruled(rules: Rules) -> dict[str, Any]:
    """Return what the rules say of conditions of which no event may be left."""
    as_before = [
        and_(
            _conditions.evidence == evidence,
            _conditions.kind.in_(
                [kind for kind, rule in rules.kinds.items() if rule.evidence == evidence]
            ),
        )
        for evidence in get_args(ObjectKind)
    ]
    return {
        "evidence": case((or_(*as_before), _conditions.evidence), else_=None),
        "covers": _conditions.kind.in_([kind for kind, rule in rules.kinds.items() if rule.covers]),
    }


def _note(connection: Connection, **values: Any) -> None:
    connection.execute(update(incident_progress).values(values))
