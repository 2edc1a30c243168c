"""Checks of a PostgreSQL server and the recorder's database on it; nothing is changed."""

import time
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from sqlalchemy import create_engine

from jarvis_recorder.errors import ConfigurationError, RecorderError, StorageUnavailable
from jarvis_recorder.storage import revisions
from jarvis_recorder.storage.postgres import errors
from jarvis_recorder.storage.postgres.connections import FIRST_VERSION, Server
from jarvis_recorder.telemetry.check import Finding, green, red, yellow

_WRONG: Final = ConfigurationError.exit_code
_AWAY: Final = StorageUnavailable.exit_code
_MOST_SECONDS_APART: Final = 5.0
# What one recorder opens: reads, changes, records.
_CONNECTIONS_OF_ONE: Final = 9
_FACTS: Final = """
    SELECT
        current_setting('server_version'), current_setting('server_encoding'),
        current_setting('fsync'), current_setting('full_page_writes'),
        current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
        pg_is_in_recovery(), extract(epoch FROM clock_timestamp())::float8,
        current_setting('max_connections')::int, (SELECT count(*) FROM pg_stat_activity),
        has_schema_privilege(current_schema(), 'CREATE')
"""


def check(url: str) -> Sequence[Finding]:
    """Return all findings about the server and the database."""
    try:
        server = Server(url)
    except ConfigurationError as error:
        return [red("database", str(error), "see store.url", _WRONG)]
    try:
        with psycopg.connect(server.conninfo) as connection:
            return [green("database", server.name), *_checked(server, connection)]
    except psycopg.Error as error:
        if errors.is_not_allowed(error, server.hosts):
            return [
                red(
                    "database",
                    str(errors.not_allowed(error, server.name)),
                    "see its user, password and sslmode, and pg_hba.conf",
                    _WRONG,
                )
            ]
        what = str(errors.translate(error, server.name))
        return [red("database", what, "see that the server runs and is reached from here", _AWAY)]


def _checked(server: Server, connection: psycopg.Connection[Any]) -> Sequence[Finding]:
    row = connection.execute(_FACTS).fetchone()
    assert row is not None
    version, encoding, fsync, pages, commit, standbys, is_standby, now, most, used, may_create = row
    apart = abs(now - time.time())
    free = most - used
    return [
        _is(connection.info.server_version >= FIRST_VERSION, "version", f"PostgreSQL {version}", "use PostgreSQL 15 or newer"),
        _is(encoding == "UTF8", "encoding", encoding, "create the database with ENCODING 'UTF8'"),
        _durability(fsync=fsync, pages=pages, commit=commit, standbys=standbys),
        _is(not is_standby, "writable", "a standby, read-only" if is_standby else "yes", "name the primary, or every host with target_session_attrs=read-write"),
        _schema(server, may_create=may_create),
        green("clock", f"{apart:.1f} s from the server's")
        if apart <= _MOST_SECONDS_APART
        else yellow("clock", f"{apart:.0f} s from the server's", "synchronise both machines' clocks"),
        green("connections", f"{used} of {most} are used")
        if free >= 2 * _CONNECTIONS_OF_ONE
        else yellow("connections", f"{used} of {most} are used", f"raise max_connections: a recorder opens up to {_CONNECTIONS_OF_ONE}"),
        yellow("encryption", "traffic to the server can be read", "add ?sslmode=verify-full to store.url")
        if server.is_exposed
        else green("encryption", "local, or by TLS"),
    ]  # fmt: skip


def _is(ok: bool, name: str, detail: str, remedy: str) -> Finding:
    return green(name, detail) if ok else red(name, detail, remedy, _WRONG)


def _durability(*, fsync: str, pages: str, commit: str, standbys: str) -> Finding:
    name = "durability"
    off = [
        setting
        for setting, value in (("fsync", fsync), ("full_page_writes", pages))
        if value != "on"
    ]
    if off:
        what = f"{' and '.join(off)} off: a crash of the machine loses or damages what was recorded"
        return red(name, what, "set it to on in postgresql.conf", _WRONG)
    if commit == "off":
        # The recorder's own sessions set it to on.
        return yellow(name, "synchronous_commit is off for other sessions than the recorder's")
    if standbys:
        return green(name, f"each commit is on disk, and on a standby of {standbys}")
    return green(name, "each commit is on disk")


def _schema(server: Server, *, may_create: bool) -> Finding:
    name = "schema"
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(server.conninfo),
        use_native_hstore=False,
    )
    try:
        with errors.translated_errors(server.name), engine.connect() as connection:
            revision = revisions.current_revision(connection)
            age = revisions.age_of(revision)
    except RecorderError as error:
        return red(name, str(error), "see store.url", error.exit_code)
    finally:
        engine.dispose()
    if age is revisions.SchemaAge.CURRENT:
        return green(name, f"revision {revision}")
    if not may_create:
        remedy = "GRANT CREATE ON SCHEMA public, or make the user the database's owner"
        return red(name, "the user may create no tables", remedy, _WRONG)
    return green(name, f"revision {revision or 'none'}: upgraded when the recorder starts")
