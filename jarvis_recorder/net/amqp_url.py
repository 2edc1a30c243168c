"""The broker's URL: its check, its login method, and its form for logs."""

import ipaddress
from typing import Final

from yarl import URL

from jarvis_recorder.net.host_names import check_host

# AMQP 0-9-1 counts the characters of a virtual host, and the bytes of any short string.
_LONGEST_VHOST: Final = 127
_LONGEST_VHOST_BYTES: Final = 255
_AUTH: Final = ("plain", "external")
_INSTEAD: Final = {
    "cafile": "set ca_file",
    "capath": "set ca_file",
    "cadata": "set ca_file",
    "certfile": "set cert_file",
    "keyfile": "set key_file",
    "cacertfile": "set ca_file",
    "heartbeat": "set broker.heartbeat",
    "no_verify_ssl": "a broker that is not checked may be anyone: set ca_file to its authority",
    "verify": "a broker that is not checked may be anyone: set ca_file to its authority",
    "verify_ssl": "a broker that is not checked may be anyone: set ca_file to its authority",
}


def check(url: str) -> None:
    """
    Make sure that a URL names a broker and has no option that would be ignored.

    Raises:
        ValueError: It does not, or its password is not escaped; the message never repeats it.
    """
    try:
        address = URL(url)
        named = address.scheme in ("amqp", "amqps") and bool(address.host)
        port = address.port
    except ValueError:
        named = False
        port = None
    if not named or port == 0:
        raise ValueError("must be amqp://user:password@host:port/vhost, or amqps://…")
    if "," in (address.host or ""):
        raise ValueError("names one host: name the other nodes of a cluster in broker.also")
    check_host(address.host or "")
    if "@" in address.path + address.fragment + address.query_string:
        raise ValueError("has a /, ? or # in its password: write them as %2F, %3F and %23")
    _check_virtual_host(address.path.removeprefix("/"))
    for name, value in address.query.items():
        _check_option(name, value)


def _check_virtual_host(name: str) -> None:
    if len(name) > _LONGEST_VHOST or len(name.encode()) > _LONGEST_VHOST_BYTES:
        raise ValueError(f"has a virtual host of more than {_LONGEST_VHOST} characters")


def _check_option(name: str, value: str) -> None:
    """Refuse an option that would weaken the connection, or silently have no effect."""
    if name != "auth":
        shown = name if name.isidentifier() and len(name) <= 32 else "its option"
        raise ValueError(f"takes no {shown}: {_INSTEAD.get(name, 'leave it out')}")
    if value not in _AUTH:
        raise ValueError("takes auth=plain or auth=external only")


def authenticated(url: str, *, by_certificate: bool) -> str:
    """
    Return the URL with the login method that fits it.

    With a client certificate and no password, the certificate is the login (SASL EXTERNAL).
    """
    address = URL(url)
    if "auth" in address.query or address.password or not by_certificate:
        return url
    return str(address.update_query(auth="external"))


def is_exposed(url: str) -> bool:
    """Return whether traffic to a URL that passed `check` can be read on the network."""
    address = URL(url)
    host = address.host or ""
    if address.scheme == "amqps" or host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def host_of(url: str) -> str:
    """Return host and port of a URL that passed `check`."""
    return URL(url).authority.rpartition("@")[2]


def redacted(url: str) -> str:
    """Return a URL that passed `check` without its password, for logs."""
    address = URL(url).with_query(None).with_fragment(None)
    return str(address.with_password("***") if address.password else address)
