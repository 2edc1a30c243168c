"""Questions about events."""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    TextClause,
    func,
    literal,
    literal_column,
    select,
    text,
    tuple_,
    type_coerce,
)

from jarvis_recorder.errors import NotFound
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.cursors import read_cursor, write_cursor
from jarvis_recorder.storage.present import end_of_present
from jarvis_recorder.storage.rows import parsed
from jarvis_recorder.storage.tables import Instant, events
from jarvis_recorder.wire.answers import Bucket, EventPage, Histogram, OneEvent, StoredEvent
from jarvis_recorder.wire.questions import EventHistogram, GetEvent, ListEvents, UnresolvedEvents
from jarvis_recorder.wire.records import Event, Record
from jarvis_recorder.wire.times import to_datetime, to_micros

# How many events one call looks through: a filter that fits hardly any would otherwise read
# the whole table. The page then is short, and its cursor goes on from where looking ended.
MAX_LOOKED_THROUGH: Final = 2_000

_Condition = ColumnElement[bool] | TextClause
_Filters = ListEvents | EventHistogram
_columns: Final = events.c
_AT: Final = tuple_(_columns.timestamp, _columns.id)
_NEWEST_FIRST: Final = (_columns.timestamp.desc(), _columns.id.desc())
_WIDTHS: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200,
    86_400, 172_800, 604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000,
)  # fmt: skip
_BUCKETS_BY_DEFAULT: Final = 60


def list_events(clock: Clock, connection: Connection, question: ListEvents) -> EventPage:
    """Return a page of the events that match every filter; see `end_of_present`."""
    indexed, others = _conditions(question)
    if question.since is not None:
        indexed.append(_columns.timestamp >= question.since)
    indexed.append(_columns.timestamp < (question.until or end_of_present(clock)))
    return _page(connection, question, indexed, others)


def unresolved_events(connection: Connection, question: UnresolvedEvents) -> EventPage:
    """Return a page of the events that nobody has resolved."""
    return _page(connection, question, [], [~_columns.resolved])


def get_event(connection: Connection, question: GetEvent) -> OneEvent:
    """
    Return one event.

    Raises:
        NotFound: There is none of this id.
    """
    return OneEvent(find_event(connection, question.id))


def find_event(connection: Connection, event_id: int) -> StoredEvent:
    row = connection.execute(select(events).where(_columns.id == event_id)).first()
    if row is None:
        raise NotFound(f"there is no event {event_id}")
    return stored_event(row)


def stored_event(row: Row[Any]) -> StoredEvent:
    """Return a row of the table as an answer has it."""
    fields = row._asdict()
    return StoredEvent(
        **fields | {"details": parsed(fields["details"]), "extra": parsed(fields["extra"])}
    )


def new_event(event_id: int, record: Record, recorded_at: int) -> StoredEvent:
    """Return a record as an answer has it that was inserted a moment ago: reading costs more."""
    body = record.body
    assert isinstance(body, Event)
    return StoredEvent(
        id=event_id,
        message_id=record.message_id,
        timestamp=to_datetime(record.timestamp),
        stamped=record.stamped,
        type=body.type,
        severity=body.severity,
        source=body.source,
        node=body.node,
        summary=body.summary,
        details=body.details,
        resolved=False,
        resolved_at=None,
        resolved_by=None,
        extra=record.extra,
        recorded_at=to_datetime(recorded_at),
    )


def _conditions(filters: _Filters) -> tuple[list[_Condition], list[_Condition]]:
    """
    Return the conditions that one index serves, and those that rows are checked for.

    The latter are written so that no index fits them: SQLite, which does not know how many rows
    each would leave, might prefer another index to the one that bounds what is looked through.
    """
    index = _best_index(filters)
    indexed: list[_Condition] = []
    others: list[_Condition] = []
    if index == "unresolved":
        # To the letter, or SQLite would not see that the partial index covers it.
        indexed.append(text("type = 'alert' AND NOT resolved"))
    for name in ("type", "severity", "source", "node"):
        value = getattr(filters, name)
        if value is None or (name == "type" and index == "unresolved"):
            continue
        if name == index:
            indexed.append(_columns[name] == value)
        else:
            others.append((_columns[name] + "") == value)
    if filters.resolved is not None and index != "unresolved":
        others.append(_columns.resolved.is_(filters.resolved))
    if filters.text is not None:
        others.append(_columns.summary.icontains(filters.text, autoescape=True))
    return indexed, others


