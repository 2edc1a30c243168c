"""Names of hosts: their check before anything looks them up."""


def check_host(host: str) -> None:
    """
    Make sure that a name can be looked up: a resolver refuses others with errors of its own kind.

    Raises:
        ValueError: It cannot.
    """
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(
            "names a host that cannot exist: each part between dots has 1 to 63 characters"
        ) from None
