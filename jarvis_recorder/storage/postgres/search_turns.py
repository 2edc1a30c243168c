"""The search of conversations by tsvector, with the words and snippets of SQLite's search."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, delete, func, literal_column, select, text
from sqlalchemy.engine import Connection

from jarvis_recorder.storage.erasure import MOST_TURNS, ErasedPart, Erasure, few_of, turns_to_go
from jarvis_recorder.storage.expired_rows import Position
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.postgres.vectors import LONGEST_WORD_BYTES
from jarvis_recorder.storage.queries.phrases import Phrase, as_prefix
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.queries.search_pages import BEGINNING_CHARACTERS, search_page
from jarvis_recorder.storage.tables import conversations
from jarvis_recorder.wire.rpc.params import SearchTurns

_columns: Final = conversations.c
_WORDS: Final[ColumnElement[Any]] = literal_column("conversations.words")
_NEWEST_FIRST: Final = _columns.id.desc()
# To rank more than these, every one of them would have to be read.
_MOST_RANKED: Final = 1_000


def search_turns(reading: Reading, params: SearchTurns) -> bytes:
    """Return a page of the turns that contain every phrase of the query; see `search_page`."""
    return search_page(reading, params, partial(_Search, reading, params))


class _Search:
    """The implementation of `Search`."""

    def __init__(self, reading: Reading, params: SearchTurns, upto: int | None) -> None:
        self._connection = reading.connection
        self._params = params
        self._upto = upto

    def with_prefixes(self, phrases: Sequence[Phrase]) -> list[Phrase]:
        """Return the phrases, those that no turn holds as prefixes."""
        return [one if self._is_held(one) else as_prefix(one) for one in phrases]

    def to_be_ranked(self, phrases: Sequence[Phrase]) -> Sequence[int] | None:
        """Return the turns with all of the phrases, newest first; None if they are too many."""
        found = self.hits(phrases, _MOST_RANKED + 1)
        return found if len(found) <= _MOST_RANKED else None

    def hits(self, phrases: Sequence[Phrase], most: int) -> Sequence[int]:
        """Return the turns with all of the phrases, newest first; of more than `most` any of them."""
        # Asked for their order, the server might read all turns in it until it has so many.
        return sorted(self._ids(self._with(phrases).limit(most)), reverse=True)

    def newest(self, phrases: Sequence[Phrase], most: int) -> Sequence[int]:
        """Return the newest turns with all of the phrases, `most` at most."""
        return self._ids(self._with(phrases).order_by(_NEWEST_FIRST).limit(most))

    def best_first(self, phrases: Sequence[Phrase], turns: Sequence[int]) -> Sequence[int]:
        """Return these turns in the order of their rank."""
        rank = func.ts_rank(_WORDS, _query(phrases))
        these = select(_columns.id).where(_columns.id.in_(turns))
        return self._ids(these.order_by(rank.desc(), _NEWEST_FIRST))

    def beginning(self, turn_id: int) -> str | None:
        """Return the part of a turn that is searched for the snippet, None if there is no such turn."""
        part = func.substr(_columns.content, 1, BEGINNING_CHARACTERS)
        return self._connection.execute(select(part).where(_columns.id == turn_id)).scalar()

    def _with(self, phrases: Sequence[Phrase]) -> Select[Any]:
        turns = select(_columns.id).where(_WORDS.op("@@")(_query(phrases)))
        if self._params.session_id is not None:
            turns = turns.where(_columns.session_id == self._params.session_id)
        return turns if self._upto is None else turns.where(_columns.id <= self._upto)

    def _is_held(self, phrase: Phrase) -> bool:
        held = select(_columns.id).where(_WORDS.op("@@")(_query([phrase]))).limit(1)
        return self._connection.execute(held).first() is not None

    def _ids(self, turns: Select[Any]) -> Sequence[int]:
        return self._connection.execute(turns).scalars().all()


def _query(phrases: Sequence[Phrase]) -> ColumnElement[Any]:
    spelt = " & ".join(f"({_spelt(phrase)})" for phrase in phrases)
    return text("CAST(:query AS tsquery)").bindparams(query=spelt).self_group()  # type: ignore[return-value]


def _spelt(phrase: Phrase) -> str:
    """Return a phrase as PostgreSQL reads a tsquery; no word holds a quote or a backslash."""
    *others, last = [f"'{_as_stored(word)}'" for word in phrase.words]
    return " <-> ".join([*others, f"{last}:*" if phrase.is_prefix else last])


def _as_stored(word: str) -> str:
    """Return a word, or in place of one that is too long to be stored what no turn holds."""
    return word if len(word.encode()) <= LONGEST_WORD_BYTES else " "


def newest_turn(connection: Connection, _: str) -> Position | None:
    """Return the turn with the highest id of all, as no id is given again."""
    newest = select(micros(_columns.timestamp), _columns.id).order_by(_NEWEST_FIRST).limit(1)
    found = connection.execute(newest).first()
    return None if found is None else Position(*found)


def erase_turns(connection: Connection, erasure: Erasure) -> ErasedPart:
    """Delete the next turns of an erasure and their identities; the words go with the rows."""
    found = connection.execute(turns_to_go(erasure, up_to=erasure.last.id)).all()
    few = few_of(found)
    if not few:
        return ErasedPart(0, None)
    gone = connection.execute(
        delete(conversations)
        .where(_columns.id.in_([turn.id for turn in few]))
        .returning(_columns.message_id, _columns.stamped)
    ).all()
    forget_identities(connection, conversations.name, [one for one, stamped in gone if stamped])
    is_end = len(few) == len(found) < MOST_TURNS
    return ErasedPart(len(gone), None if is_end else Position(few[-1].timestamp, few[-1].id))


def forget_identities(connection: Connection, kind: str, identities: Sequence[str | None]) -> None:
    """Forget when identities without a time were first seen, as their rows are gone."""
    if identities:
        connection.execute(
            text("DELETE FROM stamped_identities WHERE kind = :kind AND message_id = ANY(:gone)"),
            {"kind": kind, "gone": list(identities)},
        )


QUERIES: Final[Queries] = {SearchTurns: Query(search_turns, Pace.SCAN)}
