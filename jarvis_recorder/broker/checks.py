"""
Checks of the broker that change nothing on it.

Each operation that may be refused is tried, in a way that leaves no trace. An exchange or a queue
that exists is declared with our arguments, which the broker only compares. A binding that is never
there is removed, a consumer begun that no broker takes. A message is published in a transaction
that is rolled back. No message is fetched that waits: the broker would count that, and drop it at
the limit of the queue.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import aiormq

from jarvis_recorder.broker.connection import (
    CLOSE_SECONDS,
    GONE,
    Link,
    broker_errors,
    is_away,
    open_link,
    refusals,
)
from jarvis_recorder.broker.declaration import TopologyMode
from jarvis_recorder.broker.topology import (
    EXCHANGES,
    QUEUES,
    REQUESTS_IN_A_CLUSTER,
    Exchange,
    Queue,
)
from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.net.amqp_url import host_of
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.telemetry.check import Finding, green, red, yellow
from jarvis_recorder.wire.topics import DEAD_EXCHANGE, DEAD_QUEUE, EXCHANGE, RPC_QUEUE

_WRONG: Final = ConfigurationError.exit_code
_AWAY: Final = BrokerUnavailable.exit_code
_GRANT: Final = (
    "rabbitmqctl set_permissions -p VHOST USER '^jarvis' '^(jarvis|amq.default)' '^jarvis'"
)
# Exchanges the recorder publishes to; replies go to the default one, whose name is empty.
_WRITTEN: Final = (EXCHANGE, DEAD_EXCHANGE, "")
_TRIED_KEY: Final = "recorder.doctor"
_LONGEST_SECONDS: Final = 12.0


class QueueDepth(NamedTuple):
    """The messages that wait in a queue, and the consumers that take them."""

    queue: str
    messages: int
    consumers: int


@dataclass
class BrokerFindings:
    """
    The findings about a broker, as far as it has come.

    `recorder_is_at_work` says whether one consumes, None if not every queue could be looked at.
    """

    findings: list[Finding] = field(default_factory=list)
    recorder_is_at_work: bool | None = None


async def queue_depths(addresses: Addresses) -> list[QueueDepth]:
    """
    Return the depth of each of the recorder's queues that exists; none is declared.

    Raises:
        BrokerUnavailable: The broker cannot be reached.
        ConfigurationError: It refuses the user.
    """
    depths = []
    try:
        async with open_link(addresses, "queues") as link:
            with refusals("the queues cannot be looked at"):
                for queue in QUEUES:
                    with contextlib.suppress(aiormq.exceptions.ChannelNotFoundEntity):
                        depths.append(await _depth(link, queue))
    except BrokerUnavailable as error:
        raise BrokerUnavailable(f"the broker cannot be reached: {error}") from error
    return depths


async def _depth(link: Link, queue: Queue) -> QueueDepth:
    async with _channel(link) as channel:
        declared = await channel.queue_declare(queue.name, passive=True)
    return QueueDepth(queue.name, declared.message_count or 0, declared.consumer_count or 0)


async def check(addresses: Addresses, tls: Tls, mode: TopologyMode) -> BrokerFindings:
    """Return all findings about a broker, as far as it can be checked, and about each address."""
    seen = BrokerFindings()
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            async with open_link(addresses, "doctor", tls=tls) as link:
                with broker_errors():
                    await _check(link, mode, seen, in_a_cluster=addresses.are_several)
            seen.findings += await _other_nodes(addresses, tls)
    except TimeoutError:
        text = f"has not answered within {_LONGEST_SECONDS:.0f} s"
        remedy = "rabbitmq-diagnostics status, on its machine"
        seen.findings.append(red("broker", text, remedy, _AWAY))
    except ConfigurationError as error:
        seen.findings.append(red("broker", str(error), "see broker.url", _WRONG))
    except BrokerUnavailable as error:
        text = "connection lost" if seen.findings else "cannot be reached"
        remedy = "systemctl status rabbitmq-server; see that broker.url leads to it"
        seen.findings.append(red("broker", f"{text}: {error}", remedy, _AWAY))
    return seen


async def _other_nodes(addresses: Addresses, tls: Tls) -> list[Finding]:
    """Return one finding for each further address: the recorder would move on to it."""
    _, *others = addresses.in_turn()
    return await asyncio.gather(*(_other_node(url, tls) for url in others))


async def _other_node(url: str, tls: Tls) -> Finding:
    name = f"node {host_of(url)}"
    try:
        async with open_link(Addresses(url), "doctor", tls=tls):
            return green(name, "can be reached")
    except (BrokerUnavailable, ConfigurationError) as error:
        remedy = "see broker.url and broker.also, and rabbitmqctl cluster_status on a node"
        return yellow(name, f"cannot be connected to: {error}", remedy)


async def _check(
    link: Link, mode: TopologyMode, seen: BrokerFindings, *, in_a_cluster: bool
) -> None:
    seen.findings.append(_version(link))
    for exchange in EXCHANGES:
        seen.findings += await _exchange(link, exchange, mode)
    depths = []
    for queue in QUEUES:
        findings, depth = await _queue(link, queue, mode)
        if in_a_cluster and queue.name == RPC_QUEUE and mode == "declare":
            findings += await _outlives_its_node(link)
        seen.findings += findings
        depths += [depth] if depth else []
    seen.findings += [_consumers(depths), *_dead_letters(depths)]
    if any(map(_is_consumed, depths)):
        seen.recorder_is_at_work = True
    elif len(depths) == len(QUEUES):
        seen.recorder_is_at_work = False
    # Last: a broker in an alarm reads nothing more once something was published.
    seen.findings += await _rights_to_write(link)


def _version(link: Link) -> Finding:
    assert link.connection.transport is not None
    properties = link.connection.transport.connection.server_properties
    product, version = str(properties.get("product", "broker")), str(properties.get("version", "?"))
    return green("broker", f"connected to {product} {version}")


async def _exchange(link: Link, exchange: Exchange, mode: TopologyMode) -> list[Finding]:
    name = f"exchange {exchange.name}"
    try:
        async with _channel(link) as channel:
            await channel.exchange_declare(exchange.name, passive=True)
            if mode == "declare":
                await channel.exchange_declare(
                    exchange.name, exchange_type=exchange.type, durable=True
                )
    except aiormq.exceptions.ChannelNotFoundEntity:
        return [_missing(name, mode)]
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        remedy = "delete it once nothing publishes to it; the recorder declares it again"
        return [red(name, f"has other settings: {error}", remedy, _WRONG)]
    except aiormq.exceptions.AMQPChannelError as error:
        return [red(name, str(error), _GRANT, _WRONG)]
    return []


async def _queue(
    link: Link, queue: Queue, mode: TopologyMode
) -> tuple[list[Finding], QueueDepth | None]:
    name = f"queue {queue.name}"
    try:
        depth = await _depth(link, queue)
    except aiormq.exceptions.ChannelNotFoundEntity as error:
        if is_away(error):
            return [yellow(name, f"{error}", "start that node, or make it a quorum queue")], None
        return [_missing(name, mode)], QueueDepth(queue.name, 0, 0)
    except aiormq.exceptions.AMQPChannelError as error:
        return [red(name, str(error), _GRANT, _WRONG)], None
    try:
        # A queue of requests is taken as it is.
        if mode == "declare" and queue.name != RPC_QUEUE:
            await _compare(link, queue)
        if mode == "declare":
            await _try_to_bind(link, queue)
        await _try_to_read(link, depth)
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        remedy = (
            f"drain it, then rabbitmqctl delete_queue {queue.name}; the recorder declares it again"
        )
        return [red(name, f"has other arguments: {error}", remedy, _WRONG)], depth
    except aiormq.exceptions.AMQPChannelError as error:
        return [red(name, f"no right: {error}", _GRANT, _WRONG)], depth
    return [green(name, f"{depth.messages:,} messages wait")], depth


async def _outlives_its_node(link: Link) -> list[Finding]:
    name = f"queue {RPC_QUEUE}"
    try:
        await _compare(link, REQUESTS_IN_A_CLUSTER)
    except aiormq.exceptions.AMQPChannelError:
        text = "is not a quorum queue: requests fail while the node that holds it is down"
        remedy = f"stop the recorders; rabbitmqctl delete_queue {RPC_QUEUE}; start them again"
        return [yellow(name, text, remedy)]
    return []


async def _compare(link: Link, queue: Queue) -> None:
    async with _channel(link) as channel:
        await channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))


async def _try_to_bind(link: Link, queue: Queue) -> None:
    """Remove a binding that is never there, which needs the rights that making one needs."""
    async with _channel(link) as channel:
        # As ours but for an argument. An exchange that is missing has its own finding.
        with contextlib.suppress(aiormq.exceptions.ChannelNotFoundEntity):
            await channel.queue_unbind(
                queue.name, queue.exchange, queue.routing_key, arguments={_TRIED_KEY: True}
            )


async def _try_to_read(link: Link, depth: QueueDepth) -> None:
    """Fetch from an empty queue; else begin a consumer that is refused for its argument."""
    async with _channel(link) as channel:
        if depth.messages:
            # The right to read is looked at before the arguments.
            with contextlib.suppress(aiormq.exceptions.ChannelPreconditionFailed):
                await channel.basic_qos(prefetch_count=1)
                await channel.basic_consume(depth.queue, _ignore, arguments={"x-priority": "none"})
            return
        # One may have arrived meanwhile.
        link.reader.fetch_to(channel.number, lambda _: None)
        await channel.basic_get(depth.queue)
        await channel.basic_nack(0, multiple=True, requeue=True, wait=False)
        await channel.basic_qos(prefetch_count=1)


async def _ignore(_: object) -> None:
    """Leave a delivery to the broker, which has it back as the channel is closed."""


async def _rights_to_write(link: Link) -> list[Finding]:
    """Try to publish to each exchange, unless the broker says that it is in an alarm."""
    alarm: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def report(reason: str | None) -> None:
        if reason is not None and not alarm.done():
            alarm.set_result(reason)

    link.reader.report_alarm(report)
    trying = asyncio.ensure_future(_try_to_write(link))
    either: set[asyncio.Future[Any]] = {trying, alarm}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if trying.done():
            return trying.result()
    finally:
        trying.cancel()
        await asyncio.wait({trying})
    text = f"the broker accepts nothing until it ends: {alarm.result()}"
    remedy = "rabbitmq-diagnostics alarms, on its machine: give it memory or disk"
    return [red("alarm", text, remedy, _AWAY)]


async def _try_to_write(link: Link) -> list[Finding]:
    found = []
    for exchange in _WRITTEN:
        name = f"exchange {exchange}" if exchange else "the default exchange"
        try:
            async with _channel(link) as channel:
                await channel.tx_select()
                await channel.basic_publish(b"", exchange=exchange, routing_key=_TRIED_KEY)
                await channel.tx_rollback()
        except aiormq.exceptions.ChannelNotFoundEntity:
            continue
        except aiormq.exceptions.AMQPChannelError as error:
            found.append(red(name, f"cannot be written to: {error}", _GRANT, _WRONG))
    return found or [green("rights", "all that is needed may be read and written")]


def _missing(name: str, mode: TopologyMode) -> Finding:
    if mode == "declare":
        return yellow(name, "is not there yet: the recorder makes it when it starts")
    remedy = 'create it, or set broker.topology = "declare"'
    return red(name, "is not there, and broker.topology is passive", remedy, _WRONG)


def _consumers(depths: list[QueueDepth]) -> Finding:
    without = [one.queue for one in depths if not one.consumers and one.queue != DEAD_QUEUE]
    if depths and not without:
        return green("consumers", "a recorder takes from every queue")
    what = ", ".join(without) if any(map(_is_consumed, depths)) else "any queue"
    return yellow("consumers", f"no one consumes {what}", "jarvis-recorder run")


def _is_consumed(depth: QueueDepth) -> bool:
    # What consumes dead letters is a command that looks through them.
    return depth.consumers > 0 and depth.queue != DEAD_QUEUE


def _dead_letters(depths: list[QueueDepth]) -> list[Finding]:
    for one in depths:
        if one.queue == DEAD_QUEUE and one.messages:
            wait = f"{one.messages:,} messages could not be recorded"
            return [yellow("dead letters", wait, "jarvis-recorder dead list")]
    return [green("dead letters", "none")]


@contextlib.asynccontextmanager
async def _channel(link: Link) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    """Open a separate channel, so that a refusal closes nothing else."""
    assert link.connection.transport is not None
    channel = await link.connection.transport.connection.channel(publisher_confirms=False)
    try:
        yield channel
    finally:
        with contextlib.suppress(TimeoutError, *GONE):
            # A broker in an alarm does not answer.
            async with asyncio.timeout(CLOSE_SECONDS):
                await channel.close()
