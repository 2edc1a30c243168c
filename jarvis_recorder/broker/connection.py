"""
One connection to the broker, with our own reader, from opening to loss.

Nothing of a connection outlives it: `Link.lost` is done when it or any channel on it is gone,
and the owner of the link opens another.
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Final, TypeVar
from weakref import WeakSet

import aio_pika
import aiormq
from aio_pika.abc import ConnectionParameter
from yarl import URL

from jarvis_recorder.broker.delivery_reader import DeliveryReader
from jarvis_recorder.broker.tls_errors import late_refusal, tls_failure
from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError, RecorderError
from jarvis_recorder.net import amqp_url
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.runtime.process import read_error

T = TypeVar("T")

CONNECT_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 10
_REPLY_SECONDS: Final = 10.0
SYSTEM_TLS: Final = Tls()
CLOSE_SECONDS: Final = 2.0
_DEAD_AFTER_HEARTBEATS: Final = 3

# AMQP 0-9-1: access refused, and not allowed (no such virtual host, or no right to it).
_REFUSED_FOR_GOOD: Final = (403, 530)

# Of other protocols, by the first bytes of a reply: an alert of TLS begins with its type and version.
_OF_OTHERS: Final = {
    b"HTTP": "speaks HTTP: name the port of AMQP, usually 5672; 15672 is that of the management",
    b"\x15\x03": "speaks TLS: write amqps:// for amqp://, or name the port without TLS, usually 5672",
    b"SSH-": "speaks SSH: name the port of AMQP, usually 5672",
}

GONE: Final = (aiormq.exceptions.AMQPError, RuntimeError, ConnectionError)
"""The errors that aiormq raises when the other side is gone."""


class _Transport(aiormq.connection.TransportFactory):
    """A factory of sockets with our own reader; see `delivery_reader`."""

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


class Link:
    """
    An open connection; `lost` is done, with the cause, when it or a channel of it is gone.

    Several links may share one `lost`: then all are lost together.
    """

    def __init__(
        self, connection: _Connection, reader: DeliveryReader, lost: asyncio.Future[None]
    ) -> None:
        self.connection: aio_pika.Connection = connection
        self.reader = reader
        self.lost = lost
        self._leaving: WeakSet[aiormq.abc.AbstractChannel] = WeakSet()

    @property
    def frame_max(self) -> int:
        """The most bytes that one frame may have."""
        assert self.connection.transport is not None
        tune = self.connection.transport.connection.connection_tune
        return tune.frame_max or 131_072

    @property
    def server_version(self) -> tuple[int, ...]:
        """The numbers in the broker's version; empty if it names none."""
        assert self.connection.transport is not None
        named = self.connection.transport.connection.server_properties.get("version", "")
        return tuple(int(part) for part in re.findall(r"\d+", str(named)))

    async def channel(
        self, *, confirms: bool = False, prefetch: int = 0
    ) -> aiormq.abc.AbstractChannel:
        """
        Open a channel; `prefetch` limits its unsettled deliveries unless it is 0.

        Raises:
            BrokerUnavailable: The connection went away.
        """
        with refusals("the broker opens no channel"):
            channel = await self.connection.channel(publisher_confirms=confirms)
            underlay = await channel.get_underlay_channel()
            self._watch(underlay)
            if prefetch:
                await underlay.basic_qos(prefetch_count=prefetch)
        return underlay

    async def reply(self, call: Coroutine[Any, Any, T]) -> T:
        """
        Return the broker's reply to a call.

        Behind a paused flow it waits in the socket, however healthy the broker is: the time does
        not count then.

        Raises:
            TimeoutError: No reply came for `_REPLY_SECONDS` in which the flow was never paused.
                aiormq closes the channel then, as it does if this is cancelled.
        """
        asking = asyncio.ensure_future(call)
        try:
            while not (await asyncio.wait({asking}, timeout=_REPLY_SECONDS))[0]:
                if self.reader.flowing_seconds >= _REPLY_SECONDS:
                    raise TimeoutError
        finally:
            asking.cancel()
        return await asking

    async def count(self, queue: str) -> int | None:
        """Return how many messages are ready in a queue, None if the broker does not say."""
        channel = await self.channel()
        # The broker closes the channel if there is no such queue, and nothing else is lost by it.
        self._leaving.add(channel)
        try:
            declared = await channel.queue_declare(queue, passive=True, timeout=CONNECT_SECONDS)
        except (aiormq.exceptions.AMQPError, RuntimeError, ConnectionError, TimeoutError):
            return None
        await channel.close()
        return declared.message_count

    async def close_channel(self, channel: aiormq.abc.AbstractChannel) -> None:
        """Close a channel that is no longer needed; `lost` is not done by it."""
        self._leaving.add(channel)
        await channel.close()

    def _watch(self, channel: aiormq.abc.AbstractChannel) -> None:
        def closed(closing: asyncio.Future[Any]) -> None:
            if channel not in self._leaving:
                error = None if closing.cancelled() else closing.exception()
                _lose(self.lost, "channel", error)

        channel.closing.add_done_callback(closed)
        channel.on_consumer_cancel_callbacks.add(
            lambda frame: _lose(self.lost, "consumer", RecorderError("cancelled by the broker"))
        )


