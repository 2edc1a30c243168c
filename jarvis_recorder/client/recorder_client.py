"""The public class of the client."""

import asyncio
import time
import weakref
from collections.abc import AsyncIterable, Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from jarvis_recorder.broker.connection import SYSTEM_TLS
from jarvis_recorder.client import decoding
from jarvis_recorder.client.decoding import Notification, RecordReader
from jarvis_recorder.client.errors import NotSent, addresses, refused
from jarvis_recorder.client.methods import Methods
from jarvis_recorder.client.publishing import publish_all
from jarvis_recorder.client.reconnect import ReconnectingConnection
from jarvis_recorder.client.records import (
    OutgoingMessage,
    new_event,
    new_snapshot,
    new_turn,
    to_message,
)
from jarvis_recorder.client.rpc_methods import copy_signature
from jarvis_recorder.client.subscription import Subscription
from jarvis_recorder.errors import BrokerUnavailable, NotConfirmed, ReplyTimeout
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.records import Record, Severity
from jarvis_recorder.wire.rpc import jsonrpc
from jarvis_recorder.wire.rpc.jsonrpc import RpcError
from jarvis_recorder.wire.rpc.methods import BY_PARAMS
from jarvis_recorder.wire.rpc.params import Discover, Params, ReadStats, ResultT
from jarvis_recorder.wire.rpc.results import Document, Stats
from jarvis_recorder.wire.topics import Kind

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_TIMEOUT_SECONDS: Final = 5.0
# Of a request: a recorder answers within a minute, and the broker refuses too long an expiration.
_LONGEST_SECONDS: Final = 3_600.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 1.0
_LARGE_REPLY_BYTES: Final = 64 * 1024
_ALL_KINDS: Final = frozenset(Kind)


def _publishes(
    make: Callable[P, Record],
) -> Callable[Concatenate["RecorderClient", P], Coroutine[Any, Any, str]]:
    """Return a method that takes the arguments of `make`, and publishes the record it returns."""

    async def method(self: "RecorderClient", /, *args: P.args, **kwargs: P.kwargs) -> str:
        return await self.publish(make(*args, **kwargs))

    return copy_signature(method, make)


