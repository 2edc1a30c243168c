"""The search of conversations with the FTS5 index."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

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

from jarvis_recorder.storage.queries.phrases import Phrase, as_prefix
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.queries.search_pages import BEGINNING_CHARACTERS, search_page
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
_BEGINNING: Final = "SELECT substr(content, 1, ?2) FROM conversations WHERE id = ?1"


def search_turns(reading: Reading, params: SearchTurns) -> bytes:
    """
    Return a page of the turns that contain every phrase of the query; see `search_page`.

    Phrases in very many turns do not count for the rank; if there are no others, the newest turns
    come first.
    """
    return search_page(reading, params, partial(_Search, reading, params))


class _Search:
    """The implementation of `Search`, which spells out and counts each phrase only once."""

    def __init__(self, reading: Reading, params: SearchTurns, upto: int | None) -> None:
        self._reading = reading
        self._params = params
        self._upto = upto
        self._spelt: dict[Phrase, str] = {}
        self._counted: dict[Phrase, tuple[int, int]] = {}
        """The turns that hold a phrase, and the number up to which they were counted."""

    def to_be_ranked(self, phrases: Sequence[Phrase]) -> Sequence[int] | None:
        """Return the turns with all of the phrases; None if they are too many, or no phrase tells."""
        if not self._telling(phrases):
            return None
        found = self.hits(phrases, _MOST_RANKED + 1)
        return found if len(found) <= _MOST_RANKED else None

    def hits(self, phrases: Sequence[Phrase], most: int) -> Sequence[int]:
        """Return the turns with all of the phrases, newest first, `most` at most."""
        return self.newest(phrases, most)

    def newest(self, phrases: Sequence[Phrase], most: int) -> Sequence[int]:
        """Return the newest turns with all of the phrases, `most` at most."""
        holding = self._turns_with(" AND ".join(map(self._one_by_one, phrases)))
        return self._ids(holding.order_by(_NEWEST_FIRST).limit(most))

    def best_first(self, phrases: Sequence[Phrase], turns: Sequence[int]) -> Sequence[int]:
        """Return these turns in the order of their rank; newest first where no phrase tells."""
        if not (telling := self._telling(phrases)):
            return turns
        best_first = self._turns_with(match(telling)).order_by(_RANK, _NEWEST_FIRST)
        these = set(turns)
        return [one for one in self._ids(best_first) if one in these]

    def beginning(self, turn_id: int) -> str | None:
        """Return the part of a turn that is searched for the snippet, None if there is no such turn."""
        driver = driver_of(self._reading.connection)
        row = driver.execute(_BEGINNING, (turn_id, BEGINNING_CHARACTERS)).fetchone()
        return None if row is None else row[0]

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

    def _telling(self, phrases: Sequence[Phrase]) -> list[Phrase]:
        """Return the phrases to rank by; of a first page an only one even if too many turns hold it."""
        # What it finds is counted next, and is the same.
        is_counted = len(phrases) == 1 and self._params.session_id is None and self._upto is None
        return [one for one in phrases if self._may_tell(one, is_counted=is_counted)]

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
            held = self._up_to(select(_words.c.rowid).where(matches))
            count = self._count(held, most)
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

    def _turns_with(self, phrases: str) -> Select[Any]:
        """Select the ids of the turns that match an FTS5 query."""
        turns = select(_words.c.rowid).where(_MATCHES(phrases))
        if self._params.session_id is not None:
            of_session = conversations.c.session_id == self._params.session_id
            first, last = (
                select(end(conversations.c.id)).where(of_session) for end in (func.min, func.max)
            )
            same_row = conversations.c.id == _words.c.rowid
            turns = turns.join_from(_words, conversations, same_row).where(
                of_session,
                _words.c.rowid >= first.scalar_subquery(),
                _words.c.rowid <= last.scalar_subquery(),
            )
        return self._up_to(turns)

    def _up_to(self, turns: Select[Any]) -> Select[Any]:
        return turns if self._upto is None else turns.where(_words.c.rowid <= self._upto)


QUERIES: Final[Queries] = {SearchTurns: Query(search_turns, Pace.SCAN)}
