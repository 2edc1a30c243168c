"""Queries for events."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, get_args

from pydantic_core import to_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    TextClause,
    case,
    false,
    func,
    or_,
    select,
    text,
    tuple_,
)

from jarvis_recorder.errors import NotFound
from jarvis_recorder.ports import Clock
from jarvis_recorder.storage.expressions import micros, octets
from jarvis_recorder.storage.queries.cursors import Beyond, Position, read_cursor, row_of
from jarvis_recorder.storage.queries.json_rows import RowsOf, write_page
from jarvis_recorder.storage.queries.present import end_of_present
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.queries.words import fold, same_names
from jarvis_recorder.storage.tables import events
from jarvis_recorder.wire.records import SEVERITIES, EventType
from jarvis_recorder.wire.rpc.params import EventHistogram, GetEvent, ListEvents, UnresolvedEvents
from jarvis_recorder.wire.times import format_rfc3339

EVENTS: Final = RowsOf(events, ("details", "extra"))

# The most events that one call reads: a filter that matches hardly any would otherwise read
# the whole table. Such a page is short, and its cursor continues after the last event read.
MAX_LOOKED_THROUGH: Final = 2_000

_Condition = ColumnElement[bool] | TextClause
_Filters = ListEvents | EventHistogram
_columns: Final = events.c
_TIME: Final = micros(_columns.timestamp)
_PLACE: Final = (_columns.timestamp, _columns.id)
_NEWEST_FIRST: Final = (_columns.timestamp.desc(), _columns.id.desc())
_TYPES: Final[tuple[str, ...]] = get_args(EventType)
_MOST_NODES: Final = 500
# Quotation marks and dashes as programs set them, by the keys that people type for them.
_KEYS: Final = {
    **dict.fromkeys("\u2018\u2019\u02bc\u05f3", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u05f4", '"'),
    **dict.fromkeys("\u2010\u2011\u2013\u2014\u2212", "-"),
}
_TYPED: Final = str.maketrans(_KEYS)


def list_events(clock: Clock, reading: Reading, params: ListEvents) -> bytes:
    """Return a page of the events that match every filter; see `end_of_present`."""
    chosen = conditions(reading, params)
    if params.since is not None:
        chosen.always.append(_columns.timestamp >= params.since)
    chosen.always.append(_columns.timestamp < (params.until or end_of_present(clock)))
    return _page(reading, params, chosen)


def unresolved_events(reading: Reading, params: UnresolvedEvents) -> bytes:
    """Return a page of the unresolved events."""
    filters = ListEvents(type=params.type, cluster=params.cluster, resolved=False)
    return _page(reading, params, conditions(reading, filters))


def get_event(reading: Reading, params: GetEvent) -> bytes:
    """
    Return one event.

    Raises:
        NotFound: No event has this id.
        MoreRoomNeeded: It is larger than the room.
    """
    event = EVENTS.one(reading, params.id)
    if event is None:
        raise _missing(params.id)
    return b'{"event":%b}' % event


def found_event(connection: Connection, event_id: int) -> bytes:
    """
    Return one event without its large fields, as the result of a change.

    Raises:
        NotFound: No event has this id.
    """
    written = EVENTS.write(connection, event_id)
    if written is None:
        raise _missing(event_id)
    return b'{"event":%b}' % written.text


def _missing(event_id: int) -> NotFound:
    return NotFound(f"there is no event {event_id}")


class Conditions(NamedTuple):
    """
    The conditions of a request: `always`, one of `values`, and `others`.

    An index serves the first two for each value by itself. The others are checked row by row and
    written to fit no index: SQLite does not know how selective each one is, and might prefer
    another index to the one that bounds the rows read.
    """

    always: list[_Condition]
    values: list[_Condition]
    others: list[_Condition]

    def together(self) -> list[_Condition]:
        """Return all of them as conditions of one statement."""
        return [*self.always, *([or_(*self.values)] if self.values else []), *self.others]


def conditions(reading: Reading, filters: _Filters) -> Conditions:
    """Return the conditions that the filters make."""
    chosen, excluded = _chosen(reading, filters), _excluded(filters)
    if "type" in excluded:
        # As those left, which an index serves: nearly all events are metrics.
        left = chosen.get("type", _TYPES)
        chosen["type"] = [one for one in left if one not in excluded["type"]]
        del excluded["type"]
    index = _best_index(filters, chosen)
    always: list[_Condition] = []
    values: list[_Condition] = []
    others: list[_Condition] = []
    if index == "unresolved":
        # Exactly as in the partial index, or SQLite would not use it.
        always.append(text("type = 'alert' AND NOT resolved"))
        del chosen["type"]
    for name, wanted in chosen.items():
        if name == index:
            values += [_columns[name] == value for value in wanted]
        else:
            others.append((_columns[name] + "").in_(wanted))
    for name, unwanted in excluded.items():
        names = spellings_of(reading.connection, *unwanted) if name == "node" else unwanted
        others.append(func.coalesce(_columns[name], "").not_in(names))
    if filters.cluster is not None:
        (always if index == "cluster" else others).append(
            of_cluster(filters.cluster, by_index=index == "cluster")
        )
    if filters.min_severity is not None:
        severe = SEVERITIES[SEVERITIES.index(filters.min_severity) :]
        others.append((_columns.severity + "").in_(severe))
    if filters.resolved is not None and index != "unresolved":
        others.append(_columns.resolved.is_(filters.resolved))
    if filters.text is not None:
        folded = fold(filters.text)
        # Marks and characters of no width leave nothing to look for, which each text would hold.
        others.append(_holds(folded) if folded else false())
    return Conditions(always, values, others)


def _chosen(reading: Reading, filters: _Filters) -> dict[str, list[str]]:
    """Return the values of each field that an event may have, of the fields that are filtered."""
    chosen: dict[str, list[str]] = {}
    for name in ("type", "severity", "source", "node"):
        given = getattr(filters, name)
        if given is None:
            continue
        values = [given] if isinstance(given, str) else given
        if name == "node":
            values = spellings_of(reading.connection, *values)
        chosen[name] = list(dict.fromkeys(values))
    return chosen


def _excluded(filters: _Filters) -> dict[str, list[str]]:
    """Return the values of each field that an event may not have."""
    given = filters.exclude or []
    excluded: dict[str, list[str]] = {}
    for one in [given] if isinstance(given, str) else given:
        name, _, value = one.partition(":")
        excluded.setdefault(name, []).append(value)
    return excluded


def _holds(part: str) -> ColumnElement[bool]:
    """Match summaries that contain a folded text; only non-ASCII ones call back into Python."""
    summary = _columns.summary
    is_ascii = func.length(summary) == func.length(octets(summary))
    typed: ColumnElement[Any] = summary
    for mark, key in _KEYS.items():
        typed = func.replace(typed, mark, key)
    part = part.translate(_TYPED)
    return case(
        (is_ascii, summary.icontains(part, autoescape=True)),
        else_=func.folds_to_hold(typed, part),
    )


def spellings_of(connection: Connection, *nodes: str) -> list[str]:
    """Return the recorded spellings of nodes, as `same_names` does."""
    return same_names(nodes, nodes_of_events(connection))


def nodes_of_events(connection: Connection) -> list[str]:
    """Return the names of the nodes that events name; none if there are too many to compare."""
    names: list[str] = []
    after = ""
    while len(names) < _MOST_NODES:
        # From one name to the next by the index, without reading every event.
        following = select(func.min(_columns.node)).where(_columns.node > after)
        name = connection.execute(following).scalar_one()
        if name is None:
            return names
        names.append(name)
        after = name
    return []


def _best_index(filters: _Filters, chosen: dict[str, list[str]]) -> str | None:
    """Name the most selective index: alerts and actions are rare, nodes a few dozen."""
    types = chosen.get("type")
    if types == ["alert"] and filters.resolved is False:
        return "unresolved"
    if types and set(types) <= {"alert", "action"}:
        return "type"
    if "node" in chosen:
        return "node"
    # Not for the unnamed cluster: events without a cluster are in no index.
    if filters.cluster:
        return "cluster"
    return "type" if types else None


def of_cluster(cluster: str, *, by_index: bool = True) -> ColumnElement[bool]:
    """Return the condition that an event names this cluster, or none if `cluster` is empty."""
    if not cluster:
        return _columns.cluster.is_(None)
    return _columns.cluster == cluster if by_index else (_columns.cluster + "") == cluster


def _page(reading: Reading, params: ListEvents | UnresolvedEvents, chosen: Conditions) -> bytes:
    """Return the matches among the next events in the index."""
    always, others = [*chosen.always], [*chosen.others]
    position = read_cursor(params, int, int)
    always += Beyond(position).only(*_PLACE)
    # Each value by itself is in the order of the page; of several SQLite would sort all rows.
    ways = [[*always, value] for value in chosen.values] or [always]
    end = _place_of_last_looked_at(reading.connection, ways) if others else None
    if end is not None:
        others.append(tuple_(*_PLACE) >= row_of(end, *_PLACE))
    # Only times and ids: SQLite would sort whole rows if times are equal.
    places = select(_TIME, _columns.id).order_by(*_NEWEST_FIRST).limit(params.limit + 1)
    keys = sorted(
        (key for way in ways for key in reading.places(places.where(*way, *others))), reverse=True
    )[: params.limit + 1]
    is_short = end is not None and len(keys) <= params.limit

    def looked_to(cut: Position | None) -> bytes:
        last = cut or (end if is_short else None)
        return b',"looked_to":%b' % to_json(None if last is None else format_rfc3339(int(last[0])))

    lines = EVENTS.lines(reading, keys)
    return write_page(reading, params, "events", lines, end=end, more=looked_to)


def _place_of_last_looked_at(
    connection: Connection, ways: Sequence[Sequence[_Condition]]
) -> tuple[int, int] | None:
    """Return the last place to read, None if the index ends before it for each of the ways."""
    place = select(_TIME, _columns.id).order_by(*_NEWEST_FIRST).limit(1)
    place = place.offset(max(MAX_LOOKED_THROUGH // len(ways), 1) - 1)
    rows = [connection.execute(place.where(*way)).first() for way in ways]
    return max(((row[0], row.id) for row in rows if row is not None), default=None)


QUERIES: Final[Queries] = {
    ListEvents: Query(list_events, needs_clock=True),
    UnresolvedEvents: Query(unresolved_events),
    GetEvent: Query(get_event, Pace.LOOK_UP),
}
