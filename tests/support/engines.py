"""
The two kinds of database that a recorder runs on.

A test runs on both by the mark `on_both`, or by the contract tests' fixture `store`.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg
import pytest
from psycopg.types.datetime import TimestamptzLoader
from psycopg.types.string import TextLoader

from jarvis_recorder.wire.times import to_micros
from tests.support.postgres import Cluster

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
ENGINES: Final = (SQLITE, POSTGRESQL)

on_both: Final = pytest.mark.parametrize("engine", ENGINES, indirect=True)

# What runs on one of them only, and why.
ON_ONE: Final[dict[str, tuple[str, ...]]] = {
    "a file is locked, moved, damaged, copied, or grows until its disk is full": (
        "contract/test_budget.py", "contract/test_pruning.py", "contract/test_wrong_clocks.py",
        "contract/test_repository.py", "faults/test_backups.py", "faults/test_damage_while_running.py",
        "faults/test_files_taken_away.py", "faults/test_health_faults.py", "faults/test_stop.py",
        "faults/test_storage_faults.py", "integration/test_service.py",
    ),
    "SQLite is a part of the process: its threads, its syncs, its plans, its index of words": (
        "contract/test_archive.py", "contract/test_bounds.py", "contract/test_clusters.py", "contract/test_days.py",
        "contract/test_erasure.py", "contract/test_matrix.py", "contract/test_search.py",
        "contract/test_search_as_a_scan.py", "contract/test_search_pages.py",
        "contract/test_two_in_flight.py", "faults/test_faults_in_flight.py",
    ),
    "a server is stopped, loses its sessions, or has several recorders": (
        "contract/test_incident_actions.py", "contract/test_incident_reading.py",
        "contract/test_lost_commits.py",
        "contract/test_partitions.py", "contract/test_postgres.py",
        "contract/test_postgres_commands.py", "contract/test_postgres_connections.py",
        "contract/test_postgres_refusals.py", "contract/test_series.py",
        "contract/test_standbys.py",
        "faults/test_postgres_kills.py",
    ),
    "rows are brought from one to the other": (
        "contract/test_series.py", "contract/test_transfer.py", "faults/test_privileges.py",
        "integration/test_import.py",
    ),
    "it is about the broker, commands or what stands in front of the methods, which are tested": (
        "faults/test_answering_faults.py", "faults/test_broker_faults.py",
        "faults/test_cluster.py", "faults/test_crash_loops.py", "faults/test_kills.py",
        "integration/test_answering.py", "integration/test_client.py",
        "integration/test_command_line.py", "integration/test_dead.py",
        "integration/test_dead_bounds.py", "integration/test_examples.py",
        "integration/test_exit_codes.py", "integration/test_forged_replies.py",
        "integration/test_gateway.py",
        "integration/test_gateway_bounds.py", "integration/test_gateway_document.py",
        "integration/test_publishers_run.py", "integration/test_roles.py",
        "integration/test_several_recorders.py", "integration/test_tls.py",
        "integration/test_hanging_storage.py", "integration/test_tracing.py", "e2e/test_dangers.py", "e2e/test_incidents_page.py",
        "e2e/test_keys.py", "e2e/test_machines.py", "e2e/test_overview.py",
        "e2e/test_page.py", "e2e/test_reading.py", "e2e/test_settings.py",
    ),
}  # fmt: skip

# Fixtures by which a test chooses a kind, and those by which it has a database.
_CHOOSING: Final = frozenset({"engine", "store", "module_store"})
_ON_A_DATABASE: Final = frozenset(
    {"postgres", "postgres_url", "recorded", "sqlite_store", "start_recorder", "store"}
)

Rows = list[tuple[Any, ...]]

_COLUMNS: Final = "timestamp, stamped, type, severity, source, summary, recorded_at"
_EVENT: Final = "'metric', 'info', 'monitor', 'event ' || i"


def on_one_unnamed(items: Iterable[pytest.Item], tests: Path) -> set[str]:
    """Return the files below `tests` with a test on one kind of database that ON_ONE does not name."""
    alone = {
        str(item.path.relative_to(tests))
        for item in items
        if isinstance(item, pytest.Function)
        # Those have fakes, and fixtures of these names for other things.
        and not item.path.is_relative_to(tests / "unit")
        and not _CHOOSING & set(item.callspec.params if hasattr(item, "callspec") else ())
        and _ON_A_DATABASE & set(item.fixturenames)
    }
    return alone - {file for files in ON_ONE.values() for file in files}


class Database(Protocol):
    """A database as a test reaches it from outside."""

    url: str

    def rows(self, query: str, *parameters: Any) -> Rows:
        """
        Read it, with times in microseconds, and JSON and decimals as text.

        Returns nothing while it cannot be reached or has no such table.
        """

    def execute(self, statement: str) -> None:
        """Change it from outside."""

    def away(self) -> contextlib.AbstractContextManager[None]:
        """Keep it from everyone who writes, as long as the block lasts."""

    def add_events(self, number: int) -> None:
        """Add events of the first seconds of 1970, a microsecond each."""

    def require_sound(self) -> None:
        """Make sure that it is not damaged."""


class File:
    """A database of SQLite."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"

    def rows(self, query: str, *parameters: Any) -> Rows:
        return rows(self._path, query, *parameters)

    def execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute(statement)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Lock it, as another program may."""
        with closing(sqlite3.connect(self._path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield

    def add_events(self, number: int) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                f" INSERT INTO events ({_COLUMNS}) SELECT i, 0, {_EVENT}, 0 FROM n",
                (number,),
            )

    def require_sound(self) -> None:
        assert self.rows("PRAGMA integrity_check") == [("ok",)]


class OnServer:
    """A database on a server of PostgreSQL."""

    def __init__(self, server: Cluster, url: str) -> None:
        self._server = server
        self.url = url

    def rows(self, query: str, *parameters: Any) -> Rows:
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                for name in ("json", "numeric"):
                    connection.adapters.register_loader(name, TextLoader)
                connection.adapters.register_loader("timestamptz", _Micros)
                # With parameters a percent sign would be doubled; no query has both.
                found = connection.execute(query.replace("?", "%s"), parameters or None)
                return found.fetchall()
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
            return []

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Stop the server, as a crash does, and start it again."""
        self._server.stop()
        try:
            yield
        finally:
            self._server.start()

    def add_events(self, number: int) -> None:
        epoch = "timestamptz 'epoch'"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                f"INSERT INTO events ({_COLUMNS}) SELECT {epoch} + i * interval '1 microsecond',"
                f" false, {_EVENT}, {epoch} FROM generate_series(1, %s) AS n (i)",
                (number,),
            )

    def require_sound(self) -> None:
        """Do nothing: the server's files are its own."""


class _Micros(TimestamptzLoader):
    def load(self, data: Any) -> Any:
        return to_micros(super().load(data))


def rows(path: Path, query: str, *parameters: Any) -> Rows:
    """Read a file from outside; return nothing while it does not exist."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(query, parameters).fetchall()
    except sqlite3.OperationalError:
        return []
