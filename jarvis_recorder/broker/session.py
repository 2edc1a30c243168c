"""
A session with the broker: two connections, what is declared, what is consumed.

Built whole and dropped whole. After any loss nothing is restored but everything opened anew,
so no delivery tag, subscription or confirm can outlive the channel it belongs to.
"""

import asyncio
import contextlib
import random
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Literal

import aio_pika
import aiormq
import structlog
from aio_pika.abc import ConnectionParameter
from yarl import URL

from jarvis_recorder.broker.publisher import ConfirmingPublisher
from jarvis_recorder.broker.receiver import DeliveryReader
from jarvis_recorder.broker.topology import EXCHANGES, QUEUES, Queue
from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError, RecorderError
from jarvis_recorder.ports import Consumer, Flow, Publisher, Sink
from jarvis_recorder.wire.delivery import Delivery

log = structlog.get_logger(__name__)

CONNECT_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 10
_CLOSE_SECONDS: Final = 2.0
_DEAD_AFTER_HEARTBEATS: Final = 3
_FIRST_DELAY_SECONDS: Final = 0.2
_LONGEST_DELAY_SECONDS: Final = 4.0
_HELD_SECONDS: Final = 60.0

# AMQP 0-9-1: access refused, and not allowed (no such virtual host, or no right to it).
_REFUSED_FOR_GOOD: Final = (403, 530)

TopologyMode = Literal["declare", "passive"]

_GONE = (aiormq.exceptions.AMQPError, RuntimeError, ConnectionError)


def redacted(url: str) -> str:
    """Return a broker URL without its password and its query, fit for a log."""
    address = URL(url).with_query(None)
    return str(address.with_password("***") if address.password else address)


