"""The broker's users: one for each role, with only the permissions that its work needs."""

from itertools import groupby
from typing import Final, NamedTuple

from jarvis_recorder.wire.rpc.methods import METHODS
from jarvis_recorder.wire.topics import DEAD_EXCHANGE, DEAD_QUEUE, EXCHANGE, RPC_EXCHANGE

_NOTHING: Final = "^$"
_RECORDED: Final = r"^(cluster\.(event|snapshot)|chat\.turn)(\.|$)"
# What a later version adds to these groups is allowed to no one yet.
_BY_NAME: Final = ("recorder", "rpc")
_TAILED: Final = r"^(cluster\.(event|snapshot)|chat\.turn|recorder)(\.|$)"


class BrokerUser(NamedTuple):
    """
    A user's permissions, as regular expressions; `publishes` and `tails` match keys on `jarvis`.

    RabbitMQ lets a user without a topic permission use any key, so every role has one.
    """

    name: str
    configure: str
    write: str
    read: str
    publishes: str
    tails: str
    tags: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


def _any(*patterns: str) -> str:
    return f"^({'|'.join(patterns)})$"


def _named(name: str) -> str:
    return name.replace(".", r"\.")


# A queue named by the broker is private: the user that declares it does so exclusively.
_SERVER_NAMED: Final = r"amq\.gen-.*"
_OWN: Final = _any(
    _named(EXCHANGE), rf"{_named(RPC_EXCHANGE)}", _named(DEAD_EXCHANGE), r"jarvis\.recorder\..*"
)


def _replies(user: str) -> str:
    """Return the queues that a caller may have its replies in, next to direct reply-to."""
    return rf"jarvis\.reply\.{user}(\..*)?"


def _callable_by(user: str) -> tuple[str, ...]:
    """Return the methods that the table allows a user, a group that is allowed whole as `group.*`."""
    patterns: list[str] = []
    for group, methods in groupby(METHODS, key=lambda method: method.group):
        members = list(methods)
        names = [method.name for method in members if user in method.users]
        is_whole = len(names) == len(members) and group not in _BY_NAME
        patterns += [f"{group}.*"] if is_whole else names
    return tuple(patterns)


ROLES: Final = (
    BrokerUser(
        "recorder",
        configure=_OWN,
        # The default exchange for replies, its own exchanges and queues to publish and bind.
        write=_any(
            r"amq\.default", _named(EXCHANGE), _named(DEAD_EXCHANGE), _named(RPC_EXCHANGE),
            r"jarvis\.recorder\..*",
        ),
        read=_OWN,
        publishes=r"^recorder\.",
        tails=_RECORDED,
        # As its operator, looking through the dead letters.
        methods=_callable_by("recorder"),
    ),
    BrokerUser(
        "monitor",
        configure=_NOTHING,
        write=_any(_named(EXCHANGE)),
        read=_NOTHING,
        publishes=r"^cluster\.(event|snapshot)(\.|$)",
        tails=_NOTHING,
    ),
    BrokerUser(
        "chat",
        # It gets replies by direct reply-to, which needs no permissions. With a queue of its own,
        # bound to `jarvis` and dead-lettering to it, it could publish by any key: RabbitMQ checks
        # no topic permission there.
        configure=_NOTHING,
        write=_any(_named(EXCHANGE), _named(RPC_EXCHANGE)),
        read=_NOTHING,
        publishes=r"^chat\.turn(\.|$)",
        tails=_NOTHING,
        methods=_callable_by("chat"),
    ),
    BrokerUser(
        "dashboard",
        configure=_any(_SERVER_NAMED, _replies("dashboard")),
        write=_any(_named(RPC_EXCHANGE), _SERVER_NAMED),
        read=_any(_named(EXCHANGE), _SERVER_NAMED, _replies("dashboard")),
        publishes=_NOTHING,
        tails=_TAILED,
        methods=_callable_by("dashboard"),
    ),
    BrokerUser(
        "admin",
        configure=_any(_SERVER_NAMED, _replies("admin")),
        # Replays dead letters by publishing them to `jarvis`, which needs the permission for any
        # key recorded, and puts them into their queue again.
        write=_any(_named(EXCHANGE), _named(RPC_EXCHANGE), _named(DEAD_EXCHANGE), _SERVER_NAMED),
        read=_any(
            _named(EXCHANGE), _named(DEAD_QUEUE), _SERVER_NAMED, _replies("admin")
        ),
        publishes=_RECORDED,
        tails=_TAILED,
        tags=("monitoring",),
        methods=("*",),
    ),
)  # fmt: skip


def permissions() -> dict[str, list[str]]:
    """Return `rpc.permissions` for these roles: the methods that each may call."""
    return {role.name: list(role.methods) for role in ROLES if role.methods}
