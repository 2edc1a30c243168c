"""The contenders: how to install and start each, and the job that each gets."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from bench.load import EVENTS, SNAPSHOTS, TURNS, Load
from bench.stores import FileStore, Store
from jarvis_recorder.wire.records import EVENT_COLUMNS

HERE: Final = Path(__file__).parent
THIS: Final = HERE.parent
PEERS: Final = HERE / "peers"

# What a peer is sent ahead by default.
_PREFETCH: Final = 10_000

# The recorder's own durability, checkpoint interval and cache size.
_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA cache_size = -16000",
)
# A peer's row is the recorder's, with the time of recording at its end.
_COLUMNS: Final = (*EVENT_COLUMNS, "recorded_at")


def _insert(placeholders: Iterable[str]) -> str:
    return (
        f"INSERT INTO events ({', '.join(_COLUMNS)}) VALUES ({', '.join(placeholders)})"
        " ON CONFLICT DO NOTHING"
    )


_FILE_INSERT: Final = _insert("?" * len(_COLUMNS))
_SERVER_INSERT: Final = _insert(f"${number}" for number in range(1, len(_COLUMNS) + 1))


class NotHere(Exception):
    """A contender's tools are missing; the text says which."""


class Job(NamedTuple):
    """The queue that a contender consumes, and the database that it fills."""

    url: str
    queue: str
    messages: int
    store: Store
    settings: "Settings"
    checkout: Path

    @property
    def file(self) -> Path:
        """The path of a database that is a file."""
        return Path(self.store.target)


class Settings(NamedTuple):
    """
    The settings of a contender.

    The recorder alone decides how much a transaction holds. Where `prefetch` is None, so many
    messages are sent ahead as is the contender's default.
    """

    batch: int = 2_000
    prefetch: int | None = None


class Contender(NamedTuple):
    """
    A program that is measured, with `in_one` events a message.

    A slow contender gets only a `share` of the events. `size` is that of a body in bytes, where
    it is not the load's own, and `rows` are stored before. A recorder is run from its `checkout`,
    in so many `processes` on one database. `on_server`: that is PostgreSQL's.

    `command` installs missing packages and returns the command line.

    Raises (`command`):
        NotHere: The contender cannot run on this machine.
    """

    key: str
    name: str
    command: Callable[[Job], list[str]]
    stores: bool = True
    in_one: int = 1
    share: float = 1
    settings: Settings = Settings()
    load: Load = EVENTS
    size: int = 0
    rows: int = 0
    checkout: Path = THIS
    on_server: bool = False
    processes: int = 1

    @property
    def is_recorder(self) -> bool:
        return self.command is recorder_command


def recorder_command(job: Job, *settings: str) -> list[str]:
    """Return the command line of the recorder for a job, as any operator would run it."""
    pairs = (
        f"broker.url={job.url}",
        f"store.url={job.store.url}",
        "http.listen=127.0.0.1:0",
        *settings,
    )
    if job.settings.prefetch is not None:
        pairs += (f"ingest.prefetch={job.settings.prefetch}",)
    return [
        *program(job.checkout),
        "run",
        *(word for pair in pairs for word in ("--set", pair)),
    ]


def program(checkout: Path) -> list[str]:
    """Return the command line of a checkout's own recorder, whatever is installed."""
    own = checkout / ".venv" / "bin" / "python"
    python = str(own if own.exists() else sys.executable)
    return ["env", f"PYTHONPATH={checkout}", python, "-P", "-m", "jarvis_recorder"]


