"""Addresses to listen on, and addresses of peers."""

from ipaddress import ip_address, ip_network
from typing import Final

from jarvis_recorder.net.host_names import check_host

_LONGEST_NAME: Final = 64


def host_and_port(listen: str) -> tuple[str, int]:
    """
    Split `HOST:PORT`; an IPv6 address has to be in brackets.

    Raises:
        ValueError: It has another form.
    """
    host, _, port = listen.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (
        not bare
        or (":" in host and bare == host)
        or not (port.isascii() and port.isdecimal() and int(port) <= 65_535)
    ):
        raise ValueError('must be HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464, or ""')
    check_host(bare)
    return bare, int(port)


def reachable_at(listen: str) -> tuple[str, int]:
    """Return host and port to connect to locally; an unspecified address becomes loopback."""
    host, port = host_and_port(listen)
    try:
        found = ip_address(host)
    except ValueError:
        return host, port
    if found.is_unspecified:
        host = "127.0.0.1" if found.version == 4 else "::1"
    return host, port


def network_of(host: str) -> str:
    """
    Return the network that counts as one peer: an IPv4 address, or the /64 of an IPv6 address.

    Any other text, as a proxy may send it, is returned itself, cut to 64 characters.
    """
    try:
        found = ip_address(host)
    except ValueError:
        return host[:_LONGEST_NAME]
    if found.version == 4:
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found) >> 64 << 64, 64)))
