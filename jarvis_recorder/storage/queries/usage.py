"""The tokens and cost of turns, added exactly, in SQL: by limbs in SQLite, else as numerics."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CursorResult,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects import sqlite

from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.cursors import Position, read_cursor
from jarvis_recorder.storage.queries.json_rows import Line, write_page
from jarvis_recorder.storage.queries.present import end_of_present
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.queries.zones import Zone, zone_between
from jarvis_recorder.storage.tables import Instant, JsonText, conversations
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import ReportUsage
from jarvis_recorder.wire.rpc.results import Usage
from jarvis_recorder.wire.times import EPOCH, to_micros

_Column = ColumnElement[Any]
_columns: Final = conversations.c


def _constant(value: int | str) -> _Column:
    return literal_column(repr(value), Integer() if isinstance(value, int) else None)


# SQLite adds decimals as doubles, and integers only up to 64 bits. So numbers are cut into limbs
# that are added as integers, and combined in Python, whose integers are unbounded: tokens into
# halves of 32 bits, costs into limbs of nine digits. A cost has at most 31 digits before its
# point and 60 after it (`wire.records`); nearly all have few, for which three limbs suffice.
_HALF_BITS: Final = 32
_DIGITS: Final = 9
_SHORT_LIMBS: Final = 2
_FRACTION_LIMBS: Final = 7
_WHOLE_LIMBS: Final = 4
_EPOCH_DAY: Final = EPOCH.toordinal()
_PLACES: Final = _FRACTION_LIMBS * _DIGITS
_NUMERIC_SUMS: Final = 5


# Floor division, also before 1970; SQLite's own rounds towards zero.
_time: Final = micros(_columns.timestamp)
_one_day: Final = _constant(86_400_000_000)


def _day(zone: Zone) -> _Column:
    time = zone.shifted(_time)
    return (time - (time % _one_day + _one_day) % _one_day) // _one_day


_KEYS: Final[dict[str | None, _Column]] = {
    None: _constant(0),
    "model": _columns.model,
    "session": _columns.session_id,
}


class _Named(NamedTuple):
    """The cluster that a turn names among its further fields, its kind, and the kind of a text."""

    cluster: _Column
    kind: _Column
    text: _Column


_IN_SQLITE: Final = _Named(
    func.json_extract(_columns.extra, _constant("$.cluster")),
    func.json_type(_columns.extra, _constant("$.cluster")),
    _constant("text"),
)
# PostgreSQL stores a NUL in JSON, and cannot read any member of such a document.
_readable: Final = cast(func.replace(cast(_columns.extra, Text), r"\u0000", r"\ufffd"), JsonText)
_ELSEWHERE: Final = _Named(
    _readable.op("->>", return_type=Text())(_constant("cluster")),
    func.json_typeof(_readable.op("->")(_constant("cluster"))),
    _constant("string"),
)
_point: Final = func.instr(_columns.cost_usd.op("||")(_constant(".")), _constant("."))
_IS_LONG: Final = or_(
    func.length(_columns.cost_usd) > _constant(_SHORT_LIMBS * _DIGITS + 1),
    _point > _constant(_DIGITS + 1),
)


class _Shape(NamedTuple):
    """The key of a cached statement; compiling one takes longer than most of them run."""

    by: str | None
    zone: Zone | None = None
    goes_on: Literal["behind a key", "behind no key"] | None = None
    of: Literal["a cluster", "no cluster"] | None = None


def _within(shape: _Shape, named: _Named, *more: _Column) -> Select[Any]:
    """Select what is to be added, and the key, of the turns that are asked for."""
    turns = select(
        _key(shape).label("key"),
        _columns.tokens_used,
        _columns.input_tokens,
        _columns.output_tokens,
        _columns.cost_usd,
        *more,
    ).where(
        _columns.timestamp >= bindparam("since", type_=Instant()),
        _columns.timestamp < bindparam("until", type_=Instant()),
    )
    if shape.of == "a cluster":
        return turns.where(
            named.kind == named.text, named.cluster == bindparam("cluster", type_=Text())
        )
    if shape.of == "no cluster":
        return turns.where(func.coalesce(named.kind, _constant("")) != named.text)
    return turns


def _turns(shape: _Shape) -> Any:
    """Select the columns to add, with the cost split once and not again for each limb."""
    turns = _within(
        shape,
        _IN_SQLITE,
        func.substr(_columns.cost_usd, _point + _constant(1)).label("fraction"),
        _IS_LONG.label("is_long"),
    )
    # Without a limit SQLite would merge this into the outer query, and split for each limb.
    return turns.limit(_constant(-1)).offset(_constant(0)).subquery()


def _sums(turns: Any) -> list[_Column]:
    """Return the sums over the turns, in the order that `_usage` reads."""
    columns = turns.c
    return [
        func.count(),
        *_tokens(columns.tokens_used),
        *_tokens(columns.input_tokens),
        *_tokens(columns.output_tokens),
        # The most decimal places of any cost.
        func.coalesce(func.max(func.length(columns.fraction)), _constant(0)),
        *(_sum(limb) for limb in _limbs(columns)),
    ]


def _sum(value: _Column) -> _Column:
    return func.coalesce(func.sum(value), _constant(0))


def _tokens(column: _Column) -> list[_Column]:
    """Return the sums of the high halves and of the low ones."""
    low = column.op("&")(_constant(2**_HALF_BITS - 1))
    return [_sum(column.op(">>")(_constant(_HALF_BITS))), _sum(low)]


def _limb(digits: _Column, number: int) -> _Column:
    return cast(func.substr(digits, _constant(number * _DIGITS + 1), _constant(_DIGITS)), Integer)


def _limbs(columns: Any) -> Iterator[_Column]:
    """Yield each limb of a cost, in the order of `_POWERS`."""
    cost = columns.cost_usd
    is_long, is_short = columns.is_long == _constant(1), columns.is_long == _constant(0)
    short = columns.fraction.op("||")(_constant("0" * _SHORT_LIMBS * _DIGITS))
    yield case((is_short, cast(cost, Integer)))
    for number in range(_SHORT_LIMBS):
        yield case((is_short, _limb(short, number)))
    width = _WHOLE_LIMBS * _DIGITS
    point = func.instr(cost.op("||")(_constant(".")), _constant("."))
    whole = func.substr(
        _constant("0" * width).op("||")(func.substr(cost, _constant(1), point - _constant(1))),
        _constant(-width),
        _constant(width),
    )
    for number in range(_WHOLE_LIMBS):
        yield case((is_long, _limb(whole, number)))
    fraction = columns.fraction.op("||")(_constant("0" * _PLACES))
    for number in range(_FRACTION_LIMBS):
        yield case((is_long, _limb(fraction, number)))


_POWERS: Final = [
    0,
    *(-number - 1 for number in range(_SHORT_LIMBS)),
    *reversed(range(_WHOLE_LIMBS)),
    *(-number - 1 for number in range(_FRACTION_LIMBS)),
]
"""For each limb its power, counted in limbs from the decimal point."""


# Bounded, as the clock changes within the requested time are a part of the statement.
@lru_cache(maxsize=64)
def _statement(shape: _Shape) -> str:
    """Return the summing statement for SQLite's driver; all its parameters are named."""
    turns = _turns(shape)
    added = _added(shape, turns.c.key, turns.c.key, _sums(turns))
    if shape.by is not None:
        added = added.offset(_constant(0))
    return str(added.compile(dialect=sqlite.dialect(paramstyle="named")))


