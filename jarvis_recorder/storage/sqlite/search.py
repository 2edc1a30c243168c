"""The full-text index of turns: its upkeep and its queries."""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Row,
    and_,
    cast,
    delete,
    func,
    literal,
    select,
)

from jarvis_recorder.errors import OutcomeUnknown
from jarvis_recorder.storage.erasure import ErasedPart, Erasure, few_of, found_turns, turns_to_go
from jarvis_recorder.storage.expired_rows import Position
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.phrases import Phrase
from jarvis_recorder.storage.queries.words import part
from jarvis_recorder.storage.sqlite.connections import driver_of, make_temporary
from jarvis_recorder.storage.tables import Instant, conversations

# As in the triggers, which index only ASCII turns; the words of the others are made here.
NOT_ASCII: Final[ColumnElement[bool]] = func.length(conversations.c.content) != func.length(
    cast(conversations.c.content, LargeBinary)
)
# One statement for all turns: after each row SQLite's thread would have to win the GIL back
# from the receiving side. Only for turns that were new.
_ADD: Final = """
    INSERT INTO conversations_fts (rowid, content)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
    WHERE EXISTS (SELECT 1 FROM conversations WHERE id = json_extract(value, '$[0]'))
"""
_TAKE_OUT: Final = """
    INSERT INTO conversations_fts (conversations_fts, rowid, content)
    SELECT 'delete', json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
"""
_AT_ONCE_CHARACTERS: Final = 1_000_000

# FTS5's option `prefix`; see the migration. Databases of before have one more, which stays.
_BEGINNINGS_INDEXED: Final = (4,)
_MOST_ENDS: Final = 250
_LAST: Final = "\U0010ffff"
_MAKE_WORDS: Final = """
    CREATE VIRTUAL TABLE IF NOT EXISTS temp.conversations_words
    USING fts5vocab(main, conversations_fts, instance)
"""
_NEXT_WORD: Final = "SELECT term FROM temp.conversations_words WHERE term >= ? AND term < ? LIMIT 1"


def add_words(connection: Connection, turns: Iterable[tuple[int, str]]) -> None:
    """Index those of the turns, given as ids and contents, that no trigger has indexed."""
    _with_words(connection, _ADD, turns)


def take_words_out(connection: Connection, which: ColumnElement[bool]) -> None:
    """Remove the words of turns that are about to be deleted from the index."""
    chosen = select(conversations.c.id, conversations.c.content).where(which, NOT_ASCII)
    # One turn in memory, however long it is, with the words that are taken out together.
    turns = connection.execute(chosen.execution_options(yield_per=1))
    _with_words(connection, _TAKE_OUT, ((row.id, row.content) for row in turns))


def newest_turn(connection: Connection, session_id: str) -> Position | None:
    """Return the turn of a conversation with the highest id."""
    columns = conversations.c
    newest = select(func.max(columns.id)).where(columns.session_id == session_id)
    turn = select(micros(columns.timestamp), columns.id).where(
        columns.id == newest.scalar_subquery()
    )
    found = connection.execute(turn).first()
    return None if found is None else Position(*found)


def erase_turns(connection: Connection, erasure: Erasure) -> ErasedPart:
    """
    Delete the next turns of an erasure, and their words from the index.

    The words stay in the file until `SqliteWriter.forget_deleted` has merged them away.

    Raises:
        OutcomeUnknown: The last turn is gone, so that a new one may have got an id below its id.
    """
    with contextlib.closing(_turns_to_go(connection, erasure)) as turns:
        few = few_of(turns)
    if not few:
        return ErasedPart(0, None)
    last = select(conversations.c.id).where(_is_last(erasure))
    if connection.execute(last).first() is None:
        raise OutcomeUnknown("turns of it were pruned meanwhile: ask again for the others")
    to_go = conversations.c.id.in_([turn.id for turn in few])
    take_words_out(connection, to_go)
    deleted = connection.execute(delete(conversations).where(to_go)).rowcount
    reached = Position(few[-1].timestamp, few[-1].id)
    return ErasedPart(deleted, None if reached == erasure.last else reached)


def _turns_to_go(connection: Connection, erasure: Erasure) -> Generator[Row[Any], None, None]:
    """
    Yield the next turns of an erasure, the last one after all others.

    As long as it is there, new turns get higher ids: SQLite gives an id again once that and all
    higher ones are free.
    """
    others = turns_to_go(erasure, up_to=erasure.last.id - 1)
    last = found_turns().where(_is_last(erasure))
    for query in (others, last):
        # SQLite reads a row as it is asked for.
        with connection.execute(query) as found:
            yield from found


def _is_last(erasure: Erasure) -> ColumnElement[bool]:
    columns = conversations.c
    return and_(
        columns.id == erasure.last.id,
        columns.session_id == erasure.session_id,
        columns.timestamp == literal(erasure.last.timestamp, Instant()),
    )


def _with_words(connection: Connection, statement: str, turns: Iterable[tuple[int, str]]) -> None:
    for some in _parts(
        [turn_id, part(content)] for turn_id, content in turns if not content.isascii()
    ):
        driver_of(connection).execute(statement, (to_json(some).decode(),)).close()


def _parts(turns: Iterable[list[Any]]) -> Iterator[list[list[Any]]]:
    some: list[list[Any]] = []
    characters = 0
    for turn in turns:
        some.append(turn)
        characters += len(turn[1])
        if characters >= _AT_ONCE_CHARACTERS:
            yield some
            some, characters = [], 0
    if some:
        yield some


def match_phrase(phrase: Phrase) -> str:
    """Return a phrase in FTS5's query syntax, where quoted text is literal."""
    return '"{}"{}'.format(" ".join(phrase.words), "*" if phrase.is_prefix else "")


def match(phrases: Iterable[Phrase]) -> str:
    """Return an FTS5 query for the turns that contain all of the phrases."""
    return " AND ".join(match_phrase(phrase) for phrase in phrases)


def match_one_by_one(connection: Connection, phrase: Phrase) -> str:
    """
    Return a query with the same matches, which finds the newest without reading all older ones.

    For a prefix without a prefix index FTS5 first collects all turns that contain it. Words, and
    longer prefixes that have an index, have their lists already.
    """
    *others, last = phrase.words
    if not phrase.is_prefix or len(last) in _BEGINNINGS_INDEXED:
        return match_phrase(phrase)
    ends = list(itertools.islice(_ends(connection, last), _MOST_ENDS + 1))
    if not 0 < len(ends) <= _MOST_ENDS:
        return match_phrase(phrase)
    spelt = (match_phrase(Phrase((*others, end), is_prefix)) for end, is_prefix in ends)
    return f"({' OR '.join(spelt)})"


def _ends(connection: Connection, prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield the words and longer prefixes that a prefix covers, and True for a prefix."""
    make_temporary(connection, _MAKE_WORDS)
    driver = driver_of(connection)
    longer = next((length for length in _BEGINNINGS_INDEXED if length > len(prefix)), None)
    beyond, at = prefix + _LAST, prefix
    # A query for each word: to step to the next row would be to read every turn with the word.
    while found := driver.execute(_NEXT_WORD, (at, beyond)).fetchone():
        (word,) = found
        is_prefix = longer is not None and len(word) >= longer
        end = word[:longer] if is_prefix else word
        yield end, is_prefix
        at = end + (_LAST if is_prefix else "\0")
