"""Questions about conversations."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import (
    Integer,
    Select,
    bindparam,
    column,
    func,
    literal,
    literal_column,
    select,
    table,
    tuple_,
    type_coerce,
)

from jarvis_recorder.errors import NotFound
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.queries.cursors import read_cursor
from jarvis_recorder.storage.queries.json_rows import Line, RowsOf, write_page
from jarvis_recorder.storage.queries.present import end_of_present
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.sqlite.search import Phrase, as_prefix, match, phrases_of, snippet
from jarvis_recorder.storage.tables import conversations
from jarvis_recorder.wire.rpc.params import GetTurn, ListSessions, ListTurns, SearchTurns
from jarvis_recorder.wire.times import format_rfc3339, to_micros

TURNS: Final = RowsOf(conversations, ("tool_calls", "extra"), text="content")

_columns: Final = conversations.c
_TIME: Final = type_coerce(_columns.timestamp, Integer())
_words: Final = table("conversations_fts", column("rowid"))
_MATCHES: Final = literal_column("conversations_fts").op("MATCH")
# A phrase that more turns hold says little about any of them. To rank by it, FTS5 would have to
# look at every one of those.
_MOST_RANKED: Final = 2_000
# As much of a turn as is looked through for its best part.
_BEGINNING: Final = select(func.substr(_columns.content, 1, 16_384)).where(
    _columns.id == bindparam("id")
)


def list_sessions(clock: Clock, reading: Reading, question: ListSessions) -> bytes:
    """Return a page of conversations, the latest first; see `end_of_present`."""
    first, last = func.min(_TIME), func.max(_TIME)
    latest = select(
        _columns.session_id, first.label("first_at"), last.label("last_at"), func.count()
    ).group_by(_columns.session_id)
    if question.since is not None:
        latest = latest.having(last >= to_micros(question.since))
    if question.until is not None:
        latest = latest.having(first < to_micros(question.until))
    else:
        latest = latest.where(_columns.timestamp < end_of_present(clock))
    if (position := read_cursor(question, int, str)) is not None:
        end = tuple_(literal(position[0], Integer()), literal(position[1]))
        latest = latest.having(tuple_(last, _columns.session_id) < end)
    latest = latest.order_by(last.desc(), _columns.session_id.desc()).limit(question.limit + 1)
    lines = (_session(row) for row in reading.rows(latest))
    return write_page(reading, question, "sessions", lines)


def _session(row: Any) -> Line:
    session_id, first, last, turns = row
    fields = {
        "session_id": session_id,
        "first_at": format_rfc3339(first),
        "last_at": format_rfc3339(last),
        "turns": turns,
    }
    return Line(to_json(fields), (last, session_id))


def list_turns(reading: Reading, question: ListTurns) -> bytes:
    """Return a page of the turns of a conversation, oldest first."""
    oldest_first = (
        select(_TIME, _columns.id)
        .where(_columns.session_id == question.session_id)
        .order_by(_columns.timestamp, _columns.id)
        .limit(question.limit + 1)
    )
    if (position := read_cursor(question, int, int)) is not None:
        end = tuple_(*(literal(part, Integer()) for part in position))
        oldest_first = oldest_first.where(tuple_(_TIME, _columns.id) > end)
    keys = reading.places(oldest_first)
    return write_page(reading, question, "turns", TURNS.lines(reading, keys))


def get_turn(reading: Reading, question: GetTurn) -> bytes:
    """
    Return one turn.

    Raises:
        NotFound: There is none of this id.
        MoreRoomNeeded: It is larger than the room.
    """
    turn = TURNS.one(reading, question.id)
    if turn is None:
        raise NotFound(f"there is no turn {question.id}")
    return b'{"turn":%b}' % turn


def search_turns(reading: Reading, question: SearchTurns) -> bytes:
    """
    Return a page of the turns that hold every phrase of the query, best first.

    If none does, each word that no turn holds counts as a prefix. Phrases that very many turns
    hold do not count for the rank; if there are no others, the newest turns come first.
    """
    position = read_cursor(question, int)
    start = max(0, int(position[0])) if position is not None else 0
    phrases, found = _holding(reading, question)
    telling = [one for one in phrases if _is_telling(reading, one, phrases, found)]
    wanted = question.limit + 1
    page: Sequence[int] = []
    if telling:
        page = _best_first(reading, telling, found)[start : start + wanted]
    elif found:
        newest_first = _turns_with(question, phrases).limit(wanted).offset(start)
        page = reading.connection.execute(newest_first).scalars().all()
    return write_page(reading, question, "turns", _shown(reading, phrases, page, start))


def _holding(reading: Reading, question: SearchTurns) -> tuple[list[Phrase], list[int]]:
    """Return what is looked for, and the newest turns that hold it: one more than are ranked."""
    whole = phrases_of(question.query)
    if not whole:
        return [], []
    if found := _newest(reading, question, whole):
        return whole, found
    # Not of those that are words: the turns with any that begin like a common one are many.
    begun = [one if _is_held(reading, one) else as_prefix(one) for one in whole]
    if begun != whole and (found := _newest(reading, question, begun)):
        return begun, found
    return [], []


def _newest(reading: Reading, question: SearchTurns, phrases: Sequence[Phrase]) -> list[int]:
    newest = _turns_with(question, phrases).limit(_MOST_RANKED + 1)
    return list(reading.connection.execute(newest).scalars())


def _is_held(reading: Reading, phrase: Phrase) -> bool:
    """Return whether any turn holds a phrase."""
    holding = select(_words.c.rowid).where(_MATCHES(match([phrase]))).limit(1)
    return reading.connection.execute(holding).first() is not None


def _turns_with(question: SearchTurns, phrases: Sequence[Phrase]) -> Select[Any]:
    """Select the ids of the turns that hold all of the phrases, the newest first."""
    turns = select(_words.c.rowid).where(_MATCHES(match(phrases)))
    if question.session_id is not None:
        of_session = _columns.session_id == question.session_id
        first, last = (select(end(_columns.id)).where(of_session) for end in (func.min, func.max))
        turns = turns.join_from(_words, conversations, _columns.id == _words.c.rowid).where(
            of_session,
            _words.c.rowid >= first.scalar_subquery(),
            _words.c.rowid <= last.scalar_subquery(),
        )
    return turns.order_by(_words.c.rowid.desc())


def _is_telling(
    reading: Reading, phrase: Phrase, phrases: Sequence[Phrase], found: Sequence[int]
) -> bool:
    """Return whether few enough turns hold a phrase to rank by it."""
    if len(found) > _MOST_RANKED:
        return False
    if len(phrases) == 1:
        return True
    holding = select(_words.c.rowid).where(_MATCHES(match([phrase]))).limit(_MOST_RANKED + 1)
    counted = select(func.count()).select_from(holding.subquery())
    return bool(reading.connection.execute(counted).scalar_one() <= _MOST_RANKED)


def _best_first(reading: Reading, telling: Sequence[Phrase], found: Sequence[int]) -> Sequence[int]:
    """Return the turns found, those first that hold the phrases best."""
    ranked = (
        select(_words.c.rowid)
        .where(_MATCHES(match(telling)), _words.c.rowid >= found[-1], _words.c.rowid <= found[0])
        .order_by(literal_column("conversations_fts.rank"), _words.c.rowid.desc())
    )
    are_found = set(found)
    best = reading.connection.execute(ranked).scalars()
    return [turn_id for turn_id in best if turn_id in are_found]


def _shown(
    reading: Reading, phrases: Sequence[Phrase], found: Sequence[int], start: int
) -> Iterator[Line]:
    """Yield the turns of these ids, each with the part of it that fits the query best."""
    for number, turn_id in enumerate(found, start + 1):
        reading.go_on()
        turn = TURNS.write(reading.connection, turn_id)
        if turn is None:
            # Deleted by another program, which has not told the index.
            continue
        content = reading.connection.execute(_BEGINNING, {"id": turn_id}).scalar_one()
        shown = snippet(content, phrases)
        text = b'{"turn":%b,"snippet":%b,"highlights":%b}' % (
            turn.text,
            to_json(shown.text),
            to_json(shown.highlights),
        )
        yield Line(text, (number,), turn.read)
