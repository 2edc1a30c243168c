"""The URL of a database server: its scheme, and its form for logs."""

import re
from typing import Final
from urllib.parse import unquote

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
_HOSTS: Final = re.compile(r"://(?:.*@)?([^/?]*)", re.DOTALL)
_HOSTS_INSTEAD: Final = re.compile(r"[?&]host=([^&]*)")
_PORT: Final = re.compile(r":[0-9]*$")


def is_server(url: str) -> bool:
    """Return whether a URL names a PostgreSQL server, and no file."""
    return url.startswith(_SCHEMES)


def check(url: str) -> None:
    """
    Make sure that the hosts in the URL of a server can be looked up; any other URL is taken.

    Raises:
        ValueError: One of them cannot.
    """
    if not is_server(url):
        return
    found = [one[1] for one in (_HOSTS.search(url), _HOSTS_INSTEAD.search(url)) if one]
    for host in unquote(",".join(found)).split(","):
        if not host.startswith("/"):
            check_host(_PORT.sub("", host))


def redacted(url: str) -> str:
    """Return the URL without passwords."""
    if not is_server(url):
        # What is neither may be a server's in another spelling, with its password.
        return url if not url or url.startswith(_FILE) else _HIDDEN
    return _PARAMETER.sub(rf"\1{_HIDDEN}", _PASSWORD.sub(rf"\1:{_HIDDEN}@", url))
