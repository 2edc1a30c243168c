"""Questions about conversations."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
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
from jarvis_recorder.storage.cursors import read_cursor
from jarvis_recorder.storage.json_rows import Line, RowsOf, write_page
from jarvis_recorder.storage.present import end_of_present
from jarvis_recorder.storage.reading import Reading
from jarvis_recorder.storage.search import (
    Phrase,
    as_prefix,
    match,
    match_one_by_one,
    phrases_of,
    snippet,
)
from jarvis_recorder.storage.sqlite import driver_of
from jarvis_recorder.storage.tables import conversations
from jarvis_recorder.wire.questions import GetTurn, ListSessions, ListTurns, SearchTurns
from jarvis_recorder.wire.times import format_rfc3339, to_micros

TURNS: Final = RowsOf(conversations, ("tool_calls", "extra"), text="content")

_columns: Final = conversations.c
_TIME: Final = type_coerce(_columns.timestamp, Integer())
_words: Final = table("conversations_fts", column("rowid"))
_MATCHES: Final = literal_column("conversations_fts").op("MATCH")
_RANK: Final[ColumnElement[float]] = literal_column("conversations_fts.rank")
_NEWEST_FIRST: Final = _words.c.rowid.desc()
# A phrase that more turns hold says little about any of them. To rank by it, FTS5 would have to
# look at every one of those.
_MOST_RANKED: Final = 1_000
_MOST_LOOKED_AT: Final = 10_000
# As much of a turn as is looked through for its best part.
_BEGINNING: Final = "SELECT substr(content, 1, 16384) FROM conversations WHERE id = ?"


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
    end = start + question.limit + 1
    whole = phrases_of(question.query)
    phrases, found = whole, _first(reading, question, whole, end)
    if not found:
        # Not of those that are words: the turns with any that begin like a common one are many.
        phrases = [one if _held(reading, one, 1) else as_prefix(one) for one in whole]
        if phrases != whole:
            found = _first(reading, question, phrases, end)
    lines = _shown(reading, phrases, found[start:end], start)
    return write_page(reading, question, "turns", lines)


def _first(
    reading: Reading, question: SearchTurns, phrases: Sequence[Phrase], end: int
) -> Sequence[int]:
    """Return the turns that hold all of the phrases, or the first ones of them, in their order."""
    if not phrases:
        return []
    holding = _turns_with(question, match_one_by_one(reading.connection, phrases))
    # Of all turns that hold the only phrase, the count that follows is the same.
    is_counted = len(phrases) == 1 and question.session_id is None
    telling = [one for one in phrases if _may_tell(reading, one, is_counted=is_counted)]
    if not telling or _count(reading, holding, _MOST_RANKED + 1) > _MOST_RANKED:
        return _ids(reading, holding.order_by(_NEWEST_FIRST).limit(end))
    best_first = _turns_with(question, match(telling)).order_by(_RANK, _NEWEST_FIRST)
    if telling == phrases:
        return _ids(reading, best_first.limit(end))
    are_holding = set(_ids(reading, holding))
    return [one for one in _ids(reading, best_first) if one in are_holding]


def _ids(reading: Reading, turns: Select[Any]) -> Sequence[int]:
    return reading.connection.execute(turns).scalars().all()


def _may_tell(reading: Reading, phrase: Phrase, *, is_counted: bool) -> bool:
    """
    Return whether few enough turns hold a phrase to rank by it; `is_counted`: the caller counts.

    A phrase of words that all are in a good part of the turns is taken for one of them: to find
    the few turns in which they stand together, each of those has to be looked at.
    """
    words = phrase.words_apart()
    if len(words) > 1 and all(
        _held(reading, word, _MOST_LOOKED_AT + 1) > _MOST_LOOKED_AT for word in words
    ):
        return False
    return is_counted or _held(reading, phrase, _MOST_RANKED + 1) <= _MOST_RANKED


def _held(reading: Reading, phrase: Phrase, most: int) -> int:
    """Return how many turns hold a phrase, of which so many are counted."""
    matches = _MATCHES(match_one_by_one(reading.connection, [phrase]))
    return _count(reading, select(_words.c.rowid).where(matches), most)


def _count(reading: Reading, turns: Select[Any], most: int) -> int:
    counted = select(func.count()).select_from(turns.limit(most).subquery())
    return int(reading.connection.execute(counted).scalar_one())


def _turns_with(question: SearchTurns, phrases: str) -> Select[Any]:
    """Select the ids of the turns that hold all of the phrases, in FTS5's language."""
    turns = select(_words.c.rowid).where(_MATCHES(phrases))
    if question.session_id is not None:
        of_session = _columns.session_id == question.session_id
        first, last = (select(end(_columns.id)).where(of_session) for end in (func.min, func.max))
        turns = turns.join_from(_words, conversations, _columns.id == _words.c.rowid).where(
            of_session,
            _words.c.rowid >= first.scalar_subquery(),
            _words.c.rowid <= last.scalar_subquery(),
        )
    return turns


def _shown(
    reading: Reading, phrases: Sequence[Phrase], found: Sequence[int], start: int
) -> Iterator[Line]:
    """Yield the turns of these ids, each with the part of it that fits the query best."""
    driver = driver_of(reading.connection)
    for number, turn_id in enumerate(found, start + 1):
        reading.go_on()
        turn = TURNS.write(reading.connection, turn_id)
        if turn is None:
            # Deleted by another program, which has not told the index.
            continue
        (content,) = driver.execute(_BEGINNING, (turn_id,)).fetchone()
        shown = snippet(content, phrases)
        text = b'{"turn":%b,"snippet":%b,"highlights":%b}' % (
            turn.text,
            to_json(shown.text),
            to_json(shown.highlights),
        )
        yield Line(text, (number,), turn.read)
