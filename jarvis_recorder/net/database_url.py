"""The URL of a database server: its scheme, and its form for logs."""

import re
from typing import Final

from jarvis_recorder.net.host_names import check_host

_SCHEMES: Final = ("postgresql://", "postgres://")
# Greedy: an @ in a password that is not escaped belongs to the password.
_PASSWORD: Final = re.compile(r"(?<=://)([^:/@?]*):.*@", re.DOTALL)
# Any other may hold a password, by its name in percent signs too.
_PARAMETER: Final = re.compile(
    r"(?<=[?&])(?!(?:sslmode|sslrootcert|host|port|dbname|user|application_name|connect_timeout"
    r"|target_session_attrs|load_balance_hosts)=)([^=&]*=)[^&]*"
)
_FILE: Final = "sqlite:///"
_HIDDEN: Final = "***"
# libpq's own default, `prefer`, goes on without TLS where the server has none.
_ENCRYPTED: Final = re.compile(r"[?&]sslmode=(?:require|verify-ca|verify-full)(?:&|$)")
_HOSTS: Final = re.compile(r"://(?:.*@)?([^/?]*)", re.DOTALL)
_PORT: Final = re.compile(r":[0-9]*$")
_SOCKET: Final = re.compile("%2F|/", re.IGNORECASE)
_LOCAL: Final = re.compile(r"|localhost|127\..*|\[::1\]|%2F.*", re.IGNORECASE)


def is_server(url: str) -> bool:
    """Return whether a URL names a PostgreSQL server, and no file."""
    return url.startswith(_SCHEMES)


def check(url: str) -> None:
    """
    Make sure that the hosts in the URL of a server can be looked up; any other URL is taken.

    Raises:
        ValueError: One of them cannot.
    """
    found = _HOSTS.search(url) if is_server(url) else None
    for host in found[1].split(",") if found else ():
        if not _SOCKET.match(host):
            check_host(_PORT.sub("", host))


def redacted(url: str) -> str:
    """Return the URL without passwords."""
    if not is_server(url):
        # What is neither may be a server's in another spelling, with its password.
        return url if not url or url.startswith(_FILE) else _HIDDEN
    return _PARAMETER.sub(rf"\1{_HIDDEN}", _PASSWORD.sub(rf"\1:{_HIDDEN}@", url))


def is_exposed(url: str) -> bool:
    """Return whether traffic to the server can be read on the network."""
    found = _HOSTS.search(url)
    hosts = [host.rpartition(":")[0] or host for host in (found[1] if found else "").split(",")]
    is_remote = any(_LOCAL.fullmatch(host) is None for host in hosts)
    return is_remote and _ENCRYPTED.search(url) is None
