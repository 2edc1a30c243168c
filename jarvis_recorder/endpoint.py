"""The address that health and metrics are served on."""

from ipaddress import ip_address


def host_and_port(listen: str) -> tuple[str, int]:
    """
    Return the two parts of `HOST:PORT`; an IPv6 address has to be in brackets.

    Raises:
        ValueError: It is something else.
    """
    host, _, port = listen.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (
        not bare
        or (":" in host and bare == host)
        or not (port.isascii() and port.isdecimal() and int(port) <= 65_535)
    ):
        raise ValueError('must be HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464, or ""')
    return bare, int(port)


def reachable_at(listen: str) -> tuple[str, int]:
    """Return where on this machine to ask what listens on an address that may be any."""
    host, port = host_and_port(listen)
    try:
        found = ip_address(host)
    except ValueError:
        return host, port
    if found.is_unspecified:
        host = "127.0.0.1" if found.version == 4 else "::1"
    return host, port
