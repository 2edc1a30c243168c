"""The timeline of a cluster around a time."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Table, select

from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.clusters import chosen_cluster, concerns, known_clusters
from jarvis_recorder.storage.queries.conversations import TURNS
from jarvis_recorder.storage.queries.events import EVENTS, spellings_of
from jarvis_recorder.storage.queries.json_rows import RowsOf
from jarvis_recorder.storage.queries.reading import Queries, Query, Reading
from jarvis_recorder.storage.queries.snapshots import snapshot_in_force
from jarvis_recorder.storage.tables import events
from jarvis_recorder.wire.rpc.params import TimelineAround
from jarvis_recorder.wire.times import EARLIEST, LATEST, format_rfc3339, to_micros

MOST_SHOWN: Final = 1_000
# The share of the room for the snapshot, and the share of the rest for events.
_SNAPSHOT_SHARE: Final = 0.25
_EVENTS_SHARE: Final = 0.5
_FRAME_BYTES: Final = 8_192
_MOST_READ_BYTES: Final = 16 * 1024 * 1024

_Key = tuple[int, int]


class _Window(NamedTuple):
    """A span of time in microseconds, which may exceed the years of a datetime."""

    since: int
    moment: int
    until: int


class _Shown(NamedTuple):
    """The rows shown of one table, in order, with a flag if there are more."""

    lines: Sequence[bytes]
    is_cut: bool


def timeline_around(reading: Reading, params: TimelineAround) -> bytes:
    """
    Return the snapshot in force, and the events and turns of the window in order.

    Events without a cluster are included as `concerns` says.

    Raises:
        InvalidParameter: There are several clusters, and none is named.
    """
    known = known_clusters(reading)
    cluster = chosen_cluster(params.cluster, known)
    moment = to_micros(params.timestamp)
    half = params.window_seconds * 1_000_000 // 2
    window = _Window(moment - half, moment, moment + half)
    chosen: list[ColumnElement[bool]] = []
    if params.node is not None:
        chosen.append(events.c.node.in_(spellings_of(reading.connection, params.node)))
    chosen += concerns(cluster, known)
    room = reading.room - _FRAME_BYTES
    share = int(room * _SNAPSHOT_SHARE)
    snapshot = snapshot_in_force(reading, cluster, params.timestamp, share) or b"null"
    room -= len(snapshot)
    happened = _nearest(reading, EVENTS, window, chosen, int(room * _EVENTS_SHARE))
    room -= sum(map(len, happened.lines))
    said = _nearest(reading, TURNS, window, [], room)
    head = {
        "timestamp": format_rfc3339(moment),
        "since": format_rfc3339(max(window.since, EARLIEST)),
        "until": format_rfc3339(min(window.until, LATEST)),
        "truncated": happened.is_cut or said.is_cut,
    }
    return b'%b,"snapshot":%b,"events":[%b],"turns":[%b]}' % (
        to_json(head)[:-1],
        snapshot,
        b",".join(happened.lines),
        b",".join(said.lines),
    )


def _nearest(
    reading: Reading,
    of: RowsOf,
    window: _Window,
    conditions: Sequence[ColumnElement[bool]],
    room: int,
) -> _Shown:
    """Return the rows nearest to the time that fit into the room, in order."""
    keys = _keys(reading, of.table, window, conditions)
    shown: list[tuple[_Key, bytes]] = []
    read = 0
    for key, line in zip(keys, of.lines(reading, keys[:MOST_SHOWN]), strict=False):
        room -= len(line.text) + 1
        if room < 0 or read > _MOST_READ_BYTES:
            break
        read += line.read
        shown.append((key, line.text))
    return _Shown([text for _, text in sorted(shown)], len(shown) < len(keys))


def _keys(
    reading: Reading, table: Table, window: _Window, conditions: Sequence[ColumnElement[bool]]
) -> list[_Key]:
    """Return time and id of the window's rows, nearest first and more than can be shown."""
    time: ColumnElement[Any] = table.c.timestamp
    number = table.c.id
    places = select(micros(time), number).where(*conditions).limit(MOST_SHOWN + 1)
    before = places.where(time >= window.since, time < window.moment)
    after = places.where(time >= window.moment, time < window.until)
    found = [
        *reading.places(before.order_by(time.desc(), number.desc())),
        *reading.places(after.order_by(time, number)),
    ]
    return sorted(found, key=lambda key: abs(key[0] - window.moment))


QUERIES: Final[Queries] = {TimelineAround: Query(timeline_around)}