@contextlib.asynccontextmanager
async def open_link(
    addresses: Addresses,
    purpose: str,
    *,
    tls: Tls = SYSTEM_TLS,
    heartbeat: int = HEARTBEAT_SECONDS,
    lost: asyncio.Future[None] | None = None,
) -> AsyncIterator[Link]:
    """
    Open a connection, named for its purpose on the broker, and close it at the end.

    The addresses are tried in turn, and one whose connection is lost is left for the next.

    Raises:
        BrokerUnavailable: The broker cannot be reached by any address; try again later.
        ConfigurationError: The broker refuses this configuration, and will again.
    """
    lost = lost or asyncio.get_running_loop().create_future()
    lost.add_done_callback(read_error)
    url, connection, reader = await _connect_to_one(addresses, purpose, tls, heartbeat)
    connection.close_callbacks.add(lambda _, error: _lose(lost, f"{purpose} connection", error))
    watch = asyncio.create_task(_watch_silence(reader, heartbeat))
    try:
        yield Link(connection, reader, lost)
    except BrokerUnavailable:
        addresses.leave(url)
        raise
    finally:
        if lost.done():
            addresses.leave(url)
        await _close(connection, reader, watch)


_Connected = tuple[str, _Connection, DeliveryReader]


async def _connect_to_one(
    addresses: Addresses, purpose: str, tls: Tls, heartbeat: int
) -> _Connected:
    """Connect to the first address that takes us; its URL comes first from then on."""
    errors: dict[str, RecorderError] = {}
    for url in addresses.in_turn():
        try:
            return url, *await _connect_to(url, purpose, tls, heartbeat)
        except (BrokerUnavailable, ConfigurationError) as error:
            errors[url] = error
            addresses.leave(url)
    raise _none_of(errors)


def _none_of(errors: dict[str, RecorderError]) -> RecorderError:
    """Return the error where no address took us: for good only if each refused for good."""
    first, *others = errors.values()
    if not others:
        return first
    text = "; ".join(f"{amqp_url.host_of(url)}: {error}" for url, error in errors.items())
    if all(isinstance(error, ConfigurationError) for error in errors.values()):
        return ConfigurationError(text)
    return BrokerUnavailable(text)


async def _connect_to(
    url: str, purpose: str, tls: Tls, heartbeat: int
) -> tuple[_Connection, DeliveryReader]:
    factory = _Transport()
    context = await asyncio.to_thread(_context, URL(url), tls)
    target = URL(
        amqp_url.authenticated(url, by_certificate=tls.cert_file is not None)
    ).update_query(heartbeat=str(heartbeat), name=f"jarvis-recorder {purpose}")
    connection = _Connection(target, ssl_context=context, transport_factory=factory)
    await _connect(connection, factory, context)
    assert factory.reader is not None
    return connection, factory.reader


def _context(url: URL, tls: Tls) -> ssl.SSLContext | None:
    if url.scheme == "amqps":
        return tls.context()
    if tls != SYSTEM_TLS:
        raise ConfigurationError(
            "there are files for TLS but the broker's URL begins with amqp://, which has none: "
            "write amqps://, or leave ca_file, cert_file and key_file out"
        )
    return None


