"""The databases that contenders fill, a file or a private PostgreSQL server, read from outside."""

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import psycopg

from bench.cpu import with_children_ns
from bench.load import Load
from jarvis_recorder.demo.private_postgres import PrivateServer, private_server
from jarvis_recorder.storage.rows import SHAPES
from jarvis_recorder.storage.sqlite.row_inserts import flat, insert_statement
from jarvis_recorder.wire.records import EVENT_COLUMNS, EventRow
from jarvis_recorder.wire.topics import Kind

ROWS_AT_ONCE: Final = 500
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES: Final = ("timestamp", "resolved_at", "recorded_at")
# As a server of its own would be set up; the sizes of the private one are for tests.
_SERVER: Final = ("shared_buffers = 1GB", "max_wal_size = 4GB", "checkpoint_timeout = 15min")


class Stored(NamedTuple):
    """The rows of a load: how many, of how many identities and times, and between which times."""

    rows: int
    identities: int
    times: int
    first: int
    last: int
    filled: int
    stamped: int


class Reading(Protocol):
    """An open connection that looks at what is committed."""

    def newest(self, load: Load) -> int:
        """Return the highest id, 0 in an empty table."""


class Store(Protocol):
    """A new database; `url` is the recorder's setting, `target` the address that a peer is given."""

    url: str
    target: str

    def reading(self) -> contextlib.AbstractContextManager[Reading]:
        """Connect while entered."""

    def fill(self, rows: Iterator[EventRow]) -> Iterator[int]:
        """Insert events in large transactions; yield the number so far."""

    def stored(self, load: Load, after: int) -> Stored:
        """Return what the rows with ids above `after` hold."""

    def held_bytes(self, load: Load) -> int:
        """Return the bytes that the rows and their indexes take."""

    def server_ns(self) -> int:
        """Return the CPU time of the server so far; 0 without one."""

    def wal_bytes(self) -> int:
        """Return the bytes of write-ahead log so far; 0 where it is not counted."""


class FileStore:
    """A SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.target = str(path)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reading]:
        with closing(read_only(self.path)) as connection:
            yield _FileReading(connection)

    def fill(self, rows: Iterator[EventRow]) -> Iterator[int]:
        statement = insert_statement(SHAPES[Kind.EVENT], ROWS_AT_ONCE)
        done = 0
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            while chunks := [chunk for _ in range(100) if (chunk := _next(rows))]:
                connection.execute("BEGIN")
                for chunk in chunks:
                    if len(chunk) < ROWS_AT_ONCE:
                        statement = insert_statement(SHAPES[Kind.EVENT], len(chunk))
                    connection.execute(statement, flat(chunk[0][1], chunk))
                connection.execute("COMMIT")
                done += sum(map(len, chunks))
                yield done
            connection.execute(_RESOLVE)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def stored(self, load: Load, after: int) -> Stored:
        with closing(read_only(self.path)) as connection:
            query = _STORED.format(load=load, first="min(timestamp)", last="max(timestamp)")
            return Stored(*connection.execute(query.replace("%s", "?"), (after,)).fetchone())

    def held_bytes(self, load: Load) -> int:
        with closing(read_only(self.path)) as connection:
            pages, page_size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "page_size")
            )
        return int(pages * page_size)

    def server_ns(self) -> int:
        return 0

    def wal_bytes(self) -> int:
        return 0

    def discard(self) -> None:
        """Delete its files."""
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()


def read_only(file: Path) -> sqlite3.Connection:
    """Return a connection to a file that only reads."""
    return sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)


class _FileReading:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def newest(self, load: Load) -> int:
        return int(self._connection.execute(_NEWEST.format(load=load)).fetchone()[0])


class ServerStore:
    """A database of a PostgreSQL server that runs for it alone."""

    def __init__(self, server: "_Server") -> None:
        self.url = self.target = server.url()
        self._server = server

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reading]:
        with self._connected() as connection:
            yield _ServerReading(connection)

    def fill(self, rows: Iterator[EventRow]) -> Iterator[int]:
        columns = (*EVENT_COLUMNS, "recorded_at")
        done = 0
        with self._connected() as connection, connection.cursor() as cursor:
            while chunk := _next(rows, 100):
                with cursor.copy(f"COPY events ({', '.join(columns)}) FROM STDIN") as copy:
                    for row in chunk:
                        copy.write_row(_for_server(columns, (*row, row[1])))
                done += len(chunk)
                yield done
            cursor.execute(_RESOLVE.replace("= 1", "= true"))
            cursor.execute("VACUUM ANALYZE events")

    def stored(self, load: Load, after: int) -> Stored:
        first, last = (
            f"(extract(epoch FROM {edge}(timestamp)) * 1000000)::bigint" for edge in ("min", "max")
        )
        with self._connected() as connection:
            query = _STORED.format(load=load, first=first, last=last)
            found: Any = connection.execute(query, (after,)).fetchone()
            return Stored(*found)

    def held_bytes(self, load: Load) -> int:
        return self._number(f"SELECT pg_total_relation_size('{load.table}')")

    def server_ns(self) -> int:
        return with_children_ns(self._server.process_id())

    def wal_bytes(self) -> int:
        return self._number("SELECT (pg_current_wal_lsn() - '0/0')::bigint")

    def _number(self, query: str) -> int:
        with self._connected() as connection:
            found: Any = connection.execute(query).fetchone()
            return int(found[0])

    def _connected(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True)


class _ServerReading:
    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def newest(self, load: Load) -> int:
        found: Any = self._connection.execute(_NEWEST.format(load=load)).fetchone()
        return int(found[0])


class _Server(PrivateServer):
    def process_id(self) -> int:
        """Return the process that all others of the server are children of."""
        return int((self._data / "postmaster.pid").read_text().split()[0])


@contextlib.contextmanager
def server_store() -> Iterator[ServerStore]:
    """Run a server while entered; its commits are durable."""
    with private_server(lambda directory: _Server(directory, _SERVER)) as server:
        yield ServerStore(server)


_NEWEST: Final = "SELECT coalesce(max(id), 0) FROM {load.table}"
_RESOLVE: Final = "UPDATE events SET resolved = 1 WHERE type = 'alert' AND id % 50 <> 0"
_STORED: Final = (
    "SELECT count(*), count(DISTINCT message_id), count(DISTINCT timestamp), {first}, {last},"
    " count({load.column}), count(CASE WHEN stamped THEN 1 END) FROM {load.table} WHERE id > %s"
)


def _next(rows: Iterator[EventRow], times: int = 1) -> list[EventRow]:
    return [*itertools.islice(rows, ROWS_AT_ONCE * times)]


def _for_server(columns: tuple[str, ...], row: tuple[Any, ...]) -> list[Any]:
    """Return a row with its times and truths as PostgreSQL's types have them."""
    return [
        _EPOCH + timedelta(microseconds=value)
        if name in _TIMES and value is not None
        else bool(value)
        if name == "stamped"
        else value
        for name, value in zip(columns, row, strict=True)
    ]
