"""The broker's address: what is one, and how it may be shown."""

from yarl import URL


def check(url: str) -> None:
    """
    Let pass what names a broker.

    Raises:
        ValueError: It does not, or its password tears it apart; never repeats it.
    """
    try:
        address = URL(url)
        named = address.scheme in ("amqp", "amqps") and bool(address.host)
    except ValueError:
        named = False
    if not named:
        raise ValueError("must be amqp://user:password@host:port/vhost, or amqps://…")
    if "@" in address.path + address.fragment:
        raise ValueError("has a / or # in its password: write them as %2F and %23")


def redacted(url: str) -> str:
    """Return an address that passed `check` without its password, fit for a log."""
    address = URL(url).with_query(None).with_fragment(None)
    return str(address.with_password("***") if address.password else address)