async def _connect(
    connection: _Connection, factory: _Transport, context: ssl.SSLContext | None
) -> None:
    try:
        with refusals("the broker refuses the connection"):
            await connection.connect(timeout=CONNECT_SECONDS)
    except BrokerUnavailable as error:
        refusal = _other_protocol(connection.url, factory.reader)
        refusal = refusal or _refused_for_good(factory.reader)
        if refusal is None and context is not None:
            refusal = await _tls_refusal(connection.url, context, error)
        raise refusal or error from error
    finally:
        if connection.transport is None:
            # Otherwise it would try to close itself when it is garbage-collected.
            await connection.close()


async def _tls_refusal(
    url: URL, context: ssl.SSLContext, error: BrokerUnavailable
) -> RecorderError | None:
    where = amqp_url.redacted(str(url))
    if failure := tls_failure(error, where):
        return failure
    late = await late_refusal(url, context)
    return None if late is None else tls_failure(late, where)


def _other_protocol(url: URL, reader: DeliveryReader | None) -> RecorderError | None:
    """Return the error where what answers is no broker: for good if it is a known mistake."""
    if reader is None or reader.may_be_amqp:
        return None
    where = amqp_url.host_of(str(url))
    for beginning, what in _OF_OTHERS.items():
        if reader.first_bytes.startswith(beginning):
            return ConfigurationError(f"{where} {what}")
    return BrokerUnavailable(f"{where} speaks no AMQP: see that broker.url names the port of AMQP")


def _refused_for_good(reader: DeliveryReader | None) -> ConfigurationError | None:
    """Return the broker's reason for closing the connection, if it is permanent."""
    if reader is None or reader.close_reason is None:
        return None
    code, text = reader.close_reason
    # The broker also sends 530 if it has too many connections, which is temporary.
    if code not in _REFUSED_FOR_GOOD or "limit" in text:
        return None
    return ConfigurationError(f"the broker refuses the connection: {text}")


async def _watch_silence(reader: DeliveryReader, heartbeat: int) -> None:
    """Drop a connection that receives nothing: RabbitMQ sends two heartbeats an interval."""
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
    try:
        with contextlib.suppress(TimeoutError, *GONE):
            # Not `wait_for`: on Python 3.11 it swallows a cancellation that comes as it ends.
            async with asyncio.timeout(CLOSE_SECONDS):
                await connection.close()
    finally:
        reader.abort()
        # If the first close failed: otherwise it would try again when garbage-collected.
        await connection.close()


def _lose(lost: asyncio.Future[None], what: str, error: BaseException | None) -> None:
    if not lost.done():
        lost.set_exception(BrokerUnavailable(f"{what} lost: {_text(error)}"))


def _text(error: BaseException | None) -> str:
    if error is None:
        return "closed"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:.0f} s"
    if str(error).startswith("<Channel"):
        return "the channel is closed"
    return str(error) or type(error).__name__


def _login(error: Exception) -> str:
    if isinstance(error, aiormq.exceptions.AuthenticationError):
        return (
            "it does not let us log in by the way that the URL says: for auth=external it needs the "
            "plugin rabbitmq_auth_mechanism_ssl and auth_mechanisms.1 = EXTERNAL"
        )
    if "EXTERNAL" in str(error):
        return "it knows no user by the name in the client certificate: add that user to RabbitMQ"
    return "wrong user or password: set broker.url to a user that RabbitMQ knows"


def is_away(error: Exception) -> bool:
    """Return whether a queue is not found because the node of the cluster that holds it is down."""
    return "home node" in str(error)


@contextlib.contextmanager
def broker_errors() -> Iterator[None]:
    try:
        yield
    except (TimeoutError, *GONE) as error:
        raise BrokerUnavailable(_text(error)) from error


@contextlib.contextmanager
def refusals(what: str) -> Iterator[None]:
    """Translate permanent refusals to ConfigurationError, other errors to BrokerUnavailable."""
    try:
        yield
    except (
        aiormq.exceptions.ProbableAuthenticationError,
        aiormq.exceptions.AuthenticationError,
    ) as error:
        raise ConfigurationError(f"{what}: {_login(error)}") from error
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
        if is_away(error):
            raise BrokerUnavailable(_text(error)) from error
        raise ConfigurationError(
            f'{what}: {_text(error)}: create it, or set broker.topology = "declare"'
        ) from error
    except (TimeoutError, OSError, *GONE) as error:
        raise BrokerUnavailable(_text(error)) from error
