"""Connections to a PostgreSQL server: its URL, and the settings of each session."""

import ipaddress
from itertools import zip_longest
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.string import TextLoader
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from jarvis_recorder.errors import ConfigurationError, StorageUnavailable
from jarvis_recorder.storage.postgres import arrays, errors

FIRST_VERSION: Final = 150_000
# A server that is gone without a word is noticed within seconds, not minutes.
_USUAL: Final = {
    "application_name": "jarvis-recorder",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "client_encoding": "UTF8",
}
# One that is away may come before the one that is not, and a request waits for five seconds.
_ONE_OF_SEVERAL_SECONDS: Final = "3"
# libpq's own default, `prefer`, goes on without TLS where the server has none.
_ENCRYPTED: Final = ("require", "verify-ca", "verify-full")
# As a query, not as `options`, which poolers of connections refuse. Of the settings of
# synchronous_commit the weaker ones would have rows acknowledged that a failure takes back. A
# change reads what others have committed while it waited for its turn.
_PREPARE: Final = """
    SELECT
        set_config('TimeZone', 'UTC', false),
        set_config('lock_timeout', '30s', false),
        set_config('idle_in_transaction_session_timeout', '60s', false),
        set_config('default_transaction_isolation', 'read committed', false),
        set_config('synchronous_commit', CASE
            WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
            THEN 'on' ELSE current_setting('synchronous_commit') END, false)
"""


class Server:
    """One database on a server, by the URL of `store.url`."""

    def __init__(self, url: str) -> None:
        """
        Read the URL, with every parameter that libpq knows.

        Raises:
            ConfigurationError: It is no URL of PostgreSQL; its text is not repeated.
        """
        try:
            given = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        except psycopg.Error:
            raise ConfigurationError(
                "store.url must be postgresql://user:password@host:port/database"
            ) from None
        hosts = given.get("host", "").split(",")
        self.hosts = len(hosts)
        # Several hosts are one server with standbys: only the one that takes writes will do.
        if self.hosts > 1:
            given.setdefault("target_session_attrs", "read-write")
            given.setdefault("connect_timeout", _ONE_OF_SEVERAL_SECONDS)
        self.is_exposed = _is_remote(given) and given.get("sslmode") not in _ENCRYPTED
        """True if traffic to it can be read on the network."""
        self.conninfo = make_conninfo(**{**_USUAL, **given})
        """For libpq, with the password: for no log."""
        host, name = given.get("host", "localhost"), given.get("dbname", "")
        self.name = f"postgresql://{host}/{name}"
        """The name of the server in logs and errors: neither user nor password."""

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        """
        Return a new connection in autocommit mode, prepared for the recorder.

        Raises:
            psycopg.Error: The server cannot be reached, or refuses it.
            StorageUnavailable: Its version is too old.
        """
        connection = await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
        try:
            if connection.info.server_version < FIRST_VERSION:
                raise StorageUnavailable(f"{self.name}: PostgreSQL 15 or newer is needed")
            # JSON and decimals as they are written: parsed they would lose their spelling.
            connection.adapters.register_loader("json", TextLoader)
            connection.adapters.register_loader("numeric", TextLoader)
            arrays.register(connection)
            await connection.execute(_PREPARE)
        except BaseException:
            await connection.close()
            raise
        return connection

    def engine(self, size: int) -> AsyncEngine:
        """Return SQLAlchemy's pool of at most `size` connections; none is opened yet."""

        async def connect(*_: Any, **__: Any) -> psycopg.AsyncConnection[Any]:
            connection = await self.connect()
            # SQLAlchemy begins and ends the transactions.
            await connection.set_autocommit(False)
            return connection

        return create_async_engine(
            "postgresql+psycopg://",
            async_creator=connect,
            pool_size=size,
            max_overflow=0,
            pool_timeout=30,
            use_native_hstore=False,
        )


def _is_remote(given: dict[str, str]) -> bool:
    """Return whether one of the hosts, by its address where that is given, is another machine."""
    names, addresses = (given.get(name, "").split(",") for name in ("host", "hostaddr"))
    both = zip_longest(names, addresses, fillvalue="")
    return not all(_is_local(address or name) for name, address in both)


def _is_local(host: str) -> bool:
    # Sockets are paths, or abstract names.
    if host.lower() == "localhost" or host[:1] in ("", "/", "@"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def require_server(server: Server) -> None:
    """
    Make sure that the server can be reached and used.

    Raises:
        ConfigurationError: Each host refuses the user or the database, or its encoding is not UTF-8.
        StorageUnavailable: It cannot be reached.
    """
    with errors.refusals_are_settings(server.name, server.hosts):
        connection = await server.connect()
        async with connection:
            found = await connection.execute("SHOW server_encoding")
            (encoding,) = await found.fetchone() or ("",)
    if encoding != "UTF8":
        raise ConfigurationError(
            f"{server.name}: its encoding is {encoding}: create the database with ENCODING 'UTF8'"
        )
