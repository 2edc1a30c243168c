"""
The interfaces between the parts. Read this first.

`broker` hands deliveries to a `Sink` and settles them through a `Consumer`; `ingest`
decodes, batches and drives; `storage` provides a `Repository`. None of them imports another.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jarvis_recorder.wire.amqp.delivery import Deliveries, Delivery
from jarvis_recorder.wire.dead_letter import DeadLetter
from jarvis_recorder.wire.records import EventRow, Record
from jarvis_recorder.wire.refusal import Reason
from jarvis_recorder.wire.rpc.params import Params

Sink = Callable[[Deliveries], None]
"""Takes the deliveries that have arrived, in order. Must not block and must not raise."""

Clock = Callable[[], int]
"""Returns the current time in microseconds since the epoch."""


class Consumer(Protocol):
    """One queue consumed on one channel; delivery tags are valid on this channel only."""

    async def start(self, sink: Sink) -> None:
        """
        Hand every delivery to `sink` from now on.

        Raises:
            ConfigurationError: The queue is missing, or the user may not read it.
            BrokerUnavailable: The connection went away.
        """

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        """
        Settle a delivery as done, with `multiple` every unsettled one up to it.

        Raises:
            BrokerUnavailable: The channel is gone; the broker will deliver them again.
        """

    async def reject(self, tag: int) -> None:
        """Reject a delivery, so that the broker dead-letters it unchanged; raises as `ack` does."""

    async def cancel(self) -> None:
        """Return once no further delivery can arrive; raises as `ack` does."""

    async def ready(self) -> int:
        """Return how many messages are ready in the queue; raises as `ack` does."""

    async def fetch(self) -> Delivery | None:
        """Get the first message without consuming, None from an empty queue; raises as `ack`."""

    async def close(self) -> None:
        """Return once the broker has read every ack, and the channel is closed."""


class Requests(Consumer, Protocol):
    """The queue of requests, and the way back to each caller."""

    async def reply(self, to: str, properties: bytes, body: bytes) -> None:
        """
        Send a reply through the default exchange; if its queue is gone, the reply is dropped.

        An `ack` that follows reaches the broker after the reply.

        Raises:
            BrokerUnavailable: The channel is gone; the request will be delivered again.
        """


class Publisher(Protocol):
    """A publisher on a connection of its own, so that a broker alarm cannot stop consuming."""

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
            NotConfirmed: The broker nacked it, or returned a `mandatory` message that no queue
                takes; try again later.
            MessageTooLarge: The properties do not fit one frame; trying again cannot help.
            BrokerUnavailable: The connection is gone; it may or may not have arrived.
        """


