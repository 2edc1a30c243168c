"""
The broker's policies that would delete the recorder's queues, or messages in them; its bindings.

AMQP does not expose them. `rabbitmqctl` does, to root and on the broker's own machine; the
management API would need the password, which is sent to no port that anyone may listen on.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from yarl import URL

from jarvis_recorder.broker.connection import open_link
from jarvis_recorder.broker.topology import QUEUES
from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.telemetry.check import Finding, green, yellow
from jarvis_recorder.wire.topics import DEAD_QUEUE, TOPICS

# The runtime of `rabbitmqctl` takes seconds to start, most of all on a busy processor.
_LONGEST_SECONDS: Final = 15.0
_NAME: Final = "policies"
_LISTS: Final = ("list_policies", "list_operator_policies", "list_bindings")
# The queue of requests has stricter limits of its own than any policy would set.
_RECORDED: Final = frozenset((*(topic.queue for topic in TOPICS), DEAD_QUEUE))


class _Policy(NamedTuple):
    """A policy of the virtual host, an operator's or not."""

    name: str
    pattern: str
    applies_to: str
    priority: int
    definition: Mapping[str, Any]
    is_operators: bool


async def check(addresses: Addresses, tls: Tls) -> list[Finding]:
    """Return all findings about a broker's policies and bindings; none if it cannot be reached."""
    try:
        async with (
            asyncio.timeout(_LONGEST_SECONDS),
            open_link(addresses, "doctor", tls=tls) as link,
        ):
            assert link.connection.transport is not None
            properties = link.connection.transport.connection.server_properties
    except (TimeoutError, ConfigurationError, BrokerUnavailable):
        return []
    vhost = URL(addresses.url).path.removeprefix("/") or "/"
    found = await _found(vhost) if _is_here(str(properties.get("cluster_name", ""))) else None
    if found is None:
        text = "cannot be looked at from here: none may have expires, message-ttl or max-length"
        remedy = f"on the broker's machine: rabbitmqctl list_policies -p {vhost}"
        return [yellow(_NAME, text, remedy)]
    return found


def _is_here(cluster_name: str) -> bool:
    """Return whether `rabbitmqctl` would reach this broker, judging by the broker's own name."""
    name, _, host = cluster_name.partition("@")
    own = os.environ.get("RABBITMQ_NODENAME", "rabbit").partition("@")[0]
    return name == own and host.partition(".")[0] == socket.gethostname().partition(".")[0]


async def _found(vhost: str) -> list[Finding] | None:
    """Return the findings about a virtual host, None if `rabbitmqctl` cannot list what is in it."""
    program = shutil.which("rabbitmqctl")
    if program is None:
        return None
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            texts = await asyncio.gather(*(_list(program, each, vhost) for each in _LISTS))
        policies, operators, bindings = map(json.loads, texts)
        known = [_policy(one, is_operators=False) for one in policies]
        known += [_policy(one, is_operators=True) for one in operators]
        well = green(_NAME, "none deletes a queue or what is in it")
        return [*(harmful(known, vhost) or [well]), *unbound(bindings)]
    except (TimeoutError, OSError, ValueError, KeyError, TypeError):
        return None


async def _list(program: str, command: str, vhost: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        program, "--quiet", command, "-p", vhost, "--formatter", "json",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        text, _ = await process.communicate()
        return text
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _policy(listed: Mapping[str, Any], *, is_operators: bool) -> _Policy:
    definition = listed["definition"]
    return _Policy(
        listed["name"],
        listed["pattern"],
        listed["apply-to"],
        listed["priority"],
        json.loads(definition) if isinstance(definition, str) else definition,
        is_operators,
    )


def harmful(policies: Sequence[_Policy], vhost: str) -> list[Finding]:
    """Return a warning for each policy that is in force on a queue and would harm it."""
    harmed: dict[tuple[bool, str, str], list[str]] = {}
    for queue in QUEUES:
        for policy in _in_force(policies, queue.name):
            for harm in _harms(policy.definition, queue.name):
                key = (policy.is_operators, policy.name, harm)
                harmed.setdefault(key, []).append(queue.name)
    return [
        yellow(
            f"policy {name}",
            f"{harm}: {', '.join(queues)}",
            f"rabbitmqctl clear_{'operator_' if is_operators else ''}policy -p {vhost} {name}, "
            "or give it a pattern that leaves out ^jarvis",
        )
        for (is_operators, name, harm), queues in harmed.items()
    ]


def unbound(bindings: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Return a warning if there is a queue to which its exchange sends nothing."""
    bound = {(one["source_name"], one["destination_name"]) for one in bindings}
    lost = [
        queue.name
        for queue in QUEUES
        # Every queue that is there is bound to the default exchange.
        if ("", queue.name) in bound and (queue.exchange, queue.name) not in bound
    ]
    if not lost:
        return []
    text = f"what is published does not reach {', '.join(lost)}: nothing binds it to its exchange"
    remedy = (
        'restart the recorder, which binds it; with broker.topology = "passive" bind it yourself'
    )
    return [yellow("bindings", text, remedy)]


def _in_force(policies: Sequence[_Policy], queue: str) -> Iterator[_Policy]:
    """Yield the one policy, and the one of operators, of highest priority that matches a queue."""
    for is_operators in (False, True):
        matching = [
            one for one in policies if one.is_operators is is_operators and _matches(one, queue)
        ]
        if matching:
            yield max(matching, key=lambda one: one.priority)


def _matches(policy: _Policy, queue: str) -> bool:
    if policy.applies_to not in ("all", "queues", "quorum_queues", "classic_queues"):
        return False
    try:
        return re.search(policy.pattern, queue) is not None
    except re.error:
        # Erlang's expressions are Perl's: one that Python cannot read may match.
        return True


def _harms(definition: Mapping[str, Any], queue: str) -> Iterator[str]:
    if expires := definition.get("expires"):
        yield f"expires deletes a queue that no recorder consumes for {_seconds(expires)}"
    if queue not in _RECORDED:
        return
    if "message-ttl" in definition:
        after = _seconds(definition["message-ttl"])
        yield f"message-ttl takes away what waits for {after}, recorded or not"
    for name in ("max-length", "max-length-bytes"):
        if name in definition:
            yield f"{name} lets no more than {definition[name]} wait; the rest is refused or lost"


def _seconds(milliseconds: Any) -> str:
    return f"{float(milliseconds) / 1_000:,.0f} s"
