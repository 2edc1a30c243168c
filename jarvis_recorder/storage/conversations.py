"""Questions about conversations."""

import re
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Integer,
    Row,
    column,
    func,
    literal,
    literal_column,
    select,
    table,
    tuple_,
)

from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.cursors import read_cursor, write_cursor
from jarvis_recorder.storage.present import end_of_present
from jarvis_recorder.storage.rows import parsed
from jarvis_recorder.storage.tables import Instant, conversations
from jarvis_recorder.wire.answers import (
    FoundTurn,
    FoundTurns,
    Session,
    SessionPage,
    StoredTurn,
    TurnPage,
    Usage,
    UsageReport,
)
from jarvis_recorder.wire.questions import ListSessions, ListTurns, ReportUsage, SearchTurns
from jarvis_recorder.wire.times import to_datetime, to_micros

_columns: Final = conversations.c
_NAMES: Final = tuple(column.name for column in conversations.columns)
_words: Final = table("conversations_fts", column("rowid"))
# Two characters that nobody's text means anything by (Unicode's private use area).
_BEGIN: Final = "\ue000"
_END: Final = "\ue001"
_SNIPPET_WORDS: Final = 24


def list_sessions(clock: Clock, connection: Connection, question: ListSessions) -> SessionPage:
    """Return a page of conversations, the latest first; see `end_of_present`."""
    first, last = func.min(_columns.timestamp), func.max(_columns.timestamp)
    latest = select(
        _columns.session_id, first.label("first_at"), last.label("last_at"), func.count()
    ).group_by(_columns.session_id)
    if question.since is not None:
        latest = latest.having(last >= question.since)
    if question.until is not None:
        latest = latest.having(first < question.until)
    else:
        latest = latest.where(_columns.timestamp < end_of_present(clock))
    if (position := read_cursor(question, int, str)) is not None:
        micros, session_id = position
        at = literal(to_datetime(int(micros)), Instant())
        latest = latest.having(tuple_(last, _columns.session_id) < tuple_(at, literal(session_id)))
    latest = latest.order_by(last.desc(), _columns.session_id.desc()).limit(question.limit + 1)
    rows = connection.execute(latest).all()
    sessions = [Session(*row) for row in rows[: question.limit]]
    if len(rows) == len(sessions):
        return SessionPage(sessions, None)
    end = sessions[-1]
    return SessionPage(sessions, write_cursor(question, to_micros(end.last_at), end.session_id))


def list_turns(connection: Connection, question: ListTurns) -> TurnPage:
    """Return a page of the turns of a conversation, oldest first."""
    oldest_first = (
        select(conversations)
        .where(_columns.session_id == question.session_id)
        .order_by(_columns.timestamp, _columns.id)
        .limit(question.limit + 1)
    )
    if (position := read_cursor(question, int, int)) is not None:
        micros, turn_id = position
        end = tuple_(literal(to_datetime(int(micros)), Instant()), literal(turn_id, Integer()))
        oldest_first = oldest_first.where(tuple_(_columns.timestamp, _columns.id) > end)
    rows = connection.execute(oldest_first).all()
    turns = [stored_turn(row) for row in rows[: question.limit]]
    if len(rows) == len(turns):
        return TurnPage(turns, None)
    last = turns[-1]
    return TurnPage(turns, write_cursor(question, to_micros(last.timestamp), last.id))


def stored_turn(row: Row[Any]) -> StoredTurn:
    """Return a row that begins with the table's columns as an answer has it."""
    fields = dict(zip(_NAMES, row, strict=False))
    cost = fields["cost_usd"]
    return StoredTurn(
        **fields
        | {
            "cost_usd": None if cost is None else Decimal(cost),
            "tool_calls": parsed(fields["tool_calls"]),
            "extra": parsed(fields["extra"]),
        }
    )


def search_turns(connection: Connection, question: SearchTurns) -> FoundTurns:
    """Return the turns that hold every word of the query, best first."""
    snippet = func.snippet(
        literal_column("conversations_fts"), 0, _BEGIN, _END, "…", _SNIPPET_WORDS
    )
    best_first = (
        select(conversations, snippet.label("snippet"))
        .join_from(_words, conversations, _columns.id == _words.c.rowid)
        .where(literal_column("conversations_fts").op("MATCH")(_as_words(question.query)))
        .order_by(literal_column("conversations_fts.rank"), _columns.id.desc())
        .limit(question.limit)
    )
    if question.session_id is not None:
        best_first = best_first.where(_columns.session_id == question.session_id)
    return FoundTurns([_found(row) for row in connection.execute(best_first)])


def _as_words(query: str) -> str:
    """
    Quote each word: a user's text is text, whatever FTS5 would understand by it.

    A word without letters or digits is a phrase of nothing, which FTS5 leaves out.
    """
    words = query.replace("\0", " ").split()
    return " ".join('"{}"'.format(word.replace('"', '""')) for word in words) or '""'


def _found(row: Row[Any]) -> FoundTurn:
    snippet = ""
    highlights = []
    for part in re.split(f"({_BEGIN}[^{_END}]*{_END})", row.snippet):
        plain = part.replace(_BEGIN, "").replace(_END, "")
        if part.startswith(_BEGIN):
            highlights.append((len(snippet), len(snippet) + len(plain)))
        snippet += plain
    return FoundTurn(stored_turn(row), snippet, highlights)


def report_usage(clock: Clock, connection: Connection, question: ReportUsage) -> UsageReport:
    """
    Return the tokens and the cost of the turns in the time given, added exactly.

    Without an end it is that of the present; see `end_of_present`.
    """
    key = {
        None: literal_column("NULL"),
        "model": _columns.model,
        "session": _columns.session_id,
        "day": _columns.timestamp,
    }[question.by]
    used = select(
        key,
        _columns.tokens_used,
        _columns.input_tokens,
        _columns.output_tokens,
        _columns.cost_usd,
    ).where(
        _columns.timestamp >= question.since,
        _columns.timestamp < (question.until or end_of_present(clock)),
    )
    groups: defaultdict[str | None, list[Any]] = defaultdict(list)
    for row in connection.execute(used):
        groups[f"{row[0]:%Y-%m-%d}" if question.by == "day" else row[0]].append(row)
    by_key = sorted(groups.items(), key=lambda group: group[0] or "")
    usage = [] if question.by is None else [_added(name, rows) for name, rows in by_key]
    return UsageReport(usage, _added(None, [row for rows in groups.values() for row in rows]))


def _added(key: str | None, rows: Sequence[Any]) -> Usage:
    """Add up in Python: SQLite would add decimals as doubles."""
    return Usage(
        key,
        len(rows),
        sum(row.tokens_used or 0 for row in rows),
        sum(row.input_tokens or 0 for row in rows),
        sum(row.output_tokens or 0 for row in rows),
        sum((Decimal(row.cost_usd) for row in rows if row.cost_usd is not None), Decimal(0)),
    )
