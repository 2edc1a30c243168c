"""The search of conversations by tsvector, with the words and snippets of SQLite's search."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Select, delete, func, literal_column, select, text
from sqlalchemy.engine import Connection

from jarvis_recorder.storage.erasure import MOST_TURNS, Erasure, Part, few_of, turns_to_go
from jarvis_recorder.storage.expired_rows import Position
from jarvis_recorder.storage.expressions import micros
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
from jarvis_recorder.storage.tables import conversations
from jarvis_recorder.wire.rpc.params import SearchTurns

_columns: Final = conversations.c
_WORDS: Final[ColumnElement[Any]] = literal_column("conversations.words")
_NEWEST_FIRST: Final = _columns.id.desc()
# To rank more than these, every one of them would have to be read.
_MOST_RANKED: Final = 1_000
# The part of a turn that is searched for the snippet.
_BEGINNING_CHARACTERS: Final = 16_384


def search_turns(reading: Reading, params: SearchTurns) -> bytes:
    """
    Return a page of the turns that contain every phrase of the query, best first.

    If none does, each word that no turn contains counts as a prefix. If there are very many, the
    newest come first.

    Raises:
        InvalidParameter: The query has too many words, or too many prefixes.
    """
    start = read_place(params)
    end = start + params.limit + 1
    whole = phrases_of(params.query)
    require_few(whole)
    phrases, found = whole, _first(reading, params, whole, end)
    if not found:
        phrases = [one if _is_held(reading, one) else as_prefix(one) for one in whole]
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
    query = _query(phrases)
    holding = select(_columns.id).where(_WORDS.op("@@")(query))
    if params.session_id is not None:
        holding = holding.where(_columns.session_id == params.session_id)
    if _count(reading, holding, _MOST_RANKED + 1) > _MOST_RANKED:
        return _ids(reading, holding.order_by(_NEWEST_FIRST).limit(end))
    best_first = holding.order_by(func.ts_rank(_WORDS, query).desc(), _NEWEST_FIRST)
    return _ids(reading, best_first.limit(end))


def _query(phrases: Sequence[Phrase]) -> ColumnElement[Any]:
    spelt = " & ".join(f"({_spelt(phrase)})" for phrase in phrases)
    return text("CAST(:query AS tsquery)").bindparams(query=spelt).self_group()  # type: ignore[return-value]


def _spelt(phrase: Phrase) -> str:
    """Return a phrase as PostgreSQL reads a tsquery; no word holds a quote or a backslash."""
    *others, last = [f"'{word}'" for word in phrase.words]
    return " <-> ".join([*others, f"{last}:*" if phrase.is_prefix else last])


def _is_held(reading: Reading, phrase: Phrase) -> bool:
    held = select(_columns.id).where(_WORDS.op("@@")(_query([phrase])))
    return _count(reading, held, 1) > 0


def _ids(reading: Reading, turns: Select[Any]) -> Sequence[int]:
    return reading.connection.execute(turns).scalars().all()


def _count(reading: Reading, turns: Select[Any], most: int) -> int:
    counted = select(func.count()).select_from(turns.limit(most).subquery())
    return int(reading.connection.execute(counted).scalar_one())


def _shown(
    reading: Reading, phrases: Sequence[Phrase], found: Sequence[int], start: int
) -> Iterator[Line]:
    """Yield the turns of these ids, each with the snippet that fits the query best."""
    beginning = func.substr(_columns.content, 1, _BEGINNING_CHARACTERS)
    for number, turn_id in enumerate(found, start + 1):
        reading.go_on()
        turn = TURNS.write(reading.connection, turn_id)
        assert turn is not None
        content = reading.connection.execute(
            select(beginning).where(_columns.id == turn_id)
        ).scalar_one()
        shown = snippet(content, phrases)
        line = b'{"turn":%b,"snippet":%b,"highlights":%b}' % (
            turn.text,
            to_json(shown.text),
            to_json(shown.highlights),
        )
        yield Line(line, (number,), turn.read)


def newest_turn(connection: Connection, _: str) -> Position | None:
    """Return the turn with the highest id of all, as no id is given again."""
    newest = select(micros(_columns.timestamp), _columns.id).order_by(_NEWEST_FIRST).limit(1)
    found = connection.execute(newest).first()
    return None if found is None else Position(*found)


def erase_turns(connection: Connection, erasure: Erasure) -> Part:
    """Delete the next turns of an erasure and their identities; the words go with the rows."""
    found = connection.execute(turns_to_go(erasure, up_to=erasure.last.id)).all()
    few = few_of(found)
    if not few:
        return Part(0, None)
    gone = connection.execute(
        delete(conversations)
        .where(_columns.id.in_([turn.id for turn in few]))
        .returning(_columns.message_id, _columns.stamped)
    ).all()
    forget_identities(connection, conversations.name, [one for one, stamped in gone if stamped])
    is_end = len(few) == len(found) < MOST_TURNS
    return Part(len(gone), None if is_end else Position(few[-1].timestamp, few[-1].id))


def forget_identities(connection: Connection, kind: str, identities: Sequence[str | None]) -> None:
    """Forget when identities without a time were first seen, as their rows are gone."""
    if identities:
        connection.execute(
            text("DELETE FROM stamped_identities WHERE kind = :kind AND message_id = ANY(:gone)"),
            {"kind": kind, "gone": list(identities)},
        )


QUERIES: Final[Queries] = {SearchTurns: Query(search_turns, Pace.SCAN)}
