"""Questions about preferences."""

from typing import Final

from sqlalchemy import Connection, bindparam, select

from jarvis_recorder.errors import NotFound
from jarvis_recorder.storage.cursors import read_cursor, write_cursor
from jarvis_recorder.storage.tables import preferences
from jarvis_recorder.wire.answers import OnePreference, Preference, PreferencePage
from jarvis_recorder.wire.questions import GetPreference, ListPreferences

_columns: Final = preferences.c
IN_ORDER: Final = (
    _columns.key,
    _columns.value,
    _columns.updated_at,
    _columns.updated_by,
    _columns.version,
)


def get_preference(connection: Connection, question: GetPreference) -> OnePreference:
    """
    Return one preference.

    Raises:
        NotFound: There is none of this key.
    """
    found = find_preference(connection, question.key)
    if found is None:
        raise NotFound("there is no preference of this key: preferences.list tells which there are")
    return OnePreference(found)


_BY_KEY: Final = select(*IN_ORDER).where(_columns.key == bindparam("key"))


def find_preference(connection: Connection, key: str) -> Preference | None:
    row = connection.execute(_BY_KEY, {"key": key}).first()
    return None if row is None else Preference(*row)


def list_preferences(connection: Connection, question: ListPreferences) -> PreferencePage:
    """Return a page of the preferences whose keys begin with the prefix."""
    by_key = select(*IN_ORDER).order_by(_columns.key).limit(question.limit + 1)
    if question.prefix:
        # As a range, which the primary key serves; LIKE would ignore case besides.
        by_key = by_key.where(
            _columns.key >= question.prefix, _columns.key < question.prefix + "\U0010ffff"
        )
    if (position := read_cursor(question, str)) is not None:
        by_key = by_key.where(_columns.key > position[0])
    found = [Preference(*row) for row in connection.execute(by_key)]
    page = found[: question.limit]
    if len(found) == len(page):
        return PreferencePage(page, None)
    return PreferencePage(page, write_cursor(question, page[-1].key))
