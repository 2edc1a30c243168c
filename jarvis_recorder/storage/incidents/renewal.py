"""The deletion of what other rules made of the events, before the incidents are made again."""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NamedTuple, get_args

from sqlalchemy import (
    Connection,
    Table,
    and_,
    case,
    delete,
    exists,
    insert,
    literal,
    or_,
    select,
    update,
)

from jarvis_recorder.incidents.rules import Rules
from jarvis_recorder.incidents.signals import Effect
from jarvis_recorder.storage.incidents.fold import ReadSignal
from jarvis_recorder.storage.incidents.pruning import FORGETTING, FORGOTTEN, newest_event
from jarvis_recorder.storage.tables import (
    incident_actions,
    incident_conditions,
    incident_progress,
    incident_signals,
    incidents,
    silences,
)
from jarvis_recorder.wire.measures import ObjectKind

_AT_ONCE: Final = 1_000

_conditions: Final = incident_conditions.c
_signals: Final = incident_signals.c
_BY_PEOPLE: Final = (incident_actions, silences)

ReadSome = Callable[[Connection, Collection[int], int], tuple[Iterable[ReadSignal], int]]
"""Reads these of the events up to one, or the first of them; returns what they say, and up to where."""


class _Walked(NamedTuple):
    """The last event and the last condition of which all is done; their ids are never below 1."""

    event_id: int = 0
    condition_id: int = 0


class Renewal:
    """
    The deletion of what the former rules derived, 1,000 rows a step; then all events are read again.

    People's actions and the signals of pruned events are kept; actions are copied to the new key of
    a condition. It resumes after a restart, with these rules or with the former ones.
    """

    def __init__(self, read: ReadSome) -> None:
        self._read = read
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
        ids = [row.id for row in found]
        upto = self._take_along(connection, ids, found[-1].event_id)
        # The last event may have another signal behind these.
        behind = found[-1].event_id - 1 if len(found) == _AT_ONCE else found[-1].event_id
        these = _signals.id.in_([row.id for row in found if row.event_id <= upto])
        connection.execute(
            delete(incident_signals).where(these, _signals.condition_id != FORGOTTEN)
        )
        self._walked = self._walked._replace(event_id=min(behind, upto))
        return True

    def _take_along(self, connection: Connection, signals: Collection[int], upto: int) -> int:
        """
        Copy what people did to the keys that these rules give to the problems among some signals.

        The former keys have it still, for the pruned events. It reads the events again, as many as
        a step may; return the one up to which it is done.
        """
        has_any = or_(*(_conditions.key.in_(select(table.c.key)) for table in _BY_PEOPLE))
        problems = (
            select(_signals.event_id, _conditions.key)
            .join(incident_conditions, _conditions.id == _signals.condition_id)
            .where(_signals.id.in_(signals), _signals.effect == int(Effect.PROBLEM), has_any)
        )
        former = {row.event_id: row.key for row in connection.execute(problems)}
        if not former:
            return upto
        read, upto = self._read(connection, former.keys(), upto)
        for before, key in {(former[one.event_id], one.condition.key) for one in read}:
            for table in _BY_PEOPLE if key != before else ():
                _copy(connection, table, before, key)
        return upto

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


def _copy(connection: Connection, table: Table, before: str, key: str) -> None:
    """Copy what people did under a key to another one, which may have some of it already."""
    kept = [column for column in table.c if column.name not in ("id", "key")]
    there = table.alias()
    is_there = exists().where(
        there.c.key == key, *(there.c[one.name].is_not_distinct_from(one) for one in kept)
    )
    missing = select(literal(key), *kept).where(table.c.key == before, ~is_there)
    names = ["key", *(one.name for one in kept)]
    connection.execute(insert(table).from_select(names, missing))


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
