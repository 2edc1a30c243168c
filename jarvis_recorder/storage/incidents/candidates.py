"""The events that may be signals of incidents, read a step's worth at a time."""

import contextlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
from pydantic_core import from_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    case,
    cast,
    false,
    func,
    or_,
    select,
)

from jarvis_recorder.incidents.rules import Rules
from jarvis_recorder.incidents.signals import Effect, EventFacts, Signal, read_event
from jarvis_recorder.retention_policy import FUTURE, UNSET
from jarvis_recorder.storage.expressions import has_tag, micros
from jarvis_recorder.storage.incidents.fold import ReadSignal
from jarvis_recorder.storage.queries.reading import Reading
from jarvis_recorder.storage.tables import events

# As much as one step folds. An event is large that has more text than it takes to name a condition:
# those are counted by their characters.
_SIGNALS_AT_ONCE: Final = 200
_LARGE: Final = 2_048
_MOST_TEXT: Final = 2 * 1024 * 1024
# Longer texts are read one by one: a server sends many rows at a time. What is longer than any
# message another program has written.
_LONG: Final = 4_096
_LONGER_THAN_ANY: Final = 8 * 1024 * 1024
# The members as they are written: to make objects of megabytes takes a tenth of a second and more.
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MOST_SUMMARY: Final = 1_000
# A second.
_ORDERED: Final = 1_000_000


class Candidate(NamedTuple):
    """An event that may be a signal; `details` and `extra` as JSON."""

    row: Row[Any]
    details: str | None
    extra: str | None


def read_candidates(
    connection: Connection, after: int, upto: int, among: Collection[int] | None = None
) -> tuple[list[Candidate], int]:
    """
    Return the events that may be signals, with what of them decides, and up to which all are read.

    It stops before `upto` where that would be too many, or too much text. With `among` it reads these
    events alone.
    """
    found, text_left, read_upto = [], _MOST_TEXT, upto
    following = _events_between(after, upto)
    if among is not None:
        following = following.where(events.c.id.in_(among))
    with contextlib.closing(Reading(connection, 0)) as reading:
        for row in reading.rows(following):
            if row.may_be_signal:
                found.append(row)
            if row.size > _LARGE:
                text_left -= row.size
            if len(found) == _SIGNALS_AT_ONCE or text_left < 0:
                read_upto = row.id
                break
    return [one for row in found for one in _in_full(connection, row)], read_upto


def _in_full(connection: Connection, row: Row[Any]) -> Iterator[Candidate]:
    """Yield an event with its details and extra, but none longer than any message."""
    if not row.is_long:
        yield Candidate(row, row.details, row.extra)
        return
    texts = (cast(column, Text) for column in (events.c.details, events.c.extra))
    readable = (case((func.length(one) <= _LONGER_THAN_ANY, one)) for one in texts)
    # On a server another recorder may have pruned it since.
    for found in connection.execute(select(*readable).where(events.c.id == row.id)).all():
        yield Candidate(row, found[0], found[1])


def _events_between(after: int, upto: int) -> Select[Any]:
    """Select the events that may be signals, and those that are large; no long text."""
    columns = events.c
    details, extra = cast(columns.details, Text), cast(columns.extra, Text)
    says = (columns.type == "alert", has_tag(columns.summary))
    may_be_signal = or_(
        *says,
        func.coalesce(details.contains('"incident"'), false()),
        func.coalesce(extra.contains('"subject"'), false()),
    )
    is_long = or_(*(func.coalesce(func.length(one) > _LONG, false()) for one in (details, extra)))
    size = (
        func.length(columns.summary)
        + func.coalesce(func.length(details), 0)
        + func.coalesce(func.length(extra), 0)
    )
    return (
        select(
            columns.id, micros(columns.timestamp).label("at"), columns.type, columns.severity,
            columns.node, columns.cluster,
            func.substr(columns.summary, 1, _MOST_SUMMARY).label("summary"),
            _if_short(details).label("details"), _if_short(extra).label("extra"),
            is_long.label("is_long"),
            columns.resolved, columns.resolved_by,
            micros(columns.resolved_at).label("resolved_at"),
            micros(columns.recorded_at).label("recorded_at"),
            may_be_signal.label("may_be_signal"), size.label("size"),
        )
        .where(columns.id > after, columns.id <= upto, columns.type != "metric")
        # In this order: no more long texts are searched than a step reads.
        .where(
            or_(
                *says, func.length(details) > _LARGE, func.length(extra) > _LARGE,
                details.contains('"incident"'), extra.contains('"subject"'),
            )
        )
        .order_by(columns.id)
    )  # fmt: skip


def _if_short(text: ColumnElement[str]) -> ColumnElement[str]:
    return case((func.length(text) <= _LONG, text))


def signals_of(candidate: Candidate, rules: Rules, names: Collection[str]) -> Iterable[ReadSignal]:
    """Yield the signals of an event: what it says, and that a person has resolved it."""
    row = candidate.row
    event = EventFacts(
        row.type, row.severity, row.node, row.cluster, row.summary,
        _members(candidate.details, names), _subject(candidate.extra),
    )  # fmt: skip
    if (found := read_event(event, rules)) is None:
        return
    condition, effect = found
    at = _time_of(row)
    yield ReadSignal(row.id, condition, Signal(at, effect, row.severity))
    if row.resolved and effect is Effect.PROBLEM:
        resolved_at = max(at, row.resolved_at or at)
        resolved = Signal(resolved_at, Effect.RESOLVE, by=row.resolved_by, of=at)
        yield ReadSignal(row.id, condition, resolved)


def _time_of(row: Row[Any]) -> int:
    """
    Return the time of an event, or that of its recording if a wrong clock dated it far ahead.

    Otherwise no other event of its condition would count until then.
    """
    if row.recorded_at < UNSET or row.at <= row.recorded_at + FUTURE:
        return int(row.at)
    # The events of a batch have one such time: so they stay in their order.
    return int(row.recorded_at) + int(row.id) % _ORDERED


def _members(text: str | None, names: Iterable[str]) -> dict[str, Any]:
    """Return the texts and numbers with these names of an object, of anything else none."""
    written = _written(text, names)
    try:
        return {
            name: from_json(one) for name, one in written.items() if not one.startswith(("{", "["))
        }
    except ValueError:  # a number of thousands of digits
        return {}


def _written(text: str | None, names: Iterable[str]) -> dict[str, str]:
    """Return the members with these names of an object as they are written, of anything else none."""
    if text is None:
        return {}
    try:
        members = _OBJECT.decode(text)
    except (ValueError, RecursionError):  # written by another program
        return {}
    return {name: bytes(members[name]).decode() for name in names if name in members}


def _subject(extra: str | None) -> str | None:
    if extra is None or '"subject"' not in extra:
        return None
    event = _written(extra, ["cloudevent"]).get("cloudevent")
    subject = _members(event, ["subject"]).get("subject")
    return subject if isinstance(subject, str) and subject else None
