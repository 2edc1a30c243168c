"""The times that a clock far ahead gave to what was said and done, corrected once it is right."""

from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select, update

from jarvis_recorder.retention_policy import FUTURE, UNSET
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.tables import incident_actions, incident_signals
from jarvis_recorder.wire.times import EARLIEST, LATEST, to_datetime

_signals: Final = incident_signals.c
_actions: Final = incident_actions.c


def end_of_known(now: int, known_good: int | None) -> int:
    """
    Return the time after which nothing can have been said or done yet.

    A clock that is behind a time known to be good proves nothing, nor does one that was never set.
    """
    latest = max(now, known_good or now)
    return LATEST if latest < UNSET else min(latest + FUTURE, LATEST)


def date_back(
    connection: Connection, condition_id: int, key: str, *, end: int, before: int
) -> None:
    """
    Date what was said and done of a condition after `end` to just before a time, in its order.

    It stays behind all that is dated rightly, as that had been heard by then. The condition has to
    be folded again.
    """
    of_signals, of_actions = _signals.condition_id == condition_id, _actions.key == key
    dated = (
        (_signals.timestamp, of_signals), (_signals.problem_at, of_signals),
        (_actions.timestamp, of_actions),
    )  # fmt: skip
    last, newest = to_datetime(end), EARLIEST
    ahead: set[Any] = set()
    for column, is_of in dated:
        ahead |= {*connection.execute(select(column).where(is_of, column > last)).scalars()}
        known = select(micros(func.max(column))).where(is_of, column <= last)
        newest = max(newest, connection.execute(known).scalar() or newest)
    begin = max(before - len(ahead), newest + 1)
    moved = [
        {"old": old, "new": to_datetime(begin + place)} for place, old in enumerate(sorted(ahead))
    ]
    for column, is_of in dated if moved else ():
        old, new = (bindparam(name, type_=column.type) for name in ("old", "new"))
        statement = update(column.table).where(is_of, column == old).values({column: new})
        connection.execute(statement, moved)