def _best_index(filters: _Filters) -> str | None:
    """Name what leaves the fewest rows: alerts and actions are rare, nodes a few dozen."""
    if filters.type == "alert" and filters.resolved is False:
        return "unresolved"
    if filters.type in ("alert", "action"):
        return "type"
    if filters.node is not None:
        return "node"
    return "type" if filters.type is not None else None


def _page(
    connection: Connection,
    question: ListEvents | UnresolvedEvents,
    indexed: list[_Condition],
    others: list[_Condition],
) -> EventPage:
    """Return what matches among the next events that the index leads to."""
    position = read_cursor(question, int, int)
    if position is not None:
        indexed.append(_place(*position) > _AT)
    end = _place_of_last_looked_at(connection, indexed) if others else None
    if end is not None:
        others.append(_place(*end) <= _AT)
    page = select(events).where(*indexed, *others).order_by(*_NEWEST_FIRST)
    rows = connection.execute(page.limit(question.limit + 1)).all()
    if len(rows) > question.limit:
        rows = rows[: question.limit]
        end = (to_micros(rows[-1].timestamp), rows[-1].id)
    return EventPage(
        [stored_event(row) for row in rows], None if end is None else write_cursor(question, *end)
    )


def _place(micros: Any, event_id: Any) -> ColumnElement[Any]:
    return tuple_(literal(to_datetime(micros), Instant()), literal(event_id, Integer()))


def _place_of_last_looked_at(
    connection: Connection, indexed: Sequence[_Condition]
) -> tuple[int, int] | None:
    """Return where looking has to end, None where the index ends before."""
    place = (
        select(_columns.timestamp, _columns.id)
        .where(*indexed)
        .order_by(*_NEWEST_FIRST)
        .limit(1)
        .offset(MAX_LOOKED_THROUGH - 1)
    )
    row = connection.execute(place).first()
    return None if row is None else (to_micros(row.timestamp), row.id)


def histogram(connection: Connection, question: EventHistogram) -> Histogram:
    """Return how many events fall into each stretch of time, empty stretches too."""
    width = question.bucket_seconds or _usual_width(question)
    micros = width * 1_000_000
    first = to_micros(question.since) // micros
    last = ceil(to_micros(question.until) / micros)
    buckets = [Bucket(to_datetime(number * micros), 0, {}) for number in range(first, last)]
    for number, value, count in _counted(connection, question, micros):
        bucket = buckets[number - first]
        by = bucket.by if question.by is None else bucket.by | {value or "": count}
        buckets[number - first] = Bucket(bucket.start, bucket.count + count, by)
    return Histogram(width, buckets)


def _usual_width(question: EventHistogram) -> int:
    """Return the first round width that makes at most about sixty buckets."""
    seconds = (question.until - question.since).total_seconds()
    wanted = seconds / _BUCKETS_BY_DEFAULT
    return next((width for width in _WIDTHS if width >= wanted), ceil(wanted))


def _counted(
    connection: Connection, question: EventHistogram, micros: int
) -> Iterator[tuple[int, str | None, int]]:
    """Yield number of bucket, value and count, where there is anything to count."""
    indexed, others = _conditions(question)
    # Floor division, before 1970 too: SQLite's own rounds towards zero.
    time = type_coerce(_columns.timestamp, Integer())
    bucket = ((time - (time % micros + micros) % micros) // micros).label("bucket")
    value = literal_column("''") if question.by is None else _columns[question.by]
    counted = (
        select(bucket, value.label("value"), func.count())
        .where(
            _columns.timestamp >= question.since,
            _columns.timestamp < question.until,
            *indexed,
            *others,
        )
        .group_by("bucket", "value")
    )
    yield from connection.execute(counted)
