"""
The interfaces between the parts. Read this first.

`broker` hands deliveries to a `Sink` and settles them through a `Consumer`; `ingest`
decodes, batches and drives; `storage` is a `Repository`. None of them knows another.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jarvis_recorder.wire.amqp.delivery import Delivery
from jarvis_recorder.wire.records import Record
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.rpc.params import Params

Sink = Callable[[Delivery], None]
"""Takes a delivery the moment it has arrived. Must not block and must not raise."""

Clock = Callable[[], int]
"""The present moment, in microseconds since the epoch."""


class Consumer(Protocol):
    """One queue being consumed on one channel; delivery tags mean something here only."""

    async def start(self, sink: Sink) -> None:
        """
        Hand every delivery to `sink` from now on.

        Raises:
            ConfigurationError: The queue is missing, or the right to read it.
            BrokerUnavailable: The connection went away.
        """

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        """
        Settle a delivery as done, with `multiple` every unsettled one up to it.

        Raises:
            BrokerUnavailable: The channel is gone; the broker will deliver them again.
        """

    async def reject(self, tag: int) -> None:
        """Have the broker dead-letter a delivery whole; raises as `ack` does."""

    async def cancel(self) -> None:
        """Return once no further delivery can arrive; raises as `ack` does."""

    async def ready(self) -> int:
        """Return how many messages wait to be delivered to anyone; raises as `ack` does."""

    async def fetch(self) -> Delivery | None:
        """Fetch the first message, without consuming; None where there is none; raises as `ack`."""

    async def close(self) -> None:
        """Return once the broker has read every ack, and the channel is closed."""


class Requests(Consumer, Protocol):
    """The queue of requests, and the way back to whoever asked."""

    async def reply(self, to: str, properties: bytes, body: bytes) -> None:
        """
        Send a reply to a queue through the default exchange; where that is gone, so is it.

        An `ack` that follows reaches the broker after the reply.

        Raises:
            BrokerUnavailable: The channel is gone; the request will be delivered again.
        """


class Publisher(Protocol):
    """Publishes on a connection of its own, so that an alarm cannot stop consuming."""

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        properties: bytes,
        body: bytes,
        *,
        mandatory: bool = True,
    ) -> None:
        """
        Return once the broker has taken responsibility for the message.

        Raises:
            NotConfirmed: The broker refused it, or returned it because it is `mandatory` and
                no queue takes it; try again later.
            MessageTooLarge: It never will; the properties do not fit one frame.
            BrokerUnavailable: The connection is gone; it may or may not have arrived.
        """


class Flow(Protocol):
    """The tap on the consuming connection: closed, the broker's bytes wait in the socket."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Tracer(Protocol):
    """Tells what is done to whoever follows a message through several programs."""

    def batch(self, deliveries: Iterable[Delivery], records: int) -> AbstractContextManager[None]:
        """Span the recording of a batch, linked to where its deliveries came from."""

    def request(self, delivery: Delivery) -> AbstractContextManager[Mapping[str, str]]:
        """Span the answering of a request; give the headers that its reply carries on."""

    def close(self) -> None:
        """Send what has gathered."""


class RefusedRecord(NamedTuple):
    """The position of a record in what was given to `append`, and why it is not stored."""

    position: int
    reason: Reason
    error: str


class Appended(NamedTuple):
    """
    What became of the records given to `append`.

    All are stored now except the refused; `duplicates` were stored already.
    """

    stored: int
    duplicates: int
    refused: Sequence[RefusedRecord]


class Repository(Protocol):
    """The one writer of the database."""

    async def append(self, records: Sequence[Record], recorded_at: int) -> Appended:
        """
        Store the records durably, each once, and return what became of each.

        A record that is there already is skipped, so a redelivered batch is harmless;
        one that differs from what is stored under its identity is refused, and so is one
        that the database will not hold. The others are stored all the same.

        Raises:
            StorageUnavailable: Try the same records again later. None is stored, unless one
                had been refused before: then some of the others may be.
            StorageUncertain: Whether they are stored is unknown. End the process.
            StorageDamaged: The file is corrupt.
        """


class Archive(Protocol):
    """What is recorded, to those who ask and those who change it."""

    async def answer(self, params: Params[Any], until: float, room: int) -> bytes:
        """
        Answer a question as JSON, in at most `room` bytes, from one snapshot of the database.

        A page ends when its room is used up. A question that changes something is in the
        database, synced, when this returns; its answer is small whatever the room.
        `until` is a time of the event loop's clock, by which this returns. What still runs then
        is interrupted; a change that has begun is finished, and one that has not is not made.

        Raises:
            NotFound, Conflict, InvalidParameter: What the caller has to hear.
            MoreRoomNeeded: It is one record, which needs more room; ask again with more.
            ResultTooLarge: The answer does not fit, and is no page that could end before.
            DeadlineExceeded: It took too long; nothing is changed.
            OutcomeUnknown: It took too long; the change had begun.
            StorageUnavailable: Try again later; nothing is changed.
            StorageUncertain, StorageDamaged: As `Repository.append`.
        """


class StorageHealth(NamedTuple):
    """
    The state of a database that would take a record now; sizes in bytes.

    `quarantined` is the damaged file that was set aside, until an operator acknowledges it.
    """

    announcements_waiting: int
    database_bytes: int
    wal_bytes: int
    free_bytes: int
    quarantined: Path | None = None


class PendingNotification(NamedTuple):
    """A change to be told on the exchange `jarvis`; every time with the same `message_id`."""

    id: int
    routing_key: str
    message_id: str
    body: str


class Outbox(Protocol):
    """The changes that are committed but not yet announced, in the order they were made."""

    async def wait(self) -> None:
        """Return once there may be something in it; at once the first time."""

    async def waiting(self, limit: int) -> Sequence[PendingNotification]:
        """Return the oldest announcements; raises as `Archive.answer` does."""

    async def announced(self, announcements: Sequence[PendingNotification]) -> None:
        """Take out these announcements and no others; raises as `Archive.answer` does."""


class Store(Protocol):
    """One open database: what records into it, answers from it and keeps it within its bounds."""

    @property
    def repository(self) -> Repository: ...

    @property
    def archive(self) -> Archive: ...

    @property
    def outbox(self) -> Outbox: ...

    async def health(self) -> StorageHealth:
        """Return its state where it would take a record now; else raise as `append` does."""

    async def respond(self) -> None:
        """Return once whoever writes has had a turn, even to say that it cannot write."""

    async def maintain(self, stop: asyncio.Event) -> None:
        """
        Prune, shorten the log and watch over the files until told to stop.

        Raises:
            StorageUncertain, StorageDamaged: As `Repository.append`.
        """
