"""
The list of conversations, the latest first, each with what its turns say of it.

Its cost is that of the page and not of the table: the last turn of a conversation is the one
after which an index finds no other, and of a long conversation only the newest turns are read.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal, localcontext
from itertools import islice
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json
from sqlalchemy import (
    Select,
    case,
    exists,
    false,
    func,
    or_,
    select,
    tuple_,
)

from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.expressions import micros, octets
from jarvis_recorder.storage.queries.cursors import Beyond, Position, not_shown, read_cursor
from jarvis_recorder.storage.queries.json_rows import Line, write_page
from jarvis_recorder.storage.queries.present import end_of_present
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.tables import conversations
from jarvis_recorder.wire.rpc.params import ListSessions
from jarvis_recorder.wire.rpc.results import MOST_ADDED_TURNS, NEWEST_TURNS
from jarvis_recorder.wire.times import format_rfc3339

_columns: Final = conversations.c
# So many of the last turns are looked at for each conversation of a page: first the fewer, and then
# the more if that will do. Where conversations are longer there are fewer, and each is looked up.
_TURNS_EACH: Final = (40, 160)
_MOST_LOOKED_AT: Final = 20_000
_MOST_SESSIONS: Final = 200
_FIRST_TURNS: Final = 20
_TITLE: Final = 120
_TITLE_READ: Final = 400
_MOST_NAMES: Final = 20
_LONGEST_NAME: Final = 255
_CALLS_BYTES: Final = 16_384
# A page ends once it has read so many bytes: a turn counts as one of four kilobytes.
_TURN_BYTES: Final = 4_096
_TURNS_TOGETHER: Final = 2_000
_HEADS_TOGETHER: Final = 20
# Of a sum of costs: each has at most 31 before the point and 60 after it.
_DIGITS: Final = 120
_CALLED: Final = ("function", "functionCall", "function_call", "toolUse", "toolInvocation")


class _Latest(NamedTuple):
    """The time of the last turn of a conversation in microseconds, and the conversation."""

    at: int
    session_id: str


class _Wanted(NamedTuple):
    """The conversations to find: the time of their turns, their part of the list, their number."""

    since: datetime | None
    until: datetime
    beyond: Beyond
    number: int


class _Head(NamedTuple):
    """The first time of a conversation in microseconds, its number of turns and its first words."""

    first: int
    turns: int
    words: str | None


class _Spent:
    """The models, tools and costs that turns name."""

    def __init__(self) -> None:
        self.models: set[str] = set()
        self.tools: set[str] = set()
        self.costs: list[Decimal] = []

    def add(self, model: str | None, cost: Any, calls: bytes | None) -> None:
        """Add those of one turn."""
        if model:
            self.models.add(model[:_LONGEST_NAME])
        if cost is not None:
            self.costs.append(Decimal(cost))
        if calls:
            self.tools.update(_tools_of(bytes(calls)))


def list_sessions(clock: Clock, reading: Reading, params: ListSessions) -> bytes:
    """
    Return a page of the conversations that have a turn from `since` to `until`.

    Each is as it was at `until`; see `end_of_present`.
    """
    until = params.until or end_of_present(clock)
    most = min(params.limit, _MOST_SESSIONS)

    def rows(beyond: Beyond) -> Iterator[tuple[_Latest, Position]]:
        wanted = _Wanted(params.since, until, beyond, most + 1)
        return ((one, tuple(one)) for one in _latest(reading, wanted))

    found = [*islice(not_shown(read_cursor(params, int, str, int, str), rows), most + 1)]
    page = found[:most]
    lines = (
        line._replace(position=shown)
        for line, (_, shown) in zip(
            _lines(reading, [one for one, _ in page], until), page, strict=True
        )
    )
    end = page[-1][1] if len(found) > most else None
    return write_page(reading, params, "sessions", lines, end=end)


def _latest(reading: Reading, wanted: _Wanted) -> list[_Latest]:
    """Return the wanted conversations, or all there are."""
    few, many = (min(each * wanted.number, _MOST_LOOKED_AT) for each in _TURNS_EACH)
    found, is_all = _among_next_turns(reading, wanted, few)
    if not is_all and len(found) * many > wanted.number * few:
        found, is_all = _among_next_turns(reading, wanted, many)
    return found if is_all else _among_all(reading, wanted)


def _among_next_turns(reading: Reading, wanted: _Wanted, most: int) -> tuple[list[_Latest], bool]:
    """Return those whose last turn is among the next turns, and whether there are no more to find."""
    time, session = _columns.timestamp, _columns.session_id
    beyond = wanted.beyond
    within = [time < wanted.until, *beyond.only(time, session)]
    if wanted.since is not None:
        within.append(time >= wanted.since)
    far = select(time).where(*within).order_by(*beyond.order(time)).offset(most).limit(1)
    last_time = reading.connection.execute(far).scalar()
    if last_time is not None:
        # Whole: all turns of that very time are looked at.
        within.append(time <= last_time if beyond.is_above else time >= last_time)
    later = conversations.alias()
    has_later = exists().where(
        later.c.session_id == session,
        later.c.timestamp < wanted.until,
        tuple_(later.c.timestamp, later.c.id) > tuple_(time, _columns.id),
    )
    last = select(micros(time), session).where(*within, ~has_later)
    last = last.order_by(*beyond.order(time, session)).limit(wanted.number)
    found = [_Latest(*row) for row in reading.rows(last)]
    return found, last_time is None or len(found) == wanted.number


def _among_all(reading: Reading, wanted: _Wanted) -> list[_Latest]:
    """Return the next of all conversations, each found by two look-ups in the index."""
    session, time = _columns.session_id, _columns.timestamp
    least, earliest = (select(func.min(one)).scalar_subquery() for one in (session, time))
    # Null, of the type and collation that the later rows have.
    first = select(
        least.label("name"),
        case((false(), least)).label("before"),
        case((false(), earliest)).label("last"),
    )
    names = first.cte("names", recursive=True)
    following = select(func.min(session)).where(session > names.c.name)
    last = select(func.max(time)).where(session == names.c.name, time < wanted.until)
    # Each row has the name that follows, and the last time of the one before it, looked up once.
    seen = names.union_all(
        select(following.scalar_subquery(), names.c.name, last.scalar_subquery()).where(
            names.c.name.is_not(None)
        )
    )
    since, beyond, place = wanted.since, wanted.beyond, (seen.c.last, seen.c.before)
    chosen = seen.c.last.is_not(None) if since is None else seen.c.last >= since
    latest = select(micros(seen.c.last), seen.c.before).where(chosen, *beyond.only(*place))
    latest = latest.order_by(*beyond.order(*place)).limit(wanted.number)
    return [_Latest(*row) for row in reading.rows(latest)]


def _lines(reading: Reading, latest: Sequence[_Latest], end: Any) -> Iterator[Line]:
    for start in range(0, len(latest), _HEADS_TOGETHER):
        some = latest[start : start + _HEADS_TOGETHER]
        heads = _heads(reading, [one.session_id for one in some], end)
        for part in _parts(some, heads):
            spent = _spent(reading, part, heads, end)
            for one in part:
                yield _line(one, heads[one.session_id], spent[one.session_id])


def _parts(some: Sequence[_Latest], heads: dict[str, _Head]) -> Iterator[list[_Latest]]:
    """Divide conversations so that few turns are read before the first one is written."""
    part: list[_Latest] = []
    turns = 0
    for one in some:
        added = _read_of(heads[one.session_id])
        if part and turns + added > _TURNS_TOGETHER:
            yield part
            part, turns = [], 0
        part.append(one)
        turns += added
    yield part


def _read_of(head: _Head) -> int:
    return head.turns if head.turns <= MOST_ADDED_TURNS else NEWEST_TURNS


def _heads(reading: Reading, names: Sequence[str], end: Any) -> dict[str, _Head]:
    time = _columns.timestamp
    counted = (
        select(
            _columns.session_id.label("name"),
            func.min(time).label("first"),
            func.count().label("turns"),
        )
        .where(_columns.session_id.in_(names), time < end)
        .group_by(_columns.session_id)
        .subquery()
    )
    of = conversations.alias()
    first_turns = (
        select(of.c.id, of.c.role, of.c.timestamp)
        .where(of.c.session_id == counted.c.name, of.c.timestamp < end)
        .order_by(of.c.timestamp, of.c.id)
        .limit(_FIRST_TURNS)
        .correlate(counted)
        .subquery()
    )
    first_of_user = (
        select(first_turns.c.id)
        .where(first_turns.c.role == "user")
        .order_by(first_turns.c.timestamp, first_turns.c.id)
        .limit(1)
        .scalar_subquery()
    )
    words = select(func.substr(_columns.content, 1, _TITLE_READ)).where(
        _columns.id == first_of_user
    )
    rows = select(counted.c.name, micros(counted.c.first), counted.c.turns, words.scalar_subquery())
    return {name: _Head(*row) for name, *row in reading.rows(rows)}


def _spent(
    reading: Reading, part: Sequence[_Latest], heads: dict[str, _Head], end: Any
) -> dict[str, _Spent]:
    spent = {one.session_id: _Spent() for one in part}
    short = [name for name in spent if heads[name].turns <= MOST_ADDED_TURNS]
    statements = [_named(end).where(_columns.session_id.in_(short))] if short else []
    statements += [_newest(name, end) for name in spent if name not in short]
    for statement in statements:
        for name, *named in reading.rows(statement):
            spent[name].add(*named)
    return spent


def _named(end: Any) -> Select[Any]:
    """Select what turns name, of those that name anything."""
    model, cost, calls = _columns.model, _columns.cost_usd, _columns.tool_calls
    content = octets(calls)
    few = case((func.length(content) <= _CALLS_BYTES, content))
    return select(_columns.session_id, model, cost, few).where(
        _columns.timestamp < end,
        or_(model.is_not(None), cost.is_not(None), calls.is_not(None)),
    )


def _newest(name: str, end: Any) -> Select[Any]:
    """Select what the newest turns of a long conversation name."""
    newest = (
        select(_columns.id)
        .where(_columns.session_id == name, _columns.timestamp < end)
        .order_by(_columns.timestamp.desc(), _columns.id.desc())
        .limit(NEWEST_TURNS)
    )
    return _named(end).where(_columns.id.in_(newest))


def _line(one: _Latest, head: _Head, spent: _Spent) -> Line:
    is_whole = head.turns <= MOST_ADDED_TURNS
    cost = _sum(spent.costs) if is_whole and spent.costs else None
    fields = {
        "session_id": one.session_id,
        "first_at": format_rfc3339(head.first),
        "last_at": format_rfc3339(one.at),
        "turns": head.turns,
        "title": _title(head.words),
        "models": sorted(spent.models)[:_MOST_NAMES],
        "tools": sorted(spent.tools)[:_MOST_NAMES],
        "cost_usd": None if cost is None else format(cost, "f"),
    }
    return Line(to_json(fields), tuple(one), _read_of(head) * _TURN_BYTES)


def _sum(costs: Sequence[Decimal]) -> Decimal:
    """Add costs exactly."""
    with localcontext(prec=_DIGITS):
        return sum(costs, Decimal(0))


def _title(text: str | None) -> str | None:
    """Return the first words of a text in one line."""
    line = " ".join((text or "").split())
    if len(line) <= _TITLE:
        return line or None
    cut = line[: _TITLE - 1]
    return f"{cut.rpartition(' ')[0] or cut}\N{HORIZONTAL ELLIPSIS}"


def _tools_of(content: bytes) -> Iterator[str]:
    """Yield the names of the tools that were called, in the forms that publishers send."""
    try:
        calls = from_json(content)
    except ValueError:  # written by another program
        return
    for call in calls if isinstance(calls, list) else [calls]:
        if not isinstance(call, dict):
            continue
        inner = next((call[one] for one in _CALLED if isinstance(call.get(one), dict)), call)
        named = (one.get(key) for one in (inner, call) for key in ("name", "toolName"))
        name = next((one for one in named if isinstance(one, str) and one), None)
        if name is not None:
            yield name[:_LONGEST_NAME]


QUERIES: Final[Queries] = {ListSessions: Query(list_sessions, Pace.SCAN, needs_clock=True)}
