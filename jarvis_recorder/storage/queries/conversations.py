"""Queries for turns."""

from typing import Final

from sqlalchemy import Select, select, tuple_

from jarvis_recorder.errors import NotFound
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.cursors import Beyond, read_cursor, row_of
from jarvis_recorder.storage.queries.json_rows import RowsOf, write_page
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.tables import conversations
from jarvis_recorder.wire.rpc.params import GetTurn, ListTurns

TURNS: Final = RowsOf(conversations, ("tool_calls", "extra"), text="content")

_columns: Final = conversations.c
_PLACE: Final = (_columns.timestamp, _columns.id)
_AT: Final = tuple_(*_PLACE)


def list_turns(reading: Reading, params: ListTurns) -> bytes:
    """
    Return a page of the turns of a conversation.

    Raises:
        NotFound: It has no such turn to begin around.
    """
    is_newest = params.order == "newest"
    following = _turns_of(params.session_id, newest_first=is_newest).limit(params.limit + 1)
    if (position := read_cursor(params, int, int)) is not None:
        following = following.where(*Beyond(position, is_above=not is_newest).only(*_PLACE))
    elif params.around is not None:
        first = row_of(_first_around(reading, params, newest_first=is_newest), *_PLACE)
        following = following.where(first >= _AT if is_newest else first <= _AT)
    return write_page(reading, params, "turns", TURNS.lines(reading, reading.places(following)))


def _turns_of(session_id: str, *, newest_first: bool) -> Select[tuple[int, int]]:
    """Select time and id of the turns of a conversation, in order."""
    turns = select(micros(_columns.timestamp), _columns.id).where(_columns.session_id == session_id)
    return turns.order_by(*(one.desc() if newest_first else one for one in _PLACE))


def _first_around(reading: Reading, params: ListTurns, *, newest_first: bool) -> tuple[int, int]:
    """Return the place of the first turn of a page that has a turn in its middle."""
    turn = _turns_of(params.session_id, newest_first=False).where(_columns.id == params.around)
    found = reading.places(turn)
    if not found:
        raise NotFound(f"the conversation has no turn {params.around}")
    back = _turns_of(params.session_id, newest_first=not newest_first).limit(params.limit // 2)
    beyond = Beyond(found[0], is_above=newest_first)
    before = reading.places(back.where(*beyond.only(*_PLACE)))
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
    ListTurns: Query(list_turns),
    GetTurn: Query(get_turn, Pace.LOOK_UP),
}
