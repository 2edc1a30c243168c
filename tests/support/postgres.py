"""A PostgreSQL server of the tests' own: one cluster a session, a database from a template a test."""

import contextlib
import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import psycopg

_USER = "jarvis"
_TABLES = (
    "events", "conversations", "cluster_snapshots", "preferences", "outbox", "dead_letters",
    "stamped_identities", "known_time", "snapshot_measures",
    "incident_conditions", "incident_signals", "incident_actions", "incidents", "silences",
)  # fmt: skip
_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=on")
DURABLE = ("fsync=on", "full_page_writes=on", "synchronous_commit=on")


def binaries() -> Path:
    """The directory of the newest server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_version)
    if not found:
        raise FileNotFoundError("there is no PostgreSQL server: `make test` installs it")
    return found[-1].parent


def _version(path: Path) -> float:
    return float(path.parent.parent.name)


class Cluster:
    """A server with its data in a directory of its own, which listens on a Unix socket only."""

    def __init__(self, directory: Path, settings: Sequence[str] = _FAST) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._settings = settings
        self._numbers = count(1)
        self._templated = False
        self._shared: str | None = None
        # The server refuses root.
        self._as: list[str] = []
        if os.getuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(directory, user.pw_uid, user.pw_gid)
            self._as = [
                "setpriv",
                f"--reuid={user.pw_uid}",
                f"--regid={user.pw_gid}",
                "--clear-groups",
            ]
        self._call(
            "initdb", "--no-sync", "--username", _USER, "--auth", "trust", "--encoding", "UTF8",
            "--locale", "C", "--pgdata", str(self._data),
        )  # fmt: skip

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://{_USER}@/{name}?host={self._directory}"

    def start(self) -> None:
        settings = [
            "listen_addresses=", f"unix_socket_directories={self._directory}", "max_connections=60",
            "shared_buffers=32MB", "autovacuum=off", *self._settings,
        ]  # fmt: skip
        options = " ".join(f"-c {each}" for each in settings)
        log = self._directory / "log"
        self._call(
            "pg_ctl",
            "start",
            "-w",
            "-t",
            "60",
            "-D",
            str(self._data),
            "-l",
            str(log),
            "-o",
            options,
        )

    def stop(self, mode: str = "immediate") -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._call("pg_ctl", "stop", "-w", "-D", str(self._data), "-m", mode)

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
    def database(self) -> Iterator[str]:
        """Yield the URL of a database with all tables, dropped at the end."""
        self._make_template()
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE made")
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

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as, str(binaries() / program), *arguments],
            check=True, cwd="/", stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "USER": getpass.getuser()},
        )  # fmt: skip


@contextlib.contextmanager
def cluster(settings: Sequence[str] = _FAST) -> Iterator[Cluster]:
    """Yield a server that runs; it and its files are gone at the end."""
    # Short, as the path of a Unix socket has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="jarvis-pg-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        made = Cluster(directory, settings)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
