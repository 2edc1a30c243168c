"""The search of conversations with the FTS5 index."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import (
    ColumnElement,
    Result,
    Select,
    column,
    func,
    literal_column,
    select,
    table,
)

from jarvis_recorder.storage.queries.conversations import TURNS
from jarvis_recorder.storage.queries.cursors import read_place
from jarvis_recorder.storage.queries.json_rows import Line, write_page
from jarvis_recorder.storage.queries.phrases import (
    Phrase,
    as_prefix,
    phrases_of,
    require_few,
    snippet,
)
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

    Raises:
        InvalidParameter: The query has too many words, or too many prefixes.
    """
    start = read_place(params)
    end = start + params.limit + 1
    search = _Search(reading, params)
    phrases = phrases_of(params.query)
    require_few(phrases)
    found = search.first(phrases, end)
    if not found and (begun := search.with_prefixes(phrases)) != phrases:
        phrases, found = begun, search.first(begun, end)
    lines = _shown(reading, phrases, found[start:end], start)
    return write_page(reading, params, "turns", lines)


class _Search:
    """One search, which spells out and counts each phrase only once."""

    def __init__(self, reading: Reading, params: SearchTurns) -> None:
        self._reading = reading
        self._params = params
        self._spelt: dict[Phrase, str] = {}
        self._counted: dict[Phrase, tuple[int, int]] = {}
        """The turns that hold a phrase, and the number up to which they were counted."""

    def first(self, phrases: Sequence[Phrase], end: int) -> Sequence[int]:
        """Return the ids of the turns with all of the phrases, in order, at least the first `end`."""
        if not phrases:
            return []
        holding = _turns_with(self._params, " AND ".join(map(self._one_by_one, phrases)))
        # Of all turns that hold the only phrase, the count that follows is the same.
        is_counted = len(phrases) == 1 and self._params.session_id is None
        telling = [one for one in phrases if self._may_tell(one, is_counted=is_counted)]
        if not telling or self._count(holding, _MOST_RANKED + 1) > _MOST_RANKED:
            return self._ids(holding.order_by(_NEWEST_FIRST).limit(end))
        best_first = _turns_with(self._params, match(telling)).order_by(_RANK, _NEWEST_FIRST)
        if telling == phrases:
            return self._ids(best_first.limit(end))
        are_holding = set(self._ids(holding))
        return [one for one in self._ids(best_first) if one in are_holding]

    def with_prefixes(self, phrases: Sequence[Phrase]) -> list[Phrase]:
        """
        Return the phrases, as a prefix each one that no turn holds; all as they are if that is vain.

        Those that occur stay: as prefixes, common words would match too many turns.
        """
        begun = []
        for phrase in phrases:
            known = phrase if self._held(phrase, 1) else as_prefix(phrase)
            if not self._held(known, 1):
                return list(phrases)
            begun.append(known)
        return begun

    def _may_tell(self, phrase: Phrase, *, is_counted: bool) -> bool:
        """
        Return whether few enough turns hold a phrase to rank by it; `is_counted`: the caller counts.

        A phrase of common words alone counts as common: to find the few turns in which the words
        are adjacent, every turn with them would have to be read. The caller counts an only phrase.
        """
        words = phrase.words_apart()
        if len(words) > 1 and all(
            self._held(word, _MOST_LOOKED_AT + 1) > _MOST_LOOKED_AT for word in words
        ):
            return False
        return is_counted or self._held(phrase, _MOST_RANKED + 1) <= _MOST_RANKED

    def _held(self, phrase: Phrase, most: int) -> int:
        """Return how many turns contain a phrase, counted up to `most`."""
        count, bound = self._counted.get(phrase, (0, 0))
        if bound <= count < most:
            matches = _MATCHES(self._one_by_one(phrase))
            count = self._count(select(_words.c.rowid).where(matches), most)
            self._counted[phrase] = count, most
        return min(count, most)

    def _one_by_one(self, phrase: Phrase) -> str:
        if phrase not in self._spelt:
            self._spelt[phrase] = match_one_by_one(self._reading.connection, phrase)
        return self._spelt[phrase]

    def _count(self, turns: Select[Any], most: int) -> int:
        counted = select(func.count()).select_from(turns.limit(most).subquery())
        return int(self._execute(counted).scalar_one())

    def _ids(self, turns: Select[Any]) -> Sequence[int]:
        return self._execute(turns).scalars().all()

    def _execute(self, statement: Select[Any]) -> Result[Any]:
        self._reading.go_on()
        return self._reading.connection.execute(statement)


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
