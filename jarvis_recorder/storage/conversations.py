"""Questions about conversations."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import (
    ColumnElement,
    Integer,
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
from jarvis_recorder.storage.cursors import read_cursor
from jarvis_recorder.storage.json_rows import Line, RowsOf, write_page
from jarvis_recorder.storage.present import end_of_present
from jarvis_recorder.storage.reading import Reading
from jarvis_recorder.storage.tables import conversations
from jarvis_recorder.wire.questions import GetTurn, ListSessions, ListTurns, SearchTurns
from jarvis_recorder.wire.times import format_rfc3339, to_micros

TURNS: Final = RowsOf(conversations, ("tool_calls", "extra"), text="content")

_columns: Final = conversations.c
_TIME: Final = type_coerce(_columns.timestamp, Integer())
_words: Final = table("conversations_fts", column("rowid"))
# Two characters that nobody's text means anything by (Unicode's private use area).
_BEGIN: Final = "\ue000"
_END: Final = "\ue001"
_SNIPPET_WORDS: Final = 24
_MATCHES: Final[ColumnElement[Any]] = literal_column("conversations_fts")
_AT: Final = (_MATCHES.op("MATCH")(bindparam("words")), _words.c.rowid == bindparam("id"))
_SNIPPET: Final = select(func.snippet(_MATCHES, 0, _BEGIN, _END, "…", _SNIPPET_WORDS)).where(*_AT)
# FTS5 weighs each word found against every other, and cannot be interrupted meanwhile: in a long
# text of one word that takes hours. There it is the first place found, or the beginning.
_LONG_BYTES: Final = 4_096
_VERY_LONG_BYTES: Final = 32_768
_SNIPPET_CHARACTERS: Final = 240
_marked: Final = func.highlight(_MATCHES, 0, _BEGIN, _END)
_FIRST_PLACE: Final = select(
    func.substr(_marked, func.max(1, func.instr(_marked, _BEGIN) - 80), _SNIPPET_CHARACTERS)
).where(*_AT)
_BEGINNING: Final = select(func.substr(_columns.content, 1, _SNIPPET_CHARACTERS)).where(
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
    """Return a page of the turns that hold every word of the query, best first."""
    position = read_cursor(question, int)
    start = max(0, int(position[0])) if position is not None else 0
    # Only which they are: a sort by rank would carry along whatever else is selected.
    best_first = (
        select(_words.c.rowid)
        .where(_MATCHES.op("MATCH")(_as_words(question.query)))
        .order_by(literal_column("conversations_fts.rank"), _words.c.rowid.desc())
        .limit(question.limit + 1)
        .offset(start)
    )
    if question.session_id is not None:
        best_first = best_first.join_from(
            _words, conversations, _columns.id == _words.c.rowid
        ).where(_columns.session_id == question.session_id)
    found = reading.connection.execute(best_first).scalars().all()
    return write_page(reading, question, "turns", _found(reading, question, found, start))


def _found(
    reading: Reading, question: SearchTurns, found: Sequence[int], start: int
) -> Iterator[Line]:
    """Yield the turns of these ids, each with the part of it that fits the query best."""
    words = _as_words(question.query)
    for number, turn_id in enumerate(found, start + 1):
        reading.go_on()
        turn = TURNS.write(reading.connection, turn_id)
        assert turn is not None
        asked: dict[str, Any] = {"words": words, "id": turn_id}
        if turn.read > _VERY_LONG_BYTES:
            statement, asked = _BEGINNING, {"id": turn_id}
        else:
            statement = _SNIPPET if turn.read <= _LONG_BYTES else _FIRST_PLACE
        snippet, highlights = _highlighted(
            reading.connection.execute(statement, asked).scalar_one()
        )
        text = b'{"turn":%b,"snippet":%b,"highlights":%b}' % (
            turn.text,
            to_json(snippet),
            to_json(highlights),
        )
        yield Line(text, (number,), turn.read)


def _as_words(query: str) -> str:
    """
    Quote each word: a user's text is text, whatever FTS5 would understand by it.

    A word without letters or digits is a phrase of nothing, which FTS5 leaves out.
    """
    words = query.replace("\0", " ").split()
    return " ".join('"{}"'.format(word.replace('"', '""')) for word in words) or '""'


def _highlighted(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a snippet without its marks, and the places that they enclosed."""
    snippet = ""
    highlights = []
    for part in re.split(f"({_BEGIN}[^{_END}]*{_END})", marked):
        plain = part.replace(_BEGIN, "").replace(_END, "")
        if part.startswith(_BEGIN):
            highlights.append((len(snippet), len(snippet) + len(plain)))
        snippet += plain
    return snippet, highlights