def _key(shape: _Shape) -> _Column:
    return _day(shape.zone) if shape.zone is not None else _KEYS[shape.by]


def _added(
    shape: _Shape, key: _Column, order: ColumnElement[Any], sums: Sequence[_Column]
) -> Select[Any]:
    added = select(key, *sums)
    if shape.by is not None:
        added = added.group_by(key).order_by(order).limit(bindparam("limit", type_=BigInteger()))
    if shape.goes_on == "behind a key":
        added = added.where(key > bindparam("after", type_=key.type))
    elif shape.goes_on is not None:
        added = added.where(key.is_not(None))
    return added


def _numeric(shape: _Shape) -> Select[Any]:
    """Return the summing statement for a database whose sums of integers and decimals are exact."""
    turns = _within(shape, _ELSEWHERE).subquery()
    columns = turns.c
    counted = (columns.tokens_used, columns.input_tokens, columns.output_tokens)
    sums = [
        func.count(),
        *(_sum(column) for column in counted),
        _sum(columns.cost_usd),
    ]
    key = _constant(0) if shape.by is None else columns.key
    return _added(shape, key, key.nulls_first(), sums)


def report_usage(clock: Clock, reading: Reading, params: ReportUsage) -> bytes:
    """
    Return a page of the tokens and cost of the turns in the requested time, and the total.

    Without an end the time ends at `end_of_present`.
    """
    end = params.until or end_of_present(clock)
    asked: dict[str, Any] = {"since": to_micros(params.since), "until": to_micros(end)}
    whole = _Shape(None)
    if params.cluster is not None:
        whole = whole._replace(of="a cluster" if params.cluster else "no cluster")
        asked["cluster"] = params.cluster
    sums = _executed(reading, whole, asked).one()
    more = b',"total":%b' % adapter(Usage).dump_json(_usage(None, sums[1:]))
    lines: Iterable[Line] = () if params.by is None else _lines(reading, params, whole, asked)
    return write_page(reading, params, "usage", lines, more=more)


