"""The broker's users: one for each role, with only the permissions that its work needs."""

from typing import Final, NamedTuple

from jarvis_recorder.wire.topics import DEAD_EXCHANGE, DEAD_QUEUE, EXCHANGE, RPC_EXCHANGE

_NOTHING: Final = "^$"
_RECORDED: Final = r"^(cluster\.(event|snapshot)|chat\.turn)(\.|$)"
_TAILED: Final = r"^(cluster\.(event|snapshot)|chat\.turn|recorder)(\.|$)"


class Role(NamedTuple):
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


ROLES: Final = (
    Role(
        "recorder",
        configure=_OWN,
        # The default exchange for replies, its own exchanges and queues to publish and bind.
        write=_any(
            r"amq\.default", _named(EXCHANGE), _named(DEAD_EXCHANGE), r"jarvis\.recorder\..*"
        ),
        read=_OWN,
        publishes=r"^recorder\.",
        tails=_RECORDED,
    ),
    Role(
        "monitor",
        configure=_NOTHING,
        write=_any(_named(EXCHANGE)),
        read=_NOTHING,
        publishes=r"^cluster\.(event|snapshot)(\.|$)",
        tails=_NOTHING,
    ),
    Role(
        "chat",
        # It gets replies by direct reply-to, which needs no permissions. With a queue of its own,
        # bound to `jarvis` and dead-lettering to it, it could publish by any key: RabbitMQ checks
        # no topic permission there.
        configure=_NOTHING,
        write=_any(_named(EXCHANGE), _named(RPC_EXCHANGE)),
        read=_NOTHING,
        publishes=r"^chat\.turn(\.|$)",
        tails=_NOTHING,
        methods=(
            "events.*", "conversations.*", "snapshots.*", "timeline.*", "preferences.*",
            "recorder.stats", "rpc.discover",
        ),
    ),
    Role(
        "dashboard",
        configure=_any(_SERVER_NAMED, _replies("dashboard")),
        write=_any(_named(RPC_EXCHANGE), _SERVER_NAMED),
        read=_any(_named(EXCHANGE), _SERVER_NAMED, _replies("dashboard")),
        publishes=_NOTHING,
        tails=_TAILED,
        methods=(
            "events.list", "events.unresolved", "events.get", "events.resolve",
            "events.histogram", "conversations.sessions", "conversations.turns", "conversations.get",
            "conversations.search", "conversations.usage", "snapshots.*", "timeline.*",
            "preferences.*", "recorder.stats", "rpc.discover",
        ),
    ),
    Role(
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
