"""Queries for preferences."""

from typing import Final

from sqlalchemy import Connection, bindparam, select

from jarvis_recorder.errors import NotFound
from jarvis_recorder.storage.expressions import micros
from jarvis_recorder.storage.queries.cursors import read_cursor
from jarvis_recorder.storage.queries.json_rows import Line, write_page
from jarvis_recorder.storage.queries.look_up import LookUp
from jarvis_recorder.storage.queries.reading import Pace, Queries, Query, Reading
from jarvis_recorder.storage.tables import preferences
from jarvis_recorder.wire.rpc.methods import adapter
from jarvis_recorder.wire.rpc.params import GetPreference, ListPreferences
from jarvis_recorder.wire.rpc.results import OnePreference, Preference
from jarvis_recorder.wire.times import to_datetime

_columns: Final = preferences.c
IN_ORDER: Final = (
    _columns.key,
    _columns.value,
    _columns.updated_at,
    _columns.updated_by,
    _columns.version,
)


def get_preference(reading: Reading, params: GetPreference) -> bytes:
    """
    Return one preference.

    Raises:
        NotFound: No preference has this key.
    """
    found = find_preference(reading.connection, params.key)
    if found is None:
        raise NotFound("there is no preference of this key: preferences.list tells which there are")
    return adapter(OnePreference).dump_json(OnePreference(found))


_BY_KEY: Final = LookUp(
    select(
        _columns.key,
        _columns.value,
        micros(_columns.updated_at),
        _columns.updated_by,
        _columns.version,
    ).where(_columns.key == bindparam("key")),
    "key",
)


def find_preference(connection: Connection, key: str) -> Preference | None:
    """Return the preference of a key, None if there is none."""
    row = _BY_KEY.first(connection, key)
    if row is None:
        return None
    key, value, updated_at, updated_by, version = row
    return Preference(key, value, to_datetime(updated_at), updated_by, version)


def list_preferences(reading: Reading, params: ListPreferences) -> bytes:
    """Return a page of the preferences whose keys begin with the prefix."""
    by_key = select(*IN_ORDER).order_by(_columns.key).limit(params.limit + 1)
    if params.prefix:
        # As a range, which the primary key serves; LIKE would also ignore case.
        by_key = by_key.where(
            _columns.key >= params.prefix, _columns.key < params.prefix + "\U0010ffff"
        )
    if (position := read_cursor(params, str)) is not None:
        by_key = by_key.where(_columns.key > position[0])
    preference = adapter(Preference)
    lines = (
        Line(preference.dump_json(Preference(*row)), (row.key,)) for row in reading.rows(by_key)
    )
    return write_page(reading, params, "preferences", lines)


QUERIES: Final[Queries] = {
    GetPreference: Query(get_preference, Pace.LOOK_UP),
    ListPreferences: Query(list_preferences),
}
