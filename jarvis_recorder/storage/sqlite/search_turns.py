"""The search of conversations with the FTS5 index."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import (
    ColumnElement,
    Select,
    column,
    func,
    literal_column,
    select,
    table,
)

from jarvis_recorder.storage.queries.conversations import TURNS
from jarvis_recorder.storage.queries.cursors import read_cursor
from jarvis_recorder.storage.queries.json_rows import Line, write_page
from jarvis_recorder.storage.queries.phrases import Phrase, as_prefix, phrases_of, snippet
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.sqlite.connections import driver_of
from jarvis_recorder.storage.sqlite.search import match, match_one_by_one
from jarvis_recorder.storage.tables import conversations
from jarvis_recorder.wire.rpc.params import SearchTurns

_words: Final = table("conversations_fts", column("rowid"))
_MATCHES: Final = literal_column("conversations_fts").op("MATCH")
_RANK: Final[ColumnElement[float]] = literal_column("conversations_fts.rank")
_NEWEST_FIRST: Final = _words.c.rowid.desc()
# A phrase in more turns than this says little about any of them, and to rank by it FTS5 would
# have to read every one of them.
_MOST_RANKED: Final = 1_000
_MOST_LOOKED_AT: Final = 10_000
# The part of a turn that is searched for the snippet.
_BEGINNING: Final = "SELECT substr(content, 1, 16384) FROM conversations WHERE id = ?"


def search_turns(reading: Reading, params: SearchTurns) -> bytes:
    """
    Return a page of the turns that contain every phrase of the query, best first.

    If none does, each word that no turn contains counts as a prefix. Phrases in very many turns
    do not count for the rank; if there are no others, the newest turns come first.
    """
    position = read_cursor(params, int)
    start = max(0, int(position[0])) if position is not None else 0
    end = start + params.limit + 1
    whole = phrases_of(params.query)
    phrases, found = whole, _first(reading, params, whole, end)
    if not found:
        # Not for words that occur: as prefixes, common words would match too many turns.
        phrases = [one if _held(reading, one, 1) else as_prefix(one) for one in whole]
        if phrases != whole:
            found = _first(reading, params, phrases, end)
    lines = _shown(reading, phrases, found[start:end], start)
    return write_page(reading, params, "turns", lines)


def _first(
    reading: Reading, params: SearchTurns, phrases: Sequence[Phrase], end: int
) -> Sequence[int]:
    """Return the ids of the turns with all of the phrases, in order, at least the first `end`."""
    if not phrases:
        return []
    holding = _turns_with(params, match_one_by_one(reading.connection, phrases))
    # Of all turns that hold the only phrase, the count that follows is the same.
    is_counted = len(phrases) == 1 and params.session_id is None
    telling = [one for one in phrases if _may_tell(reading, one, is_counted=is_counted)]
    if not telling or _count(reading, holding, _MOST_RANKED + 1) > _MOST_RANKED:
        return _ids(reading, holding.order_by(_NEWEST_FIRST).limit(end))
    best_first = _turns_with(params, match(telling)).order_by(_RANK, _NEWEST_FIRST)
    if telling == phrases:
        return _ids(reading, best_first.limit(end))
    are_holding = set(_ids(reading, holding))
    return [one for one in _ids(reading, best_first) if one in are_holding]


def _ids(reading: Reading, turns: Select[Any]) -> Sequence[int]:
    return reading.connection.execute(turns).scalars().all()


def _may_tell(reading: Reading, phrase: Phrase, *, is_counted: bool) -> bool:
    """
    Return whether few enough turns hold a phrase to rank by it; `is_counted`: the caller counts.

    A phrase of common words alone counts as common: to find the few turns in which the words
    are adjacent, every turn with them would have to be read. The caller counts an only phrase.
    """
    words = phrase.words_apart()
    if len(words) > 1 and all(
        _held(reading, word, _MOST_LOOKED_AT + 1) > _MOST_LOOKED_AT for word in words
    ):
        return False
    return is_counted or _held(reading, phrase, _MOST_RANKED + 1) <= _MOST_RANKED


def _held(reading: Reading, phrase: Phrase, most: int) -> int:
    """Return how many turns contain a phrase, counted up to `most`."""
    matches = _MATCHES(match_one_by_one(reading.connection, [phrase]))
    return _count(reading, select(_words.c.rowid).where(matches), most)


def _count(reading: Reading, turns: Select[Any], most: int) -> int:
    counted = select(func.count()).select_from(turns.limit(most).subquery())
    return int(reading.connection.execute(counted).scalar_one())


def _turns_with(params: SearchTurns, phrases: str) -> Select[Any]:
    """Select the ids of the turns that match an FTS5 query."""
    turns = select(_words.c.rowid).where(_MATCHES(phrases))
    if params.session_id is not None:
        of_session = conversations.c.session_id == params.session_id
        first, last = (
            select(end(conversations.c.id)).where(of_session) for end in (func.min, func.max)
        )
        turns = turns.join_from(_words, conversations, conversations.c.id == _words.c.rowid).where(
            of_session,
            _words.c.rowid >= first.scalar_subquery(),
            _words.c.rowid <= last.scalar_subquery(),
        )
    return turns


def _shown(
    reading: Reading, phrases: Sequence[Phrase], found: Sequence[int], start: int
) -> Iterator[Line]:
    """Yield the turns of these ids, each with the snippet that fits the query best."""
    driver = driver_of(reading.connection)
    for number, turn_id in enumerate(found, start + 1):
        reading.go_on()
        turn = TURNS.write(reading.connection, turn_id)
        if turn is None:
            # Deleted by another program, which has not updated the index.
            continue
        (content,) = driver.execute(_BEGINNING, (turn_id,)).fetchone()
        shown = snippet(content, phrases)
        text = b'{"turn":%b,"snippet":%b,"highlights":%b}' % (
            turn.text,
            to_json(shown.text),
            to_json(shown.highlights),
        )
        yield Line(text, (number,), turn.read)


QUERIES: Final[Queries] = {SearchTurns: Query(search_turns, Pace.SCAN)}