class RecorderClient(Methods):
    """
    A client that sends requests to a recorder, publishes records and subscribes to them.

    Everything works from many tasks at once. It holds one connection, and opens another when
    that is lost; a call waits for it as long as its `timeout` allows. Every error is a
    `RecorderError` of `jarvis_recorder.errors`, named for what to do about it.
    """

    def __init__(
        self,
        url: str,
        *,
        also: Sequence[str] = (),
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        app_id: str = "jarvis-recorder-client",
        tls: Tls = SYSTEM_TLS,
    ) -> None:
        """
        Create a client; `timeout` is for each call, in seconds, `app_id` is in every message.

        `also` names the other nodes of a cluster as HOST or HOST:PORT, tried in turn.

        With a client certificate in `tls` and no password in the URL, the certificate is the login.
        """
        super().__init__(self.ask)
        self._addresses = addresses(url, also)
        self._timeout = timeout
        self._app_id = app_id
        self._tls = tls
        self._lifeline = ReconnectingConnection(self._addresses, app_id, tls)
        self._subscriptions: weakref.WeakSet[Subscription[Any]] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        """
        Connect.

        Raises:
            BrokerUnavailable: The broker cannot be reached.
            ConfigurationError: It refuses the user, the password or the virtual host.
        """
        await self._lifeline.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for subscription in list(self._subscriptions):
            await subscription.aclose()
        await self._lifeline.__aexit__()

    async def ask(self, params: Params[ResultT], *, timeout: float | None = None) -> ResultT:
        """
        Send a request with params of `jarvis_recorder.wire.rpc.params` and return its result.

        It waits for `timeout` seconds, an hour at most.         A request that changes nothing is sent again by itself if the connection is lost
        meanwhile.

        Raises:
            NotFound, Conflict, Forbidden, InvalidParameter, ResultTooLarge: Change the request.
            DeadlineExceeded: The recorder gave up in time; nothing is changed.
            ReplyTimeout: No reply came in time; whether something is changed is unknown.
            RecorderUnavailable: There is no recorder, or it cannot answer now.
            BrokerUnavailable: The broker cannot be reached. Or it went away meanwhile, and
                whether something is changed is unknown.
        """
        method = BY_PARAMS[type(params)]
        seconds = min(self._timeout if timeout is None else timeout, _LONGEST_SECONDS)
        until = asyncio.get_running_loop().time() + seconds
        try:
            reply = await self._reply(jsonrpc.request(params, 1), until, changes=method.changes)
            answer = await _read(params, reply)
        except TimeoutError:
            raise _no_answer(method.name, seconds, changes=method.changes) from None
        except RpcError as error:
            raise refused(error, method.name) from None
        return answer

    async def _reply(self, request: bytes, until: float, *, changes: bool) -> bytes:
        """Return the reply to a request, sent again after a loss unless it may change twice."""
        while True:
            connected = await self._lifeline.connected(until)
            try:
                return await connected.caller.ask(request, until)
            except BrokerUnavailable as error:
                if changes and not isinstance(error, NotSent):
                    raise BrokerUnavailable(
                        f"{error}; whether the change was made is unknown"
                    ) from error
                self._lifeline.drop(connected)

    async def stats(self) -> Stats:
        """Return the recorder's totals and its activity."""
        return await self.ask(ReadStats())

    async def discover(self) -> Document:
        """Return the OpenRPC document: every method, described."""
        return await self.ask(Discover())

    async def publish(self, record: Record) -> str:
        """
        Publish a record and return its `message_id` once the broker has it on its disk.

        From then on it will be recorded, even if no recorder runs now. If the connection is
        lost meanwhile it is published again by itself; the caller may do so too, whatever the
        outcome: the same record is recorded once.

        Raises:
            RecorderUnavailable: No queue takes it: no recorder has ever run on this broker.
            NotConfirmed: The broker refuses it for as long as `timeout` is: its queue is full, or
                has no leader.
            InvalidParameter, MessageTooLarge: The recorder would refuse it.
            BrokerUnavailable: It may or may not have arrived; publish it again.
        """
        message = to_message(record, self._app_id)
        until = asyncio.get_running_loop().time() + self._timeout
        try:
            await self._deliver(message, until)
        except BrokerUnavailable as error:
            raise BrokerUnavailable(
                f"{error}; message {message.message_id} may or may not be recorded: "
                "publish the same again"
            ) from error
        return message.message_id

    async def _deliver(self, message: OutgoingMessage, until: float) -> None:
        """Publish a message, again after a loss: one that arrives twice is recorded once."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            connected = await self._lifeline.connected(until)
            try:
                async with asyncio.timeout_at(until):
                    return await connected.publisher.publish(message)
            except NotConfirmed:
                # While a cluster elects a queue's leader it refuses what is published to it.
                if asyncio.get_running_loop().time() + pause >= until:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            except TimeoutError:
                raise BrokerUnavailable(
                    f"no confirm within {self._timeout:g} s: is the broker short of memory or disk?"
                ) from None
            except BrokerUnavailable:
                self._lifeline.drop(connected)

    async def publish_many(self, records: Iterable[Record] | AsyncIterable[Record]) -> int:
        """
        Publish records, many in flight together, and return how many: all are confirmed then.

        Raises:
            RecorderError: Any error of `publish`, for the first that was not confirmed. All
                before it are; some after it may be. Publishing all again is safe.
        """
        return await publish_all(self.publish, records)

    publish_event = _publishes(new_event)
    publish_snapshot = _publishes(new_snapshot)
    publish_turn = _publishes(new_turn)

    def tail(
        self,
        kinds: Collection[Kind] = _ALL_KINDS,
        *,
        severity: Severity | None = None,
        node: str | None = None,
        cluster: str | None = None,
        on_gap: Callable[[], None] | None = None,
    ) -> Subscription[Record]:
        """
        Return the records of these kinds as they are published, by any publisher.

        `severity` selects events at least as severe, `node` those of one node, `cluster` the
        events and snapshots of one cluster; each leaves out records without it, such as turns.
        `on_gap` is called each time it listens again after a loss: what was published meanwhile
        may be missed.
        """
        reader = RecordReader(severity=severity, node=node, cluster=cluster, now=_now)
        return self._subscribed(decoding.bindings(kinds), reader, on_gap)

    def notifications(
        self, *, on_gap: Callable[[], None] | None = None
    ) -> Subscription[Notification]:
        """Return the recorder's notifications: of events, incidents, preferences; see `tail`."""
        return self._subscribed([decoding.NOTIFICATIONS], decoding.read_notification, on_gap)

    def _subscribed(
        self,
        bindings: Sequence[str],
        read: Callable[[Delivery], Iterable[T]],
        on_gap: Callable[[], None] | None,
    ) -> Subscription[T]:
        subscription = Subscription(self._addresses, bindings, read, self._tls, on_gap)
        self._subscriptions.add(subscription)
        return subscription


async def _read(params: Params[ResultT], reply: bytes) -> ResultT:
    """Return the result in a reply, which `jsonrpc.read_response` reads; a large one in a thread."""
    if len(reply) > _LARGE_REPLY_BYTES:
        large: ResultT = await asyncio.to_thread(jsonrpc.read_response, params, reply)
        return large
    small: ResultT = jsonrpc.read_response(params, reply)
    return small


def _no_answer(method: str, seconds: float, *, changes: bool) -> ReplyTimeout:
    unknown = "; whether the change was made is unknown" if changes else ""
    return ReplyTimeout(
        f"{method}: no answer within {seconds:g} s{unknown}: does a recorder run on this broker?"
    )


def _now() -> int:
    return time.time_ns() // 1_000