class _Transport(aiormq.connection.TransportFactory):
    """Opens a socket whose reader is ours; see `receiver`."""

    def __init__(self) -> None:
        self.reader: DeliveryReader | None = None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = kwargs.pop("ssl_context_provider")
        secure = await context.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        self.reader = reader = DeliveryReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(
            lambda: protocol, url.host or "localhost", url.port or 0, ssl=secure
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Connection(aio_pika.Connection):
    PARAMETERS = (
        *aio_pika.Connection.PARAMETERS,
        ConnectionParameter("transport_factory", parser=lambda value: value, is_kwarg=True),
    )


class _QueueConsumer:
    """A queue consumed on a channel of its own; implements `ports.Consumer`."""

    def __init__(
        self,
        queue: str,
        reader: DeliveryReader,
        channel: aio_pika.abc.AbstractChannel,
        underlay: aiormq.abc.AbstractChannel,
    ) -> None:
        self._queue = queue
        self._reader = reader
        self._channel = channel
        self._underlay = underlay
        # A new tag each time: quorum queues confuse one that is used again.
        self._consumer_tag = f"jarvis-recorder.{uuid.uuid4().hex}"

    async def start(self, sink: Sink) -> None:
        self._reader.deliver_to(self._underlay.number, sink)
        with _refusals(f"queue {self._queue} cannot be consumed"):
            await self._underlay.basic_consume(
                self._queue, _unreachable, consumer_tag=self._consumer_tag
            )

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        with _broker_errors():
            await self._underlay.basic_ack(tag, multiple=multiple, wait=False)

    async def reject(self, tag: int) -> None:
        with _broker_errors():
            await self._underlay.basic_reject(tag, requeue=False, wait=False)

    async def cancel(self) -> None:
        with _broker_errors():
            await self._underlay.basic_cancel(self._consumer_tag, timeout=CONNECT_SECONDS)

    async def sweep(self, sink: Sink) -> None:
        with _broker_errors():
            redelivered = True
            while redelivered:
                message = await self._underlay.basic_get(self._queue, timeout=_CLOSE_SECONDS)
                got = message.delivery
                if not isinstance(got, aiormq.spec.Basic.GetOk):
                    return
                redelivered = bool(got.redelivered)
                sink(_delivery(got, message))

    async def close(self) -> None:
        with _broker_errors():
            # Acks have no answer; one to a call behind them proves that they were read.
            await self._underlay.basic_qos(prefetch_count=1, timeout=_CLOSE_SECONDS)
            await self._channel.close()


class Session:
    """What is open on the broker; `lost` is done, with the cause, when any of it is gone."""

    def __init__(
        self,
        consuming: _Connection,
        reader: DeliveryReader,
        publisher: Publisher,
        lost: asyncio.Future[None],
    ) -> None:
        self._consuming = consuming
        self._reader = reader
        self.lost = lost
        self.flow: Flow = reader
        self.publisher = publisher

    async def consumer(self, queue: str, prefetch: int) -> Consumer:
        """
        Open a channel to consume a queue on, at most `prefetch` deliveries unsettled.

        Raises:
            BrokerUnavailable: The connection went away.
        """
        with _refusals("no channel to consume on"):
            channel = await self._consuming.channel(publisher_confirms=False)
            underlay = await channel.get_underlay_channel()
            _watch_channel(underlay, self.lost)
            await underlay.basic_qos(prefetch_count=prefetch)
        return _QueueConsumer(queue, self._reader, channel, underlay)


def _delivery(got: aiormq.spec.Basic.GetOk, message: aiormq.abc.DeliveredMessage) -> Delivery:
    return Delivery(
        got.delivery_tag or 0,
        bool(got.redelivered),
        (got.exchange or "").encode(),
        (got.routing_key or "").encode(),
        message.header.marshal(),
        message.body,
    )


async def _unreachable(message: aiormq.abc.DeliveredMessage) -> None:
    raise AssertionError("the reader keeps every delivery of a consumed channel")


@contextlib.asynccontextmanager
async def open_session(
    url: str, topology: TopologyMode, *, heartbeat: int = HEARTBEAT_SECONDS
) -> AsyncIterator[Session]:
    """
    Open two connections, declare or check the topology, and close all of it at the end.

    Raises:
        BrokerUnavailable: The broker cannot be reached; try again later.
        ConfigurationError: It refuses what is asked of it, and will again.
    """
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    lost.add_done_callback(_retrieve)
    async with contextlib.AsyncExitStack() as stack:
        consuming, reader = await _connect(stack, url, "consume", heartbeat, lost)
        publishing, publishing_reader = await _connect(stack, url, "publish", heartbeat, lost)
        with _refusals("the topology cannot be declared"):
            await _declare(consuming, passive=topology == "passive")
        with _refusals("no channel to publish on"):
            channel = await publishing.channel()
            underlay = await channel.get_underlay_channel()
        _watch_channel(underlay, lost)
        publisher = ConfirmingPublisher(underlay, _frame_max(publishing))
        publishing_reader.return_to(underlay.number, publisher.note_return)
        yield Session(consuming, reader, publisher, lost)


def _retrieve(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


def _frame_max(connection: _Connection) -> int:
    assert connection.transport is not None
    tune = connection.transport.connection.connection_tune
    return tune.frame_max or 131_072


async def _connect(
    stack: contextlib.AsyncExitStack,
    url: str,
    purpose: str,
    heartbeat: int,
    lost: asyncio.Future[None],
) -> tuple[_Connection, DeliveryReader]:
    factory = _Transport()
    address = URL(url).update_query(heartbeat=str(heartbeat), name=f"jarvis-recorder {purpose}")
    connection = _Connection(address, transport_factory=factory)
    try:
        with _refusals("the broker refuses the connection"):
            await connection.connect(timeout=CONNECT_SECONDS)
    except BrokerUnavailable as error:
        if factory.reader is not None and factory.reader.close_reason is not None:
            code, text = factory.reader.close_reason
            if code in _REFUSED_FOR_GOOD:
                raise ConfigurationError(f"the broker refuses the connection: {text}") from error
        raise
    reader = factory.reader
    assert reader is not None
    connection.close_callbacks.add(lambda _, error: _lose(lost, f"{purpose} connection", error))
    watch = asyncio.create_task(_watch_silence(reader, heartbeat))
    stack.push_async_callback(_close, connection, reader, watch)
    return connection, reader


async def _watch_silence(reader: DeliveryReader, heartbeat: int) -> None:
    """Drop a connection on which nothing comes: RabbitMQ sends two heartbeats an interval."""
    loop = asyncio.get_running_loop()
    patience = _DEAD_AFTER_HEARTBEATS * heartbeat
    while True:
        silent = loop.time() - reader.last_seen
        if silent >= patience:
            break
        await asyncio.sleep(patience - silent)
    reader.abort()


async def _close(
    connection: _Connection, reader: DeliveryReader, watch: asyncio.Task[None]
) -> None:
    watch.cancel()
    with contextlib.suppress(TimeoutError, *_GONE):
        await asyncio.wait_for(connection.close(), _CLOSE_SECONDS)
    reader.abort()


def _watch_channel(channel: aiormq.abc.AbstractChannel, lost: asyncio.Future[None]) -> None:
    def closed(closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        _lose(lost, "channel", error)

    channel.closing.add_done_callback(closed)
    channel.on_consumer_cancel_callbacks.add(
        lambda frame: _lose(lost, "consumer", RecorderError("cancelled by the broker"))
    )


def _lose(lost: asyncio.Future[None], what: str, error: BaseException | None) -> None:
    if not lost.done():
        lost.set_exception(BrokerUnavailable(f"{what} lost: {_text(error)}"))


def _text(error: BaseException | None) -> str:
    if error is None:
        return "closed"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:.0f} s"
    return str(error) or type(error).__name__


async def _declare(connection: _Connection, *, passive: bool) -> None:
    async with connection.channel() as channel:
        for exchange in EXCHANGES:
            await channel.declare_exchange(
                exchange.name, exchange.type, durable=True, passive=passive
            )
        for queue in QUEUES:
            await _declare_queue(channel, queue, passive=passive)


async def _declare_queue(
    channel: aio_pika.abc.AbstractChannel, queue: Queue, *, passive: bool
) -> None:
    declared = await channel.declare_queue(
        queue.name, durable=True, passive=passive, arguments=dict(queue.arguments)
    )
    if not passive:
        await declared.bind(queue.exchange, queue.routing_key)


@contextlib.contextmanager
def _broker_errors() -> Any:
    try:
        yield
    except (TimeoutError, *_GONE) as error:
        raise BrokerUnavailable(_text(error)) from error


@contextlib.contextmanager
def _refusals(what: str) -> Any:
    """Tell what the broker will refuse again from what may be gone in a second."""
    try:
        yield
    except (ssl.SSLError, ssl.CertificateError) as error:
        raise ConfigurationError(f"{what}: TLS: {_text(error)}") from error
    except (
        aiormq.exceptions.ProbableAuthenticationError,
        aiormq.exceptions.AuthenticationError,
    ) as error:
        raise ConfigurationError(
            f"{what}: wrong user or password: set broker.url to a user that RabbitMQ knows"
        ) from error
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        raise ConfigurationError(
            f"{what}: {_text(error)}. It exists with other arguments: drain and delete it, or "
            'set broker.topology = "passive" to take it as it is'
        ) from error
    except (
        aiormq.exceptions.ChannelAccessRefused,
        aiormq.exceptions.ConnectionNotAllowed,
    ) as error:
        raise ConfigurationError(f"{what}: {_text(error)}") from error
    except aiormq.exceptions.ChannelNotFoundEntity as error:
        raise ConfigurationError(
            f'{what}: {_text(error)}: create it, or set broker.topology = "declare"'
        ) from error
    except (TimeoutError, OSError, *_GONE) as error:
        raise BrokerUnavailable(_text(error)) from error


async def supervise(
    attempt: Callable[[], Awaitable[None]],
    *,
    address: str,
    origin: str,
    stop: asyncio.Event,
) -> None:
    """
    Run `attempt` until `stop` is set, again after every loss, and pause between failures.

    The pause is full jitter (a random part of a delay that doubles from 0.2 s to 4 s), so
    that many clients do not come back to a broker at the same moment. After an attempt that
    held for a minute it begins again at the shortest.

    Raises:
        RecorderError: Whatever an attempt raises besides BrokerUnavailable.
    """
    loop = asyncio.get_running_loop()
    delay = _FIRST_DELAY_SECONDS
    while not stop.is_set():
        began = loop.time()
        try:
            await attempt()
        except BrokerUnavailable as error:
            if loop.time() - began > _HELD_SECONDS:
                delay = _FIRST_DELAY_SECONDS
            pause = random.uniform(0, delay)  # noqa: S311 - jitter, no secret
            log.warning(
                "broker_unavailable",
                url=address,
                configured_in=origin,
                error=str(error),
                retry_seconds=round(pause, 2),
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