class Flow(Protocol):
    """Flow control of the consuming connection: paused, the broker's bytes wait in the socket."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Tracer(Protocol):
    """An exporter of spans, to follow a message through several programs."""

    def batch(self, deliveries: Iterable[Delivery], records: int) -> AbstractContextManager[None]:
        """Span the recording of a batch, linked to the spans that published its deliveries."""

    def request(self, delivery: Delivery) -> AbstractContextManager[Mapping[str, str]]:
        """Span the handling of a request, and yield the trace headers for its reply."""

    def close(self) -> None:
        """Export the spans still held."""


class RefusedRecord(NamedTuple):
    """A record not stored, by its position in the argument of `append`, with the reason."""

    position: int
    reason: Reason
    error: str


class Appended(NamedTuple):
    """
    The outcome of the records given to `append`.

    All except the refused are now stored; `duplicates` were stored already.
    """

    stored: int
    duplicates: int
    refused: Sequence[RefusedRecord]


class Repository(Protocol):
    """The one writer of the database."""

    async def append(self, records: Sequence[Record | EventRow], recorded_at: int) -> Appended:
        """
        Store the records durably, each once, and return the outcome of each.

        A record that is already stored is skipped, so a redelivered batch is harmless. One
        that differs from the row stored under its identity is refused, and so is one that
        breaks a constraint. The others are stored all the same.

        Calls made while others are under way are carried out in their order, and their rows are
        stored in it. To make a failed call again in its place, wait for those made after it first.

        Raises:
            NotTried: A call made before this one has failed, or has to be divided because a
                record is refused. Make this one again when that one has ended.
            StorageUnavailable: Try the same records again later. None is stored, unless one
                was refused before: then some of the others may be.
            StorageUncertain: Whether they are stored is unknown. End the process.
            StorageDamaged: The file is corrupt.
        """

    def release_memory(self) -> None:
        """Have memory released that large records took, once what is under way has ended."""


class Archive(Protocol):
    """The recorded data, queried and changed by requests."""

    async def answer(self, params: Params[Any], until: float, room: int) -> bytes:
        """
        Execute a request and return its result as JSON, in at most `room` bytes.

        A query reads one snapshot of the database, and a page ends when `room` is used up. A
        change is committed and synced when this returns; its result is small whatever `room` is.
        This returns by `until`, a time of the event loop's clock. A query still running then is
        interrupted; a change that has begun is finished, and one that has not is not made.

        Raises:
            NotFound, Conflict, InvalidParameter: To be reported to the caller.
            MoreRoomNeeded: The result is one record larger than `room`; call again with more.
            ResultTooLarge: The result does not fit, and is no page that could end earlier.
            DeadlineExceeded: It took too long; nothing is changed.
            OutcomeUnknown: It took too long, the change had begun; or a part of it is made.
            StorageUnavailable: Try again later; nothing is changed.
            StorageUncertain, StorageDamaged: As `Repository.append`.
        """


class StorageHealth(NamedTuple):
    """
    The state of a database that can store a record now; sizes in bytes.

    `wal_bytes` and `free_bytes` are None for a database server. `quarantined` is the directory of a damaged
    file set aside, until an operator acknowledges it. `incidents_failure` is the fault for which
    incidents are not kept.
    """

    announcements_waiting: int
    database_bytes: int
    wal_bytes: int | None
    free_bytes: int | None
    quarantined: Path | None = None
    incidents_failure: str | None = None


class PendingNotification(NamedTuple):
    """A notification for the exchange `jarvis`; each attempt carries the same `message_id`."""

    id: int
    routing_key: str
    message_id: str
    body: str


class Outbox(Protocol):
    """The notifications of committed changes that are not yet published, in commit order."""

    async def wait(self) -> None:
        """Return once the outbox may hold a notification that the last `waiting` did not see."""

    async def waiting(self, limit: int) -> Sequence[PendingNotification]:
        """Return the oldest notifications; raises as `Archive.answer` does."""

    async def announced(self, notifications: Sequence[PendingNotification]) -> None:
        """Remove these notifications and no others; raises as `Archive.answer` does."""

    async def release(self) -> None:
        """Leave what `waiting` returned, and `announced` did not take, to other recorders."""


class DeadLetterIndex(Protocol):
    """An index of the dead letters, which their queue does not depend on."""

    def note(self, letter: DeadLetter) -> None:
        """Index a dead letter soon that the broker has confirmed; never waits and never raises."""


class Store(Protocol):
    """One open database: records, requests and notifications, and its own maintenance."""

    @property
    def repository(self) -> Repository: ...

    @property
    def archive(self) -> Archive: ...

    @property
    def outbox(self) -> Outbox: ...

    @property
    def dead_letters(self) -> DeadLetterIndex: ...

    async def health(self) -> StorageHealth:
        """Return the state of a database that can store a record; else raise as `append` does."""

    async def respond(self) -> None:
        """Return once the database writer has responded, even if it cannot write."""

    async def maintain(self, stop: asyncio.Event) -> None:
        """
        Prune, index dead letters, and watch over the files until `stop` is set.

        Raises:
            StorageUncertain, StorageDamaged: As `Repository.append`.
        """