def _executed(reading: Reading, shape: _Shape, asked: dict[str, Any]) -> CursorResult[Any]:
    if reading.connection.dialect.name == "sqlite":
        return reading.connection.exec_driver_sql(_statement(shape), asked)
    return reading.execute(_numeric(shape), asked)


def _lines(
    reading: Reading, params: ReportUsage, whole: _Shape, asked: dict[str, Any]
) -> Iterator[Line]:
    # Turns without a key come first; the key of a day is a number.
    position = read_cursor(params, *((int,) if params.by == "day" else (int, str)))
    is_by_day = params.by == "day"
    zone = reading.aside(partial(zone_between, params.time_zone, asked["since"], asked["until"]))
    shape = whole._replace(by=params.by, zone=zone if is_by_day else None)
    asked["limit"] = 2**62 if params.limit is None else params.limit + 1
    if position is not None:
        has_key = params.by == "day" or position[0]
        shape = shape._replace(goes_on="behind a key" if has_key else "behind no key")
        asked |= {"after": position[-1]} if has_key else {}
    line = adapter(Usage)
    with contextlib.closing(_executed(reading, shape, asked)) as found:
        for row in found:
            reading.go_on()
            name = _name_of_day(row[0]) if params.by == "day" else row[0]
            yield Line(line.dump_json(_usage(name, row[1:])), _position(row[0]))


def _position(key: int | str | None) -> Position:
    if isinstance(key, int):
        return (key,)
    return (0, "") if key is None else (1, key)


def _name_of_day(number: int) -> str:
    # Local time may be before the first year, or after the last.
    return date.fromordinal(min(max(_EPOCH_DAY + number, 1), date.max.toordinal())).isoformat()


def _usage(key: str | None, sums: Sequence[Any]) -> Usage:
    """Combine the sums of the limbs, if they are limbs."""
    if len(sums) == _NUMERIC_SUMS:
        turns, used, given, made, total = sums
        return Usage(key, turns, int(used), int(given), int(made), Decimal(total))
    halves = sums[1:7]
    used, given, made = [
        (high << _HALF_BITS) + low for high, low in zip(halves[::2], halves[1::2], strict=True)
    ]
    places, *limbs = sums[7:]
    units = sum(
        limb * 10 ** (_DIGITS * (_FRACTION_LIMBS + power))
        for power, limb in zip(_POWERS, limbs, strict=True)
    )
    digits = str(units).rjust(_PLACES + 1, "0")
    cost = f"{digits[:-_PLACES]}.{digits[-_PLACES:][: max(places, 0)]}"
    return Usage(key, sums[0], used, given, made, Decimal(cost))


QUERIES: Final[Queries] = {ReportUsage: Query(report_usage, Pace.SCAN, needs_clock=True)}
