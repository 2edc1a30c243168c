"""One message as the broker delivered it, undecoded."""

from typing import NamedTuple


class Delivery(NamedTuple):
    """
    A message that is not settled yet.

    `header` is the payload of its AMQP content header frame, undecoded: one
    malformed property must cost this message and not the connection.
    """

    tag: int
    redelivered: bool
    exchange: bytes
    routing_key: bytes
    header: bytes
    body: bytes