def environment() -> dict[str, str]:
    """
    Return this process's environment without settings of the recorder.

    Python keeps bytecode in `results`, as it is kept where a program is installed: otherwise the
    time to start would be that of compiling.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("JARVIS_RECORDER_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    return inherited | {"PYTHONPYCACHEPREFIX": str(HERE / "results" / "bytecode")}


def _described(job: Job) -> str:
    return json.dumps(
        {
            "url": job.url,
            "queue": job.queue,
            "count": job.messages,
            "database": job.store.target,
            "batch": job.settings.batch,
            "prefetch": job.settings.prefetch or _PREFETCH,
            "pragmas": _PRAGMAS,
            "insert": _FILE_INSERT if isinstance(job.store, FileStore) else _SERVER_INSERT,
        }
    )


def _python(script: str) -> Callable[[Job], list[str]]:
    return lambda job: [str(python_peers()), str(PEERS / script), _described(job)]


def _node(job: Job) -> list[str]:
    return [_node_peers(), str(PEERS / "writer.js"), _described(job)]


def _c(job: Job) -> list[str]:
    numbers = (job.messages, job.settings.batch, job.settings.prefetch or _PREFETCH)
    return [str(_c_peer()), job.url, job.queue, *(str(number) for number in numbers)]


@cache
def python_peers() -> Path:
    """Return the Python of `bench/.venv`, rebuilt after a change of its requirements."""
    environment_directory = HERE / ".venv"
    python = environment_directory / "bin" / "python"
    requirements = PEERS / "requirements.txt"
    ready = environment_directory / "ready"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not ready.exists() or ready.read_text() != wanted:
        _install([sys.executable, "-m", "venv", "--clear", str(environment_directory)])
        _install(
            [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)]
        )
        ready.write_text(wanted)
    return python


@cache
def _node_peers() -> str:
    """Return the path of Node.js, with the packages of the lock file installed."""
    node, npm = _tool("node"), _tool("npm")
    installed = PEERS / "node_modules" / ".package-lock.json"
    lock = PEERS / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        # Without a prebuilt binary npm compiles better-sqlite3, and would download headers: use
        # those installed with this Node.js, if there are any.
        prefix = Path(node).resolve().parents[1]
        headers = (prefix / "include" / "node" / "node.h").exists()
        settings = {"npm_config_nodedir": str(prefix)} if headers else {}
        _install([npm, "ci", "--no-audit", "--no-fund"], **settings)
    _install([node, "-e", "new (require('better-sqlite3'))(':memory:')"])
    return node


@cache
def _c_peer() -> Path:
    """Return the C consumer, compiled."""
    compiler = shutil.which("cc") or _tool("gcc")
    program = HERE / "results" / "consume"
    program.parent.mkdir(exist_ok=True)
    source = str(PEERS / "consume.c")
    _install([compiler, "-O2", "-Wall", "-o", str(program), source, "-lrabbitmq"])
    return program


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise NotHere(f"{name} is not installed")
    return path


def _install(command: list[str], **settings: str) -> None:
    done = subprocess.run(
        command,
        cwd=PEERS,
        env={**environment(), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        reason = errors[0].strip() if errors else f"exit code {done.returncode}"
        raise NotHere(f"{Path(command[0]).name}: {reason}")


CONTENDERS: Final = (
    Contender("recorder", "jarvis-recorder", recorder_command),
    Contender("batched", "the same, 100 a message", recorder_command, in_one=100),
    Contender(
        "snapshots", "the same, snapshots", recorder_command, load=SNAPSHOTS, size=8_192, share=0.1
    ),
    Contender("turns", "the same, turns", recorder_command, load=TURNS, size=1_024, share=0.5),
    Contender("a", "FastStream + aiosqlite", _python("faststream_writer.py"), share=0.05),
    Contender("b", "pika + sqlite3", _python("pika_writer.py")),
    Contender("c", "amqplib + better-sqlite3", _node),
    Contender("postgres", "jarvis-recorder on PostgreSQL", recorder_command, on_server=True),
    Contender(
        "three", "three of them on PostgreSQL", recorder_command, on_server=True, processes=3
    ),
    Contender(
        "e",
        "FastStream + asyncpg",
        _python("faststream_postgres_writer.py"),
        share=0.05,
        on_server=True,
    ),
    Contender("d", "aio-pika alone", _python("aio_pika_consumer.py"), stores=False),
    Contender("d", "librabbitmq alone", _c, stores=False),
)
