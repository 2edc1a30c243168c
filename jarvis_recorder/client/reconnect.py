"""One connection at a time for requests and publishing, opened again after every loss."""

import asyncio
from typing import NamedTuple, Self

from yarl import URL

from jarvis_recorder.broker.connection import Link, open_link
from jarvis_recorder.broker.supervisor import Backoff
from jarvis_recorder.client.publishing import RecordPublisher, open_record_publisher
from jarvis_recorder.client.rpc_channel import RpcChannel, open_rpc_channel
from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError, RecorderError
from jarvis_recorder.net import amqp_url
from jarvis_recorder.net.addresses import Addresses
from jarvis_recorder.net.tls import Tls
from jarvis_recorder.runtime.process import read_error


class Connected(NamedTuple):
    """The channels open on one connection; all are gone when `link.lost` is done."""

    link: Link
    caller: RpcChannel
    publisher: RecordPublisher


class ReconnectingConnection:
    """
    A connection that is kept open from entering to leaving.

    Entering waits for the first one and fails if it fails. If the broker refuses a later one, all
    callers that wait get the error, and it is asked again: it may refuse only while its users are
    imported again, its virtual host is made again, or the service behind its logins is away.
    """

    def __init__(self, addresses: Addresses, app_id: str, tls: Tls) -> None:
        self._addresses = addresses
        self._app_id = app_id
        self._tls = tls
        self._refusal = ""
        """The broker's reason to refuse the latest attempt; empty if it did not."""
        self._state: asyncio.Future[Connected]
        self._leaving: asyncio.Future[None]
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._leaving = asyncio.get_running_loop().create_future()
        self._renew()
        self._task = asyncio.create_task(self._keep())
        self._task.add_done_callback(self._ended_with)
        try:
            await self._state
        except BaseException as error:
            await self._end()
            if isinstance(error, BrokerUnavailable):
                hint = "" if str(error).startswith("TLS") else "; is RabbitMQ running there?"
                raise BrokerUnavailable(
                    f"no broker at {amqp_url.redacted(self._addresses.url)}: {error}{hint}"
                ) from error
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()
        self._renew()
        self._fail(RecorderError("the client is closed"))

    async def connected(self, until: float) -> Connected:
        """
        Return the open channels, as soon as there are any; `until` is of the event loop's clock.

        Raises:
            ConfigurationError: The broker refuses this client now.
            BrokerUnavailable: There are none until then.
            RecorderError: The client is closed.
        """
        try:
            async with asyncio.timeout_at(until):
                while True:
                    connected = await asyncio.shield(self._state)
                    if not connected.link.lost.done():
                        return connected
                    self._renew(connected)
        except TimeoutError:
            if self._refusal:
                raise ConfigurationError(self._refusal) from None
            raise BrokerUnavailable(
                "the connection to the broker is lost and has not come back in time"
            ) from None

    def drop(self, connected: Connected) -> None:
        """Make all callers wait for the next connection instead of this one, which has failed."""
        self._renew(connected)

    def _renew(self, past: Connected | None = None) -> None:
        """Make all callers wait for the next connection, unless they already do."""
        if past is None or (self._state.done() and self._state.result() is past):
            self._state = asyncio.get_running_loop().create_future()
            self._state.add_done_callback(read_error)

    def _fail(self, error: BaseException) -> None:
        if not self._state.done():
            self._state.set_exception(error)

    def _ended_with(self, task: asyncio.Task[None]) -> None:
        """Have all callers get the error that no one expected: no other connection follows."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        first = True
        backoff = Backoff()
        while not self._leaving.done():
            began = loop.time()
            try:
                await self._hold()
            except RecorderError as error:
                if first:
                    self._fail(error)
                    return
                self._note(error)
            first = False
            await asyncio.sleep(backoff.seconds(loop.time() - began))

    def _note(self, error: RecorderError) -> None:
        """Raise a refusal to all callers that wait; at any other error they go on waiting."""
        self._refusal = ""
        if not isinstance(error, BrokerUnavailable):
            self._refusal = str(error)
            self._fail(error)
            self._renew()

    async def _hold(self) -> None:
        """Open a connection, and return when it is lost or no longer needed."""
        async with open_link(self._addresses, "client", tls=self._tls) as link:
            caller = await open_rpc_channel(link, self._app_id, URL(self._addresses.url).user)
            connected = Connected(link, caller, await open_record_publisher(link))
            self._refusal = ""
            self._state.set_result(connected)
            await asyncio.wait({link.lost, self._leaving}, return_when=asyncio.FIRST_COMPLETED)
            self._renew(connected)

    async def _end(self) -> None:
        # A library may swallow a cancellation while it connects; this is seen nevertheless.
        self._leaving.set_result(None)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
