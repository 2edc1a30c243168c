"""A PostgreSQL server of the tests' own: one cluster a session, a database from a template a test."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, Self

import psycopg

from jarvis_recorder.demo.private_postgres import PrivateServer, private_server
from jarvis_recorder.errors import StorageUnavailable

_TABLES: Final = (
    "events", "conversations", "cluster_snapshots", "preferences", "outbox", "dead_letters",
    "stamped_identities", "known_time", "snapshot_measures",
    "incident_conditions", "incident_signals", "incident_actions", "incidents", "silences",
)  # fmt: skip
FAST: Final = ("fsync = off", "full_page_writes = off", "autovacuum = off")
DURABLE: Final = ("fsync = on", "full_page_writes = on", "autovacuum = off")


class Cluster(PrivateServer):
    """A server with databases for tests."""

    def __init__(self, directory: Path, settings: Sequence[str]) -> None:
        super().__init__(directory, settings)
        self._numbers = count(1)
        self._templated = False
        self._shared: str | None = None

    @property
    def directory(self) -> Path:
        """The directory of its socket."""
        return self._directory

    def stop(self, mode: str = "immediate") -> None:
        with contextlib.suppress(StorageUnavailable):
            self._call("pg_ctl", "stop", "-w", "-D", str(self._data), "-m", mode)
        self.kill()

    def destroy(self) -> None:
        """Kill it, and delete its files."""
        self.kill()
        shutil.rmtree(self._data)

    def kill_backends(self) -> None:
        """Kill a serving process as a fault would: the server restarts all of them."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'jarvis-recorder'"
            ).fetchall()
        for (pid,) in rows[:1]:
            os.kill(pid, signal.SIGKILL)

    def execute(self, statement: str, name: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def new_database(self) -> str:
        """Create an empty database, and return its URL."""
        name = f"empty{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    @contextlib.contextmanager
    def database(self, template: str = "made") -> Iterator[str]:
        """Yield the URL of a database with all tables, dropped at the end."""
        self._make_template()
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def emptied(self) -> str:
        """Return the URL of the one database that tests share, with all tables empty."""
        if self._shared is None:
            self._make_template()
            self._shared = "shared"
            self.execute("CREATE DATABASE shared TEMPLATE made")
        self.execute(f"TRUNCATE {', '.join(_TABLES)} RESTART IDENTITY", self._shared)
        self.execute("UPDATE incident_progress SET reached = 0, told_after = 0", self._shared)
        return self.url(self._shared)

    def _make_template(self) -> None:
        from sqlalchemy import create_engine

        from jarvis_recorder.storage.revisions import load_migrations

        if self._templated:
            return
        self.execute("CREATE DATABASE made")
        url = self.url("made")
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
        with engine.begin() as connection:
            load_migrations()(connection)
        engine.dispose()
        self._templated = True


class Standby(Cluster):
    """A copy of a running server, which each of its commits waits for from then on."""

    def __init__(self, directory: Path, primary: Cluster) -> None:
        self._primary = primary
        super().__init__(directory, ("wal_retrieve_retry_interval = 100ms",))

    def _make_data(self) -> None:
        self._call(
            *("pg_basebackup", "--no-sync", "--checkpoint", "fast", "--write-recovery-conf"),
            *("--create-slot", "--slot", "standby"),
            *("--dbname", self._primary.url(), "--pgdata", str(self._data)),
        )

    def start(self) -> Self:
        super().start()
        self._primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self._primary.execute("SELECT pg_reload_conf()")
        return self

    def promote(self) -> None:
        self._call("pg_ctl", "promote", "-w", "-D", str(self._data))


@contextlib.contextmanager
def cluster(settings: Sequence[str] = FAST) -> Iterator[Cluster]:
    """Yield a server that runs; it and its files are gone at the end."""
    with private_server(partial(Cluster, settings=settings)) as made:
        yield made


@contextlib.contextmanager
def standby(primary: Cluster) -> Iterator[Standby]:
    """Yield a synchronous standby of a server; it and its files are gone at the end."""
    with private_server(partial(Standby, primary=primary)) as made:
        yield made
