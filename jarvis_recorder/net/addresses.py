"""The addresses of one broker: a single node's, or those of all nodes of its cluster."""

import re
from collections import deque
from collections.abc import Iterable
from typing import Final

from yarl import URL

from jarvis_recorder.net import amqp_url
from jarvis_recorder.net.host_names import check_host

_NODE: Final = re.compile(r"(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?", re.ASCII)


class Addresses:
    """
    The URLs by which one broker is reached, tried in turn.

    The first is the one of the settings; after a loss the others come before the one that was
    lost, whether its machine is off or only cut off from the rest of the cluster.
    """

    def __init__(self, url: str, also: Iterable[str] = ()) -> None:
        """
        Take the URL, and other nodes as HOST or HOST:PORT; all else is as in the URL.

        Raises:
            ValueError: One of them names no broker; see `amqp_url.check` and `check_node`.
        """
        amqp_url.check(url)
        self._urls = deque([url, *(_at_node(url, node) for node in also)])

    @property
    def url(self) -> str:
        """The URL that comes first now."""
        return self._urls[0]

    @property
    def are_several(self) -> bool:
        return len(self._urls) > 1

    def in_turn(self) -> tuple[str, ...]:
        """Return all URLs, the one to try first in front."""
        return tuple(self._urls)

    def leave(self, url: str) -> None:
        """Have the others tried before this URL."""
        if self._urls[0] == url:
            self._urls.rotate(-1)


def check_node(node: str) -> None:
    """
    Make sure that a text is HOST or HOST:PORT, an IPv6 address in brackets.

    Raises:
        ValueError: It is not.
    """
    found = _NODE.fullmatch(node)
    if found is None or not 0 < int(found["port"] or 1) < 65_536:
        raise ValueError("must be a host name or address, with :PORT where needed")
    check_host(found["host"])


def _at_node(url: str, node: str) -> str:
    """Return the URL with another host, and with its port if the node names one."""
    check_node(node)
    there = URL(f"amqp://{node}")
    first = URL(url)
    return str(first.with_host(str(there.host)).with_port(there.port or first.port))
