"""Queries for conversations and turns."""

from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import BigInteger, ColumnElement, Select, func, literal, select, tuple_

from jarvis_recorder.errors import NotFound
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.cursors import read_cursor
from jarvis_recorder.storage.queries.json_rows import Line, RowsOf, write_page
from jarvis_recorder.storage.queries.present import end_of_present
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.tables import Instant, conversations
from jarvis_recorder.wire.rpc.params import GetTurn, ListSessions, ListTurns
from jarvis_recorder.wire.times import format_rfc3339

TURNS: Final = RowsOf(conversations, ("tool_calls", "extra"), text="content")

_columns: Final = conversations.c
_AT: Final = tuple_(_columns.timestamp, _columns.id)


def list_sessions(clock: Clock, reading: Reading, params: ListSessions) -> bytes:
    """Return a page of conversations, latest first; see `end_of_present`."""
    first, last = func.min(_columns.timestamp), func.max(_columns.timestamp)
    latest = select(
        _columns.session_id,
        micros(first).label("first_at"),
        micros(last).label("last_at"),
        func.count(),
    ).group_by(_columns.session_id)
    if params.since is not None:
        latest = latest.having(last >= params.since)
    if params.until is not None:
        latest = latest.having(first < params.until)
    else:
        latest = latest.where(_columns.timestamp < end_of_present(clock))
    if (position := read_cursor(params, int, str)) is not None:
        end = tuple_(literal(position[0], Instant()), literal(position[1]))
        latest = latest.having(tuple_(last, _columns.session_id) < end)
    latest = latest.order_by(last.desc(), _columns.session_id.desc()).limit(params.limit + 1)
    lines = (_session(row) for row in reading.rows(latest))
    return write_page(reading, params, "sessions", lines)


def _session(row: Any) -> Line:
    session_id, first, last, turns = row
    fields = {
        "session_id": session_id,
        "first_at": format_rfc3339(first),
        "last_at": format_rfc3339(last),
        "turns": turns,
    }
    return Line(to_json(fields), (last, session_id))


def list_turns(reading: Reading, params: ListTurns) -> bytes:
    """
    Return a page of the turns of a conversation.

    Raises:
        NotFound: It has no such turn to begin around.
    """
    is_newest = params.order == "newest"
    following = _turns_of(params.session_id, newest_first=is_newest).limit(params.limit + 1)
    if (position := read_cursor(params, int, int)) is not None:
        end = _place(*position)
        following = following.where(end > _AT if is_newest else end < _AT)
    elif params.around is not None:
        first = _place(*_first_around(reading, params, newest_first=is_newest))
        following = following.where(first >= _AT if is_newest else first <= _AT)
    return write_page(reading, params, "turns", TURNS.lines(reading, reading.places(following)))


def _turns_of(session_id: str, *, newest_first: bool) -> Select[tuple[int, int]]:
    """Select time and id of the turns of a conversation, in order."""
    order = (_columns.timestamp, _columns.id)
    turns = select(micros(_columns.timestamp), _columns.id).where(_columns.session_id == session_id)
    return turns.order_by(*(one.desc() if newest_first else one for one in order))


def _place(at: Any, turn_id: Any) -> ColumnElement[Any]:
    return tuple_(literal(at, Instant()), literal(turn_id, BigInteger()))


def _first_around(reading: Reading, params: ListTurns, *, newest_first: bool) -> tuple[int, int]:
    """Return the place of the first turn of a page that has a turn in its middle."""
    turn = _turns_of(params.session_id, newest_first=False).where(_columns.id == params.around)
    found = reading.places(turn)
    if not found:
        raise NotFound(f"the conversation has no turn {params.around}")
    back = _turns_of(params.session_id, newest_first=not newest_first).limit(params.limit // 2)
    middle = _place(*found[0])
    before = reading.places(back.where(middle < _AT if newest_first else middle > _AT))
    return before[-1] if before else found[0]


def get_turn(reading: Reading, params: GetTurn) -> bytes:
    """
    Return one turn.

    Raises:
        NotFound: No turn has this id.
        MoreRoomNeeded: It is larger than the room.
    """
    turn = TURNS.one(reading, params.id)
    if turn is None:
        raise NotFound(f"there is no turn {params.id}")
    return b'{"turn":%b}' % turn


QUERIES: Final[Queries] = {
    ListSessions: Query(list_sessions, Pace.SCAN, needs_clock=True),
    ListTurns: Query(list_turns),
    GetTurn: Query(get_turn, Pace.LOOK_UP),
}
